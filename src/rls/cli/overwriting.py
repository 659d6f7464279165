"""Files that a command writes: none may be one that it reads, nor another one that it writes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import typer

from rls.printable import printable

_STANDARD_INPUT = Path("/dev/stdin")


class Read(NamedTuple):
    """A file or directory that is read, or `-`; *what* is how a message calls what is in it."""

    path: Path | str
    what: str


def demand_apart(written: Mapping[str, Path | None], read: Iterable[Read]) -> None:
    """Refuse to write over what is read, and to write twice to one file. Nothing is opened for this.

    Args:
        written: Options, and the file of each; None for none.
        read: All that the command reads.

    Raises:
        typer.BadParameter: An option names such a file.
    """
    given = {name: path for name, path in written.items() if path is not None}
    read, before = list(read), dict[str, Path]()
    for name, path in given.items():
        for source, what in read:
            if why := _overlap(path, _STANDARD_INPUT if str(source) == "-" else Path(source), what):
                raise typer.BadParameter(printable(f"{name} is {path}, {why}: expected another file"))
        for other, its_path in before.items():
            if _is_same(path, its_path):
                raise typer.BadParameter(printable(f"{name} is {path}, as {other} is: expected another file"))
        before[name] = path


def _overlap(path: Path, source: Path, what: str) -> str:
    """What *path* is of *source*; "" if nothing."""
    if _is_same(path, source):
        return what
    return f"which would be read with {what}" if source.is_dir() and _is_of(path, source) else ""


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are one file, or will be. Devices hold nothing that could be lost."""
    try:
        found = one.stat()
        return stat.S_ISREG(found.st_mode) and os.path.samestat(found, other.stat())
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _is_of(path: Path, directory: Path) -> bool:
    """Whether *path* is, or will be, one of the files that are read in *directory*."""
    from rls.sources.paths import SUFFIXES, find  # noqa: PLC0415

    for file in (Path(os.path.realpath(path.parent), path.name), Path(os.path.realpath(path))):
        if file.name.endswith(SUFFIXES) and file.is_relative_to(os.path.realpath(directory)):
            return True
    try:
        found = path.stat()
    except OSError:
        return False
    # One elsewhere, to which a link in the directory leads.
    return any(fingerprint[:2] == (found.st_dev, found.st_ino) for fingerprint in find([directory]).files.values())
