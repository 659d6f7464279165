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
from rls.core.rules import Domain, RuleSet, TrieNode
from rls.errors import Diagnostic, SourceLocation
from rls.sources.disk import Disk
from rls.sources.paths import FileSet, below, find, unreadable

MAX_MESSAGE = 500
"""Characters of a problem's message; of a longer one the middle is left out."""


class Source(NamedTuple):
    """The last good contents of a file."""

    digest: bytes
    documents: tuple[Document, ...]
    warnings: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LoadResult:
    """What a load came to.

    Attributes:
        rules: The rules to put in force, whole.
        files: The files that they were read from, in the order in which they are merged.
        problems: All that keeps rules from being in force as written, by place: mistakes, *lost*, *unread* and *empty*.
            Where it can, *rules* has the last good contents.
        lost: Paths that had rules and have none now.
        unread: What cannot be read.
        empty: Paths without rules.
        warnings: What is accepted, but surely not meant, by place.
        sources: The last good contents of each of *files*.
        digests: A hash of what each file held, good or bad; None where it could not be read.
    """

    rules: RuleSet = field(default_factory=RuleSet)
    files: tuple[str, ...] = ()
    problems: tuple[Diagnostic, ...] = ()
    lost: tuple[Diagnostic, ...] = ()
    unread: tuple[Diagnostic, ...] = ()
    empty: tuple[Diagnostic, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    digests: Mapping[str, bytes | None] = field(default_factory=dict)

    @property
    def mistakes(self) -> tuple[Diagnostic, ...]:
        """The problems that stand in files."""
        others = {*self.lost, *self.unread, *self.empty}
        return tuple(problem for problem in self.problems if problem not in others)


def load(
    paths: Sequence[Path], previous: LoadResult | None = None, *, allow_no_rules: bool = False, disk: Disk | None = None
) -> LoadResult:
    """Read the rules of *paths*, files and directories, and check all of it.

    Documents of one domain are merged: paths in their order, files of a directory by name; `find` says which. Where a
    file is bad, or a path is missing altogether, its last good rules are taken from *previous*. A path without rules is a
    problem, or with *allow_no_rules* a warning.
    """
    previous = previous or LoadResult()
    disk = disk or Disk()
    found = find(paths, previous.files, disk)
    contents = {file: _read(file, previous, disk) for file in found.files if file not in found.kept}
    if allow_no_rules:
        found.warnings += found.empty
        found.empty.clear()
    with _collector_paused():
        return _Load(previous, found, contents).run(paths)


class _Content(NamedTuple):
    """What a file holds: its *text* where it is not what was good last, or why it cannot be read."""

    digest: bytes | None
    text: bytes | None = None
    error: OSError | None = None


def _read(file: str, previous: LoadResult, disk: Disk) -> _Content:
    try:
        text = disk.read(file)
    except OSError as error:
        return _Content(None, error=error)
    digest = hashlib.sha256(text).digest()
    last = previous.sources.get(file)
    return _Content(digest, None if last is not None and last.digest == digest else text)


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

    earlier: TrieNode
    later: TrieNode


class _Load:
    def __init__(self, previous: LoadResult, found: FileSet, contents: Mapping[str, _Content]) -> None:
        self._previous = previous
        self._found = found
        self._contents = contents
        self._problems: list[Diagnostic] = []
        self._warnings = list(found.warnings)
        self._sources: dict[str, Source] = {}

    def run(self, paths: Sequence[Path]) -> LoadResult:
        for file in self._found.files:
            if file in self._found.kept:
                self._sources[file] = self._previous.sources[file]
            else:
                self._take(file, self._contents[file])
        for path in paths:
            self._keep_all_or_none(str(path))
        self._settle()
        domains = self._domains()
        found = self._found
        lost = found.lost + [problem for problem, files in found.emptied if any(map(self._sources.__contains__, files))]
        return LoadResult(
            rules=RuleSet(domains),
            files=tuple(self._sources),
            problems=_by_place([*self._problems, *lost, *found.unread, *found.empty]),
            lost=_by_place(lost),
            unread=_by_place(found.unread),
            empty=_by_place(found.empty),
            warnings=_by_place(self._warnings),
            sources=self._sources,
            digests={file: content.digest for file, content in self._contents.items()},
        )

    def _take(self, file: str, content: _Content) -> None:
        last = self._previous.sources.get(file)
        if content.error is not None:
            self._found.unread.append(unreadable(file, content.error))
        elif content.digest is not None and content.text is not None:
            compiled = compile_file(file, content.text)
            self._problems.extend(compiled.problems)
            self._warnings.extend(compiled.warnings)
            if not compiled.problems:
                last = Source(content.digest, compiled.documents, compiled.warnings)
        elif last is not None:
            self._warnings.extend(last.warnings)
        if last is not None:
            self._sources[file] = last

    def _keep_all_or_none(self, path: str) -> None:
        """Keep the last files of a path where none of those that took their place is good: they may be the same, renamed."""
        here = [file for file in self._found.files if below(path, file)]
        last = {file: source for file, source in self._previous.sources.items() if below(path, file)}
        if here and last and not any(file in self._sources for file in here):
            self._sources.update(last)
            message = "none of the files here is good; the last good rules stay"
            self._found.lost.append(Diagnostic(SourceLocation(path, 1, 1), message))

    def _settle(self) -> None:
        """Take back files, one by one, until none says what another says too; all that do are told."""
        clashes = self._clashes()
        if moved := self._moved(clashes):
            for file in moved:
                del self._sources[file]
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

    def _moved(self, clashes: Sequence[_Clash]) -> set[str]:
        """Files of emptied directories that another file took the rules of."""
        emptied = {file for _, files in self._found.emptied for file in files}
        return {file for clash in clashes for file in map(_file, clash) if file in emptied}

    def _blamed(self, clash: _Clash) -> str:
        """The file that brought the clash about: the one that changed, of two the later."""
        earlier, later = _file(clash.earlier), _file(clash.later)
        return later if self._changed(later) or not self._changed(earlier) else earlier

    def _changed(self, file: str) -> bool:
        return self._sources[file] is not self._previous.sources.get(file)

    def _clashes(self) -> list[_Clash]:
        clashes = []
        for documents in self._by_domain().values():
            exact: dict[tuple[str, str], TrieNode] = {}
            defaults: dict[str, TrieNode] = {}
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
            said = [one.refund_over_limit for one in documents if one.refund_over_limit is not None]
            self._warnings += lint.contradictions("refund_over_limit", said)
            domains[name] = Domain(name, root, said[0][0] if said else None)
            self._warnings += lint.unreachable(root) + lint.hidden(root)
            named = [rule for document in documents for rule in document.named]
            self._warnings += lint.replacements(named, [at for document in documents for at in document.replaced])
        return domains


def _merged(roots: list[TrieNode]) -> TrieNode:
    merged = TrieNode()
    for root in roots:
        merged.exact.update(root.exact)
        merged.defaults.update(root.defaults)
        for key, wildcards in root.wildcards.items():
            merged.wildcards.setdefault(key, []).extend(wildcards)
    return merged


def _file(node: TrieNode) -> str:
    return place_of(node).file


def _by_place(problems: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    """*problems* in their order; what an alias repeats is told once."""
    return tuple(sorted(map(_bounded, set(problems))))


def _bounded(problem: Diagnostic) -> Diagnostic:
    """*problem* with its beginning, which says what is wrong, and its end, which says what was expected."""
    message = problem.message
    if len(message) <= MAX_MESSAGE:
        return problem
    return Diagnostic(problem.place, f"{message[: MAX_MESSAGE * 2 // 3]} … {message[-MAX_MESSAGE // 3 :]}")
