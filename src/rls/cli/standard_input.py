"""Rules from standard input, in place of a file called `-`."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import typer

from rls.sources.disk import MAX_FILE_BYTES, Disk

NAME = "<stdin>"
"""What standard input is called in findings."""


def named(paths: Sequence[Path]) -> list[Path]:
    """*paths*, with `NAME` for `-`."""
    return [Path(NAME) if str(path) == "-" else path for path in paths]


def demand_one(paths: Sequence[Path | str]) -> None:
    """Refuse more than one `-` among *paths*: standard input can be read once.

    Raises:
        typer.BadParameter: There are more.
    """
    if list(map(str, paths)).count("-") > 1:
        raise typer.BadParameter("- is given twice: standard input can be read once, expected a file for the other one")


def refuse(paths: Sequence[Path | str]) -> None:
    """Refuse `-` among *paths* of a command that reads files and directories only.

    Raises:
        typer.BadParameter: It is there.
    """
    if "-" in map(str, paths):
        raise typer.BadParameter(
            "- is standard input: expected a file or directory; only rls check and rls diff read rules from -"
        )


class DiskWithStandardInput(Disk):
    """The file system, with standard input as a regular file called `NAME`."""

    def stat(self, path: str) -> os.stat_result:
        """See `Disk`."""
        if path != NAME:
            return super().stat(path)
        return os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, len(self._text), 0, 0, 0))

    def chunks(self, path: str) -> Iterator[bytes]:
        """See `Disk`."""
        return super().chunks(path) if path != NAME else iter([self._text])

    @cached_property
    def _text(self) -> bytes:
        # One byte more, which is too large for those who ask.
        return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
