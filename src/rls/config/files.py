"""Paths → files that hold rules."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rls.errors import Place, Problem

SUFFIXES = (".yaml", ".yml")


@dataclass(slots=True)
class Found:
    """What was found.

    Attributes:
        files: Files to read, each once, in the order in which they are merged.
        lost: Those of *files* that belong to a path that cannot be had.
        problems: What cannot be read, with what was expected.
        warnings: What is passed over.
    """

    files: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def find(paths: Sequence[Path], last: Iterable[str] = ()) -> Found:
    """Find the files of *paths*: those named, and in directories those that end in `.yaml` or `.yml`, by name.

    Names that begin with a dot are passed over: a ConfigMap's `..data` and `..2026_…` hold what the names beside them
    link to. Sub-directories come where their names stand in the order; links to directories are not followed. Where a
    path cannot be had at all, the *last* files found there take its place: a volume that is not there is a mishap, not
    an order to drop all rules.
    """
    found = Found()
    for path in paths:
        before = (len(found.files), len(found.problems))
        try:
            is_directory = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            _lose(path, error, found, last)
            continue
        if not is_directory:
            found.files.append(str(path))
            continue
        _search(path, found, last)
        if (len(found.files), len(found.problems)) == before:
            expected = f"expected files named *{' or *'.join(SUFFIXES)}"
            found.warnings.append(_at(path, f"no rules in this directory, {expected}"))
    found.files = list(dict.fromkeys(found.files))
    return found


def unreadable(path: str | Path, error: OSError) -> Problem:
    """That *path* cannot be read."""
    return _at(path, f"cannot be read ({error.strerror}), expected rules in YAML")


def _search(directory: Path, found: Found, last: Iterable[str]) -> None:
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        _lose(directory, error, found, last)
        return
    for name in names:
        path = directory / name
        if name.startswith("."):
            continue
        if _is_directory(path):
            if not path.is_symlink():
                _search(path, found, last)
        elif name.endswith(SUFFIXES):
            found.files.append(str(path))
        else:
            expected = f"expected a name that ends in {' or '.join(SUFFIXES)}"
            found.warnings.append(_at(path, f"this file is not read, {expected}"))


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # reading it will tell


def _lose(path: Path, error: OSError, found: Found, last: Iterable[str]) -> None:
    lost = [file for file in last if file == str(path) or file.startswith(f"{path}{os.sep}")]
    found.files += lost
    found.lost.update(lost)
    message = unreadable(path, error).message
    found.problems.append(_at(path, f"{message}; its last good rules stay" if lost else message))


def _at(path: str | Path, message: str) -> Problem:
    return Problem(Place(str(path), 1, 1), message)
