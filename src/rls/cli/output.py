"""What commands print: lines whose text may come from anywhere."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import typer

from rls.printable import printable_line


def say(text: str, *, err: bool = False) -> None:
    """Print *text* as one line, escaped; on stderr where *err*."""
    typer.echo(printable_line(text), err=err)


def print_all_characters() -> None:
    """Let characters that the terminal's encoding lacks be escaped, as `printable` does it, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
