"""What commands print: lines whose text may come from anywhere."""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

import typer

from rls.printable import printable_again, printable_line

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 160
"""Columns."""


def say(text: str, *, err: bool = False) -> None:
    """Print *text* as one line, escaped; on stderr where *err*."""
    typer.echo(printable_line(text), err=err)


def pass_on(text: str, *, err: bool = False) -> None:
    """Print *text*, of which parts are texts of the admin API, which are escaped already, as one line; on stderr where *err*."""
    typer.echo(printable_again(text), err=err)


def console() -> Console:
    """Prints tables: as wide as the terminal, and wide where nobody looks."""
    from rich.console import Console  # noqa: PLC0415

    is_seen = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if is_seen else _WIDE)


def print_all_characters() -> None:
    """Let characters that the terminal's encoding lacks be escaped, as `printable` does it, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


CANNOT_PRINT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Errors of writing to a file or a terminal, which no socket has. A pipe that nobody reads is not among them."""


def discard_output() -> None:
    """Throw away what is still to be printed on stdout: it cannot be."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
