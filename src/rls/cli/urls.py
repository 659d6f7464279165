"""URLs where a file was expected."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import typer

from rls.printable import printable

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])", re.IGNORECASE)
"""A path has one of the two slashes left."""


def refuse_urls(paths: Iterable[Path | str], expected: str) -> None:
    """Refuse the first URL among *paths*; *expected* says what to do instead, with `URL` for the URL.

    Raises:
        typer.BadParameter: There is one.
    """
    for path in map(str, paths):
        found = _URL.match(path)
        if found is not None and not Path(path).exists():
            url = f"{found[1]}://{path[found.end() :]}"
            raise typer.BadParameter(
                printable(
                    f"{url}: a URL is not read: expected {expected.replace('URL', url.rstrip('/').removesuffix('/config_dump'))}"
                )
            )
