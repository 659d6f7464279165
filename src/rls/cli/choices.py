"""Options that take one of several words."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

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
