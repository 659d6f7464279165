"""`rls hash`: the digests of values, to find a client in Redis, metrics and logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rls.cli.output import say
from rls.errors import SettingsError
from rls.printable import printable


def hash_values(
    entries: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="Entries of descriptors.")],
    secret_file: Annotated[
        Path,
        typer.Option(
            "--hash-secret-file", metavar="FILE", envvar="RLS_HASH_SECRET_FILE", help="The secret of the servers."
        ),
    ],
    keys: Annotated[
        str,
        typer.Option(
            "--hash-keys", metavar="KEY,…", envvar="RLS_HASH_KEYS", help="Hash only values of these keys; all if empty."
        ),
    ] = "",
) -> None:
    """Print what stands for values of requests where hashing is on.

    Exit codes: 0, or 2 for wrong usage.
    """
    from rls.app.hashing import open_pseudonyms  # noqa: PLC0415
    from rls.settings.values import parse_keys  # noqa: PLC0415

    try:
        pseudonyms = open_pseudonyms(secret_file, parse_keys(keys))
    except SettingsError as error:
        raise typer.BadParameter(printable(f"--hash-secret-file or RLS_HASH_SECRET_FILE: {error}")) from None
    assert pseudonyms is not None
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{printable(entry)}': expected KEY=VALUE")
        say(printable(f"{key}={pseudonyms.hide(key, value)}"))
