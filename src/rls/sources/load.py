"""Paths → rules. One bad file does not take the others down."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from rls.config.compile import Compiled, Document, compile_file, duplicate, place_of
from rls.core.rules import RuleSet, TrieNode
from rls.errors import Diagnostic, SourceLocation
from rls.slices import Steps, chunks, finish, sort
from rls.sources.conflicts import Clash, DomainDocuments, DomainResult, finish_domain, merge_all, sorted_clashes
from rls.sources.contents import Content, read_contents
from rls.sources.disk import Disk
from rls.sources.paths import FileSet, below, find, unreadable

MAX_MESSAGE = 500
"""Characters of a diagnostic's message; of a longer one the middle is left out."""


class GoodFile(NamedTuple):
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
        diagnostics: All that keeps rules from being in force as written, by place: *mistakes*, *lost*, *unread* and *empty*.
            Where it can, *rules* has the last good contents.
        mistakes: What is wrong in files.
        lost: Paths that had rules and have none now.
        unread: What cannot be read.
        empty: Paths without rules.
        warnings: What is valid, but probably not meant, by place.
        good: The last good contents of each of *files*.
        contents: What each file held, good or bad.
        compiled: What each file came to that is bad, or whose rules were taken back.
        domains: How each domain was merged.
    """

    rules: RuleSet = field(default_factory=RuleSet)
    files: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    mistakes: tuple[Diagnostic, ...] = ()
    lost: tuple[Diagnostic, ...] = ()
    unread: tuple[Diagnostic, ...] = ()
    empty: tuple[Diagnostic, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    good: Mapping[str, GoodFile] = field(default_factory=dict)
    contents: Mapping[str, Content] = field(default_factory=dict)
    compiled: Mapping[str, Compiled] = field(default_factory=dict)
    domains: Mapping[str, DomainResult] = field(default_factory=dict)


def load(
    paths: Sequence[Path], previous: LoadResult | None = None, *, allow_no_rules: bool = False, disk: Disk | None = None
) -> LoadResult:
    """Read the rules of *paths*, files and directories, and check all of it. At once: a server uses `FileSource`.

    Documents of one domain are merged: paths in their order, files of a directory by name; `find` says which. Where a
    file is bad, or a path is missing altogether, its last good rules are taken from *previous*. A path without rules is a
    problem, or with *allow_no_rules* a warning.
    """
    previous = previous or LoadResult()
    disk = disk or Disk()
    found = find(paths, previous.files, disk)
    contents = read_contents(found, previous.contents, disk)
    with _collector_paused():
        compiled = {file: compile_file(file, b"".join(pieces)) for file, pieces in to_compile(contents)}
        return finish(combine(paths, previous, found, contents, compiled, allow_no_rules=allow_no_rules))


def to_compile(contents: Mapping[str, Content]) -> list[tuple[str, tuple[bytes, ...]]]:
    """The files that hold something new, and what they hold."""
    return [(file, content.pieces) for file, content in contents.items() if content.pieces is not None]


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


def combine(
    paths: Sequence[Path],
    previous: LoadResult,
    found: FileSet,
    contents: Mapping[str, Content],
    compiled: Mapping[str, Compiled],
    *,
    allow_no_rules: bool = False,
) -> Steps[LoadResult]:
    """Put together what was *compiled* from new contents, and what is known of *previous* ones."""
    if allow_no_rules:
        found.warnings += found.empty
        found.empty.clear()
    return (yield from _Combination(previous, found, contents, compiled).run(paths))


class _Combination:
    def __init__(
        self,
        previous: LoadResult,
        found: FileSet,
        contents: Mapping[str, Content],
        compiled: Mapping[str, Compiled],
    ) -> None:
        self._previous = previous
        self._found = found
        self._contents = contents
        self._new = compiled
        self._compiled: dict[str, Compiled] = {}
        self._mistakes: list[Iterable[Diagnostic]] = []
        self._warnings: list[Iterable[Diagnostic]] = [found.warnings]
        self._good: dict[str, GoodFile] = {}
        self._merged: Mapping[str, DomainDocuments] = {name: one.merged for name, one in previous.domains.items()}

    def run(self, paths: Sequence[Path]) -> Steps[LoadResult]:
        for file in self._found.files:
            if file in self._found.kept:
                self._good[file] = self._previous.good[file]
            else:
                self._take(file, self._contents[file])
            yield
        for path in paths:
            yield from self._keep_all_or_none(str(path))
        yield from self._resolve_conflicts()
        domains = yield from self._domains()
        found = self._found
        lost = found.lost + [problem for problem, files in found.emptied if any(map(self._good.__contains__, files))]
        mistakes = yield from _by_place(chain.from_iterable(self._mistakes))
        return LoadResult(
            rules=RuleSet({name: one.domain for name, one in domains.items()}),
            files=tuple(self._good),
            diagnostics=(yield from _by_place(chain(mistakes, lost, found.unread, found.empty))),
            mistakes=mistakes,
            lost=(yield from _by_place(lost)),
            unread=(yield from _by_place(found.unread)),
            empty=(yield from _by_place(found.empty)),
            warnings=(yield from _by_place(chain.from_iterable(self._warnings))),
            good=self._good,
            contents={file: content._replace(pieces=None) for file, content in self._contents.items()},
            compiled={file: compiled for file, compiled in self._compiled.items() if not self._is_good(file)},
            domains=domains,
        )

    def _take(self, file: str, content: Content) -> None:
        last = self._previous.good.get(file)
        if content.error is not None:
            self._found.unread.append(unreadable(file, content.error))
        elif last is not None and content.digest == last.digest:
            self._warnings.append(last.warnings)
        elif content.digest is not None:
            compiled = self._new.get(file) or self._previous.compiled[file]
            self._mistakes.append(compiled.diagnostics)
            self._warnings.append(compiled.warnings)
            self._compiled[file] = compiled
            if not compiled.diagnostics:
                last = GoodFile(content.digest, compiled.documents, compiled.warnings)
        if last is not None:
            self._good[file] = last

    def _keep_all_or_none(self, path: str) -> Steps[None]:
        """Keep the last files of a path where none of those that took their place is good: they may be the same, renamed."""
        here, last = False, {}
        for chunk in chunks(self._found.files):
            found = [file for file in chunk if below(path, file)]
            if any(file in self._good for file in found):
                return
            here = here or bool(found)
            yield
        for files in chunks(self._previous.good.items()):
            last.update({file: good for file, good in files if below(path, file)})
            yield
        if here and last:
            self._good.update(last)
            message = "none of the files here is good; the last good rules stay"
            self._found.lost.append(Diagnostic(SourceLocation(path, 1, 1), message))

    def _resolve_conflicts(self) -> Steps[None]:
        """Take back files, one by one, until no descriptor stands in two of them; each clash is a mistake."""
        clashes = yield from self._clashes()
        if moved := self._moved(clashes):
            for file in moved:
                del self._good[file]
            clashes = yield from self._clashes()
        duplicates = []
        for clash in clashes:
            at, other = (clash.later, clash.earlier) if self._blamed(clash) == _file(clash.later) else clash
            duplicates.append(duplicate(at, place_of(other)))
        self._mistakes.append(duplicates)
        while clashes:
            file = self._blamed(clashes[0])
            last = self._previous.good.get(file)
            if last is None or self._good[file] is last:
                del self._good[file]
            else:
                self._good[file] = last
            clashes = yield from self._clashes()

    def _moved(self, clashes: Sequence[Clash]) -> set[str]:
        """Files of emptied directories that another file took the rules of."""
        emptied = {file for _, files in self._found.emptied for file in files}
        return {file for clash in clashes for file in map(_file, clash) if file in emptied}

    def _blamed(self, clash: Clash) -> str:
        """The file that brought the clash about: the one that changed, of two the later."""
        earlier, later = _file(clash.earlier), _file(clash.later)
        return later if self._changed(later) or not self._changed(earlier) else earlier

    def _changed(self, file: str) -> bool:
        return self._good[file] is not self._previous.good.get(file)

    def _is_good(self, file: str) -> bool:
        """Whether what *file* holds now is in force."""
        good = self._good.get(file)
        return good is not None and good.digest == self._contents[file].digest

    def _clashes(self) -> Steps[list[Clash]]:
        by_domain: dict[str, list[Document]] = {}
        for good in self._good.values():
            for document in good.documents:
                by_domain.setdefault(document.domain, []).append(document)
            yield
        self._merged = yield from merge_all(by_domain, self._merged)
        return sorted_clashes(self._merged)

    def _domains(self) -> Steps[dict[str, DomainResult]]:
        domains = {}
        for name, merged in self._merged.items():
            known = self._previous.domains.get(name)
            if known is not None and known.merged is merged:
                domains[name] = known
            else:
                domains[name] = yield from finish_domain(name, merged)
            self._warnings.append(domains[name].warnings)
            yield
        return domains


def _file(node: TrieNode) -> str:
    return place_of(node).file


def _by_place(diagnostics: Iterable[Diagnostic]) -> Steps[tuple[Diagnostic, ...]]:
    """*diagnostics* by place, each once: an alias repeats those of its anchor."""
    unique: dict[Diagnostic, None] = {}
    for chunk in chunks(diagnostics):
        unique.update(dict.fromkeys(map(_bounded, chunk)))
        yield
    return tuple((yield from sort(unique, key=_itself)))


def _itself(diagnostic: Diagnostic) -> Diagnostic:
    return diagnostic


def _bounded(problem: Diagnostic) -> Diagnostic:
    """*problem* with its beginning, which says what is wrong, and its end, which says what was expected."""
    message = problem.message
    if len(message) <= MAX_MESSAGE:
        return problem
    return Diagnostic(problem.place, f"{message[: MAX_MESSAGE * 2 // 3]} … {message[-MAX_MESSAGE // 3 :]}")
