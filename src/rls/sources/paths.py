"""Paths → files that hold rules."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from rls.errors import Diagnostic, SourceLocation
from rls.sources.disk import Disk, kind_of

SUFFIXES = (".yaml", ".yml")
EXPECTED_NAME = f"expected a name that ends in {' or '.join(SUFFIXES)}"
MAX_DEPTH = 16
MAX_ENTRIES = 20_000
_NAMED = 3

Fingerprint: TypeAlias = tuple[int, ...]
"""What stat says of a file; equal where nothing was written in between. Empty where there was no answer."""

_Identity: TypeAlias = tuple[int, int]


class EmptiedDirectory(NamedTuple):
    """A directory that lost all of its rules: what is said about it, and the last files, which stay."""

    problem: Diagnostic
    files: tuple[str, ...]


@dataclass(slots=True)
class FileSet:
    """What was found.

    Attributes:
        files: Files to read, each once, in the order in which they are merged.
        kept: Those of *files* that are not to be read: their last good contents stay.
        emptied: Directories that had rules and have none now.
        lost: Paths that had rules and are gone.
        unread: What cannot be read.
        empty: Paths of `--config` without rules.
        warnings: What is passed over.
    """

    files: dict[str, Fingerprint] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    emptied: list[EmptiedDirectory] = field(default_factory=list)
    lost: list[Diagnostic] = field(default_factory=list)
    unread: list[Diagnostic] = field(default_factory=list)
    empty: list[Diagnostic] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """All of them."""
        return [*(problem for problem, _ in self.emptied), *self.lost, *self.unread, *self.empty]


def find(paths: Sequence[Path], last: Iterable[str] = (), disk: Disk | None = None) -> FileSet:
    """Find the files of *paths*: those named, and in directories those that end in `.yaml` or `.yml`, by name.

    - Names that begin with a dot are passed over: a ConfigMap's `..data` and `..2026_…` hold what the names beside them
      link to.
    - Sub-directories come where their names stand in the order. Links to directories are followed. What several links
      lead to is read once, by the first of them.
    - A file that is gone is an order to drop its rules, as long as its directory holds others or is gone as well. A
      directory that is there and holds no rules any more is a mishap, and so is a path of *paths* that is gone: a volume
      that is not mounted looks like that. The *last* files found there stay.
    """
    search = _Search(disk or Disk(), tuple(last))
    for path in paths:
        search.named(str(path))
    return search.found


def missing(paths: Sequence[Path], disk: Disk | None = None) -> list[Path]:
    """Those of *paths* where there is nothing; one that cannot be asked is not among them."""
    disk, absent = disk or Disk(), []
    for path in paths:
        try:
            disk.stat(str(path))
        except (FileNotFoundError, NotADirectoryError):
            absent.append(path)
        except OSError:
            pass  # loading will tell
    return absent


def below(path: str, file: str) -> bool:
    """Whether *file* is *path*, or found in the directory *path*."""
    if path == ".":
        return not file.startswith(("/", "../"))
    return file == path or file.startswith(path if path.endswith("/") else f"{path}/")


def unreadable(path: str | Path, error: OSError) -> Diagnostic:
    """That *path* cannot be read."""
    return _at(path, f"cannot be read ({error.strerror}), expected rules in YAML")


class _Search:
    def __init__(self, disk: Disk, last: Sequence[str]) -> None:
        self.found = FileSet()
        self._disk = disk
        self._last = last
        self._directories: dict[_Identity, str] = {}
        self._files: dict[_Identity, str] = {}
        self._skipped: list[str] = []
        self._entries = 0

    def named(self, path: str) -> None:
        """Search a path of `--config`."""
        try:
            status = self._disk.stat(path)
        except OSError as error:
            self._unreadable(path, error)
            return
        if not stat.S_ISDIR(status.st_mode):
            self._file(path, status)
            return
        skipped = len(self._skipped)
        if not self._directory(path, status, ()):
            names = f"expected files named *{' or *'.join(SUFFIXES)}{_listed(self._skipped[skipped:])}"
            self.found.empty.append(_at(path, f"no rules in this directory, {names}"))

    def _directory(self, path: str, status: os.stat_result, way: tuple[_Identity, ...]) -> bool:
        """Search a directory, at the end of its *way*; whether it holds rules, or something is known to be wrong."""
        identity = (status.st_dev, status.st_ino)
        if identity in way:
            self._pass_over(path, f"leads back to {self._directories[identity]}")
            return False
        if len(way) == MAX_DEPTH:
            return self._hold(path, f"is {MAX_DEPTH} directories deep, expected fewer", self.found.unread)
        first = self._directories.setdefault(identity, path)
        if first != path:
            self._pass_over(path, f"is the same directory as {first}")
            return True
        try:
            names = sorted(self._disk.names(path))
        except OSError as error:
            return self._unreadable(path, error)
        if self._entries + len(names) > MAX_ENTRIES:
            return self._hold(path, f"leads to more than {MAX_ENTRIES} names, expected fewer", self.found.unread)
        self._entries += len(names)
        skipped = len(self._skipped)
        holds = [self._entry(_joined(path, name), (*way, identity)) for name in names if not name.startswith(".")]
        return any(holds) or self._emptied(path, self._skipped[skipped:])

    def _entry(self, path: str, way: tuple[_Identity, ...]) -> bool:
        try:
            status = self._disk.stat(path)
        except OSError as error:
            return self._unknown(path, error)
        if stat.S_ISDIR(status.st_mode):
            return self._directory(path, status, way)
        if path.endswith(SUFFIXES):
            self._file(path, status)
            return True
        if stat.S_ISREG(status.st_mode):
            self._skipped.append(path)
            self.found.warnings.append(_at(path, f"this file is not read, {EXPECTED_NAME}"))
        else:
            self._pass_over(path, f"is {kind_of(status)}")
        return False

    def _file(self, path: str, status: os.stat_result | None) -> None:
        if status is None:
            self.found.files.setdefault(path, ())
            return
        first = self._files.setdefault((status.st_dev, status.st_ino), path)
        if first != path:
            self._pass_over(path, f"is the same file as {first}")
            return
        self.found.files[path] = (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )

    def _unknown(self, path: str, error: OSError) -> bool:
        """Take a path whose kind is not known, because of *error*."""
        try:
            self._disk.lstat(path)
        except FileNotFoundError:
            return False  # gone since its directory was listed
        except OSError:
            pass
        if path.endswith(SUFFIXES):
            self._file(path, None)  # reading it will tell
            return True
        if _is_absent(error) and not self._kept(path):
            self._pass_over(path, f"leads nowhere ({error.strerror})")
            return False
        return self._unreadable(path, error)

    def _unreadable(self, path: str, error: OSError) -> bool:
        gone = _is_absent(error) and self._kept(path)
        return self._hold(path, unreadable(path, error).message, self.found.lost if gone else self.found.unread)

    def _emptied(self, path: str, skipped: Sequence[str]) -> bool:
        kept = self._kept(path)
        if kept:
            message = f"no rules are left in this directory; its last good rules stay{_listed(skipped)}"
            self._keep(kept)
            self.found.emptied.append(EmptiedDirectory(_at(path, message), kept))
        return bool(kept)

    def _hold(self, path: str, message: str, to: list[Diagnostic]) -> bool:
        """Keep the last files of *path*, and add to *to* why."""
        kept = self._kept(path)
        self._keep(kept)
        to.append(_at(path, f"{message}; its last good rules stay" if kept else message))
        return True

    def _kept(self, path: str) -> tuple[str, ...]:
        return tuple(file for file in self._last if below(path, file) and file not in self.found.files)

    def _keep(self, files: Sequence[str]) -> None:
        self.found.files.update(dict.fromkeys(files, ()))
        self.found.kept.update(files)

    def _pass_over(self, path: str, why: str) -> None:
        self.found.warnings.append(_at(path, f"{why}, so nothing is read here"))


def _joined(directory: str, name: str) -> str:
    return name if directory == "." else os.path.join(directory, name)  # noqa: PTH118  # as Path has it, but quick


def _listed(skipped: Sequence[str]) -> str:
    """What to say of files that were skipped because of their names."""
    if not skipped:
        return ""
    were = "file was" if len(skipped) == 1 else "files were"
    more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    return f"; {len(skipped)} {were} skipped: {', '.join(skipped[:_NAMED])}{more}, {EXPECTED_NAME}"


def _is_absent(error: OSError) -> bool:
    """Whether there is nothing at a path; a link that leads to itself leads nowhere, too."""
    return error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def _at(path: str | Path, message: str) -> Diagnostic:
    return Diagnostic(SourceLocation(str(path), 1, 1), message)
