"""Paths → rules. One bad file does not take the others down."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rls.config import lint
from rls.config.compile import Document, compile_file, duplicate, place_of
from rls.config.files import find, unreadable
from rls.core.rules import Domain, Node, RuleSet
from rls.errors import Problem


class Source(NamedTuple):
    """The last good contents of a file."""

    digest: bytes
    documents: tuple[Document, ...]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """What a load came to.

    Attributes:
        rules: The rules to put in force, whole.
        files: The files that they were read from, in the order in which they are merged.
        problems: Mistakes, by place. Of the files that hold them, *rules* has the last good contents, if there were any.
        warnings: What is accepted, but surely not meant, by place.
        sources: The last good contents of each of *files*.
        digests: A hash of what each file held, good or bad; None where it could not be read.
    """

    rules: RuleSet = field(default_factory=RuleSet)
    files: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    digests: Mapping[str, bytes | None] = field(default_factory=dict)


def load(paths: Sequence[Path], previous: Loaded | None = None) -> Loaded:
    """Read the rules of *paths*, files and directories, and check all of it.

    Documents of one domain are merged: paths in their order, files of a directory by name. Directories are searched
    through; names that begin with a dot are passed over, and of others only `*.yaml` and `*.yml` are read. Where a file
    is bad, or a path is missing altogether, its last good rules are taken from *previous*.
    """
    with _collector_paused():
        return _Load(previous or Loaded()).run(paths)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without it, the collector goes through all nodes again and again, and takes five times as long as the rest."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Clash(NamedTuple):
    """A descriptor that stands in two files."""

    earlier: Node
    later: Node


class _Load:
    def __init__(self, previous: Loaded) -> None:
        self._previous = previous
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._sources: dict[str, Source] = {}
        self._digests: dict[str, bytes | None] = {}

    def run(self, paths: Sequence[Path]) -> Loaded:
        found = find(paths, self._previous.files)
        self._problems += found.problems
        self._warnings += found.warnings
        for file in found.files:
            if file in found.lost:
                self._sources[file] = self._previous.sources[file]
            else:
                self._read(file)
        self._settle()
        domains = self._domains()
        return Loaded(
            rules=RuleSet(domains),
            files=tuple(self._sources),
            problems=_by_place(self._problems),
            warnings=_by_place(self._warnings),
            sources=self._sources,
            digests=self._digests,
        )

    def _read(self, file: str) -> None:
        last = self._previous.sources.get(file)
        try:
            text = Path(file).read_bytes()
        except OSError as error:
            self._digests[file] = None
            self._problems.append(unreadable(file, error))
            if last is not None:
                self._sources[file] = last
            return
        digest = self._digests[file] = hashlib.sha256(text).digest()
        if last is not None and last.digest == digest:
            self._sources[file] = last
            self._warnings.extend(last.warnings)
            return
        compiled = compile_file(file, text)
        self._problems.extend(compiled.problems)
        self._warnings.extend(compiled.warnings)
        if not compiled.problems:
            self._sources[file] = Source(digest, compiled.documents, compiled.warnings)
        elif last is not None:
            self._sources[file] = last

    def _settle(self) -> None:
        """Take back files, one by one, until none says what another says too; all that do are told."""
        clashes = self._clashes()
        for clash in clashes:
            at, other = (clash.later, clash.earlier) if self._blamed(clash) == _file(clash.later) else clash
            self._problems.append(duplicate(at, place_of(other)))
        while clashes:
            file = self._blamed(clashes[0])
            last = self._previous.sources.get(file)
            if last is None or self._sources[file] is last:
                del self._sources[file]
            else:
                self._sources[file] = last
            clashes = self._clashes()

    def _blamed(self, clash: _Clash) -> str:
        """The file that brought the clash about: the one that changed, of two the later."""
        earlier, later = _file(clash.earlier), _file(clash.later)
        return later if self._changed(later) or not self._changed(earlier) else earlier

    def _changed(self, file: str) -> bool:
        return self._sources[file] is not self._previous.sources.get(file)

    def _clashes(self) -> list[_Clash]:
        clashes = []
        for documents in self._by_domain().values():
            exact: dict[tuple[str, str], Node] = {}
            defaults: dict[str, Node] = {}
            for document in documents:
                root = document.root
                clashes += [_Clash(exact[entry], root.exact[entry]) for entry in exact.keys() & root.exact.keys()]
                clashes += [_Clash(defaults[key], root.defaults[key]) for key in defaults.keys() & root.defaults.keys()]
                if len(documents) > 1:
                    exact.update(root.exact)
                    defaults.update(root.defaults)
        return sorted(clashes, key=lambda clash: (place_of(clash.later), place_of(clash.earlier)))

    def _by_domain(self) -> dict[str, list[Document]]:
        domains: dict[str, list[Document]] = {}
        for source in self._sources.values():
            for document in source.documents:
                domains.setdefault(document.domain, []).append(document)
        return domains

    def _domains(self) -> dict[str, Domain]:
        domains = {}
        for name, documents in self._by_domain().items():
            root = documents[0].root if len(documents) == 1 else _merged([document.root for document in documents])
            said = [document.charge_refused for document in documents if document.charge_refused is not None]
            self._warnings += lint.contradictions("charge_refused", said)
            domains[name] = Domain(name, root, said[0][0] if said else None)
            self._warnings += lint.unreachable(root)
            named = [rule for document in documents for rule in document.named]
            self._warnings += lint.replacements(named, [at for document in documents for at in document.replaced])
        return domains


def _merged(roots: list[Node]) -> Node:
    merged = Node()
    for root in roots:
        merged.exact.update(root.exact)
        merged.defaults.update(root.defaults)
        for key, wildcards in root.wildcards.items():
            merged.wildcards.setdefault(key, []).extend(wildcards)
    return merged


def _file(node: Node) -> str:
    return place_of(node).file


def _by_place(problems: list[Problem]) -> tuple[Problem, ...]:
    """*problems* in their order; what an alias repeats is told once."""
    return tuple(sorted(set(problems)))
