"""`rls explain`: which rule applies to a request, and why no other does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rls.cli.admin import ADMIN, ask_admin
from rls.cli.output import pass_on
from rls.cli.requests import request_of, whole
from rls.cli.rules import read_rules
from rls.core.model import UINT32_MAX, Request
from rls.printable import json_line, printable

if TYPE_CHECKING:
    from rls.cli.http_request import Described

REFUSED, UNANSWERED, UNLIMITED = 1, 3, 4
"""Exit codes."""

Texts = list[str] | None
Paths = list[Path] | None


# Most of its lines are the options of the command: typer reads them from the signature.
def explain(
    entries: Annotated[Texts, typer.Argument(metavar="KEY=VALUE", help="Entries of the descriptor, in order.")] = None,
    domain: Annotated[str, typer.Option("--domain", "-d", metavar="NAME", help="Domain of the rules.")] = "",
    descriptors: Annotated[
        Texts, typer.Option("--descriptor", metavar="KEY=VALUE,…", help=r"One more; \, is a comma. Repeatable.")
    ] = None,
    hits: Annotated[str, typer.Option("--hits", metavar="COUNT", help="Hits of the request; 0 only looks.")] = "1",
    config: Annotated[Paths, typer.Option("--config", metavar="PATH", help="By these rules, without a server.")] = None,
    admin: Annotated[str, typer.Option("--admin", metavar="ADDRESS", help=f"By this server [{ADMIN}].")] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", envvar="RLS_ADMIN_TOKEN_FILE", hidden=True)
    ] = None,
    envoyfilter: Annotated[
        Paths, typer.Option("--envoyfilter", metavar="FILE", help="Take an HTTP request through its actions:")
    ] = None,
    method: Annotated[str, typer.Option("--method", metavar="METHOD", help="its method,")] = "GET",
    path: Annotated[str, typer.Option("--path", metavar="PATH", help="its path with the query,")] = "/",
    headers: Annotated[Texts, typer.Option("--header", metavar="NAME:VALUE", help="a header; repeatable,")] = None,
    token: Annotated[str, typer.Option("--token", metavar="JWT", help="its JWT or a file; not verified,")] = "",
    address: Annotated[str, typer.Option("--address", metavar="IP", help="the client's address,")] = "",
    clusters: Annotated[
        Texts, typer.Option("--cluster", metavar="KIND=NAME", help="of KIND source or destination.")
    ] = None,
    expect_limit: Annotated[
        bool, typer.Option("--expect-limit", help="Exit with 4 unless limits apply to all.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say which rule applies, and why no other does.
    Exit codes: 0 OK, 1 OVER_LIMIT.
    """
    from rls.cli.explained import print_explanation, without_limit  # noqa: PLC0415
    from rls.cli.http_request import http_request, through_actions  # noqa: PLC0415

    if admin and config:
        raise typer.BadParameter("expected --config with rules, or --admin with the address of a server, not both")
    described = None
    try:
        if envoyfilter:
            asked = http_request(method, path, headers or [], token, address, clusters or [])
            described = through_actions(envoyfilter, asked)
            domain = domain or described.domain
        request = _request(domain, entries or [], descriptors or [], hits, described)
    except ValueError as error:
        raise typer.BadParameter(printable(str(error))) from None
    sent = {} if described is None else {"actions": [*map(_sent, described.outcomes)], "notes": described.notes}
    if not request.descriptors:
        row: dict[str, Any] = {**_nothing(domain, described), **sent}
    else:
        row = (_from_files(config, request) if config else _from_server(admin or ADMIN, token_file, request)) | sent
    if json:
        typer.echo(json_line(row, indent=2))
    else:
        print_explanation(row)
    if expect_limit and row["code"] is not None and (found := list(without_limit(row))):
        for reason in found:
            pass_on(f"rls: {reason}", err=True)
        raise typer.Exit(UNLIMITED)
    raise typer.Exit({"OK": 0, "OVER_LIMIT": REFUSED}.get(row["code"], UNANSWERED))


def _nothing(domain: str, described: Described | None) -> dict[str, Any]:
    """What is said where no descriptor is known to be sent: Envoy does not ask then, and the request passes."""
    certain = described is None or all(one.known for one in described.outcomes)
    keys = (
        "revision",
        "rule",
        "name",
        "place",
        "limit",
        "counter_key",
        "count",
        "limit_remaining",
        "duration_until_reset",
    )
    empty: dict[str, Any] = {"considered": [], "descriptors": [], "backend_error": None}
    not_limited = "Envoy sends no descriptor, so it does not ask" if certain else None
    answer = {"code": "OK" if certain else None, "not_limited": not_limited}
    return {**dict.fromkeys(keys), "domain": domain, **answer, **empty}


def _request(
    domain: str, entries: Sequence[str], descriptors: Sequence[str], hits: str, described: Described | None
) -> Request:
    """The request that the arguments describe.

    Raises:
        ValueError: They are wrong.
    """
    count = whole("--hits", hits, 0, UINT32_MAX)
    if described is None:
        return request_of(domain, entries, descriptors, count)
    if entries or descriptors:
        raise ValueError("--envoyfilter makes the descriptors: expected none beside it")
    if not domain:
        raise ValueError("--domain is missing, and --envoyfilter names none: expected --domain NAME")
    sent = [one.descriptor for one in described.outcomes if one.descriptor is not None]
    if count == 0:
        sent = [one._replace(hits_addend=0) for one in sent]
    return Request(domain, tuple(sent), count)


def _sent(found: Any) -> dict[str, Any]:
    """One outcome for JSON."""
    sent = None if found.descriptor is None else found.descriptor.entries
    entries = None if sent is None else [{"key": printable(key), "value": printable(value)} for key, value in sent]
    return {
        "place": printable(found.place),
        "entries": entries,
        "why": printable(found.why) or None,
        "known": found.known,
    }


def _from_files(paths: Sequence[Path], request: Request) -> dict[str, Any]:
    import time  # noqa: PLC0415

    from rls.api.admin.explain import explanation_row  # noqa: PLC0415
    from rls.core.decide import Modes  # noqa: PLC0415
    from rls.core.plan import CountingOptions  # noqa: PLC0415
    from rls.engine.explain import explain_offline  # noqa: PLC0415

    found = explain_offline(read_rules(paths), request, int(time.time()), CountingOptions(), Modes())
    return {"revision": None, **explanation_row(found)}


def _from_server(admin: str, token_file: Path | None, request: Request) -> dict[str, Any]:
    descriptors = [
        {
            "entries": [{"key": key, "value": value} for key, value in one.entries],
            **({} if one.hits_addend is None else {"hits_addend": one.hits_addend}),
        }
        for one in request.descriptors
    ]
    body = {"domain": request.domain, "descriptors": descriptors, "hits_addend": request.hits_addend}
    return ask_admin(admin, "/explain", body=body, token_file=token_file)
