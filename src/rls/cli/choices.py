"""Options that take one of several words."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

import typer

Choice = TypeVar("Choice", bound=StrEnum)


def one_of(kind: type[Choice], name: str, text: str) -> Choice:
    """The choice that *text* names.

    Raises:
        BadParameter: It names none.
    """
    try:
        return kind(text)
    except ValueError:
        raise typer.BadParameter(f"{name} is '{text}': expected {' or '.join(kind)}") from None


def choice(kind: type[Choice], name: str, text: str, metavar: str = "") -> Any:
    """An option *name* that takes one of the words of *kind*; *text* is for its help, which lists them unless *metavar* stands there."""
    return typer.Option(
        name,
        metavar=metavar or "|".join(kind),
        help=text,
        parser=lambda word: one_of(kind, name, word),
        autocompletion=lambda: list(kind),
    )
