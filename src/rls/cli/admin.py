"""What commands ask of the admin address of a running server, and how they do."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar
from urllib.parse import urlencode

import typer

from rls.addresses import loopback, parse_address
from rls.cli.output import pass_on
from rls.cli.requests import entry_of
from rls.errors import RlsError
from rls.http_client import Answer, NoHttp, ask
from rls.secret_files import read_secret

NOT_DONE, WRONG, UNANSWERED = 1, 2, 3
"""Exit codes: the server does not do it; it was called wrongly; there is no answer."""
_SECONDS = 10.0
_ANSWER_BYTES = 4 << 20
_API = "/api/v1"
_EXPECTED = "expected the address of its --admin, port 6070 by default"
_SHOWN = 100
_NEEDED: Mapping[str, tuple[str, type]] = {
    "GET /counters": ("counters", list),
    "POST /counters": ("counters", list),
    "POST /explain": ("descriptors", list),
    "GET /overrides": ("overrides", list),
    "POST /overrides": ("override", dict),
    "DELETE /overrides": ("ended", dict),
    "GET /refusals": ("refusals", list),
    "GET /rules": ("rules", list),
    "GET /top": ("rows", list),
}
"""What answers have, by the method and the first part of the path: another server may answer in JSON, too."""

Admin = Annotated[
    str, typer.Option("--admin", metavar="ADDRESS", help="Admin address of the server.", show_default=True)
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", envvar="RLS_ADMIN_TOKEN_FILE", help="Show the token in this file."),
]
Domain = Annotated[str, typer.Option("--domain", "-d", metavar="NAME", help="Domain of the rules; required.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ADMIN = "127.0.0.1:6070"
P = ParamSpec("P")
T = TypeVar("T")


class AdminError(RlsError):
    """There is no answer, or it is an error.

    Attributes:
        code: The exit code of a command that needs the answer.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def or_exit(ask: Callable[P, T]) -> Callable[P, T]:
    """*ask*, whose `AdminError` is printed, and ends the command with its code."""

    @functools.wraps(ask)
    def asked(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return ask(*arguments, **options)
        except AdminError as error:
            pass_on(f"rls: {error}", err=True)
            raise typer.Exit(error.code) from None

    return asked


def request_admin(
    admin: str,
    path: str,
    parameters: Mapping[str, Any] | Sequence[tuple[str, str]] = (),
    *,
    body: Mapping[str, Any] | None = None,
    method: str = "",
    token_file: Path | None = None,
) -> dict[str, Any]:
    """What the server whose admin address is *admin* answers for *path*; members that are not known are to be ignored.

    Raises:
        typer.BadParameter: The address or the token is none.
        AdminError: There is no answer, or it is an error.
    """
    try:
        address = loopback(parse_address(admin, "127.0.0.1"))
    except ValueError as error:
        raise typer.BadParameter(f"--admin is '{admin}': expected {error}") from None
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token_file is not None:
        headers["Authorization"] = f"Bearer {read_token(token_file)}"
    query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
    content = None if body is None else json.dumps(body).encode()
    method = method or ("GET" if body is None else "POST")
    status, text = _answer(address, method, f"{_API}{path}{query}", content, headers)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    needed, kind = _NEEDED.get(f"{method} /{path.split('/')[1]}", ("", object))
    is_ours = isinstance(found, dict) and (
        isinstance(found.get(needed), kind) if status == HTTPStatus.OK else "error" in found
    )
    if not isinstance(found, dict) or not is_ours:
        what = f"{address} does not answer as an admin address of rls: HTTP {status}{_first_line(text)}"
        raise AdminError(f"{what}: {_EXPECTED}", UNANSWERED)
    if status != HTTPStatus.OK:
        expected = f": expected {_expected(status, found)}" if found.get("expected") else ""
        code = WRONG if status == HTTPStatus.BAD_REQUEST else NOT_DONE
        raise AdminError(f"{found['error']}{expected}", code)
    return found


def _expected(status: int, found: Mapping[str, Any]) -> str:
    """What the server expected, as it is given on the command line."""
    if status == HTTPStatus.UNAUTHORIZED:
        return "--token-file FILE, or RLS_ADMIN_TOKEN_FILE, with a token of the server's --admin-token-file"
    return str(found["expected"])


ask_admin = or_exit(request_admin)


def _answer(address: str, method: str, target: str, content: bytes | None, headers: dict[str, str]) -> Answer:
    try:
        return ask(address, target, seconds=_SECONDS, most=_ANSWER_BYTES, method=method, body=content, headers=headers)
    except OSError as error:
        why = error.strerror or str(error)
        raise AdminError(f"no answer from {address}: {why}: {_EXPECTED}", UNANSWERED) from None
    except NoHttp:
        raise AdminError(f"no answer from {address}: it does not speak HTTP/1.1: {_EXPECTED}", UNANSWERED) from None


def _first_line(text: bytes) -> str:
    """The beginning of what a server says instead of JSON; "" where it is no text."""
    line = text[:_SHOWN].decode("ascii", "replace").partition("\n")[0].strip()
    return f" ({line})" if line and line.isprintable() and "<" not in line else ""


def read_token(path: Path) -> str:
    """The first token of a file as `--admin-token-file` has it."""
    from rls.api.admin.tokens import LONGEST_FILE, tokens_of  # noqa: PLC0415

    try:
        return tokens_of(read_secret(path, LONGEST_FILE))[0][1].decode()
    except OSError as error:
        raise typer.BadParameter(f"--token-file: cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise typer.BadParameter(f"--token-file: cannot use {path}: {error}") from None


def entries_of(words: Sequence[str]) -> list[dict[str, str]]:
    """The entries `KEY=VALUE`.

    Raises:
        typer.BadParameter: There are none, or one is something else.
    """
    if not words:
        raise typer.BadParameter("no entries: expected KEY=VALUE, such as company_id=acme")
    for word in words:
        if any("\udc80" <= char <= "\udcff" for char in word):  # PEP 383
            raise typer.BadParameter(f"'{word}' is not an entry: expected KEY=VALUE in UTF-8")
    try:
        return [entry_of(word)._asdict() for word in words]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def needed(name: str, value: str, expected: str) -> str:
    """*value* of the option *name*; the message names what was *expected*.

    Raises:
        typer.BadParameter: It is empty.
    """
    if not value.strip():
        raise typer.BadParameter(f"{name} is missing: expected {expected}")
    return value


def needed_domain(value: str) -> str:
    """*value* of `--domain`.

    Raises:
        typer.BadParameter: It is empty.
    """
    return needed("--domain", value, "--domain NAME, with a `domain` of the server's rules")
