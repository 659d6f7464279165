"""`rls doctor`: looks at a server, its Redis and its Envoy, and says what is wrong and what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rls.cli.admin import ADMIN, read_token
from rls.printable import json_line, printable, printable_line

if TYPE_CHECKING:
    from rls.tools.doctor.examine import Asked
    from rls.tools.doctor.result import Result

_MARKS = {"good": "✓", "bad": "✗", "unknown": "–"}


# Most of its lines are the options of the command: typer reads them from the signature.
def doctor(
    grpc: Annotated[
        str, typer.Option("--grpc", metavar="ADDRESS", envvar="RLS_GRPC", help="Its gRPC; off for none.")
    ] = ("127.0.0.1:8081"),
    http: Annotated[
        str, typer.Option("--http", metavar="ADDRESS", envvar="RLS_HTTP", help="Its HTTP; off for none.")
    ] = ("127.0.0.1:8080"),
    admin: Annotated[
        str, typer.Option("--admin", metavar="ADDRESS", envvar="RLS_ADMIN", help="Its admin; off for none.")
    ] = ADMIN,
    redis: Annotated[str, typer.Option("--redis", metavar="URL", envvar="RLS_BACKEND", help="Its --backend.")] = "",
    envoy: Annotated[str, typer.Option("--envoy", metavar="ADDRESS", help="Admin port of an Envoy that asks it.")] = "",
    envoy_timeout: Annotated[
        str, typer.Option("--envoy-timeout", metavar="DURATION", help="Of its filter, if --envoy is not asked.")
    ] = "",
    config: Annotated[
        list[Path] | None, typer.Option("--config", metavar="PATH", help="Its rules, to compare. Repeatable.")
    ] = None,
    domain: Annotated[str, typer.Option("--domain", metavar="NAME", help="The domain that Envoy sends.")] = "",
    backend_timeout: Annotated[
        str, typer.Option("--backend-timeout", metavar="DURATION", envvar="RLS_BACKEND_TIMEOUT", help="As the server.")
    ] = "10ms",
    key_prefix: Annotated[
        str, typer.Option("--key-prefix", metavar="TEXT", envvar="RLS_KEY_PREFIX", help="As the server.")
    ] = "",
    tls: Annotated[bool, typer.Option("--tls", help="Ask gRPC over TLS.")] = False,
    tls_ca: Annotated[Path | None, typer.Option("--tls-ca", metavar="FILE", help="Trust only these (PEM).")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", envvar="RLS_ADMIN_TOKEN_FILE", hidden=True)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
) -> None:
    """Say what is wrong with a server, its Redis and its Envoy. In its pod, it needs no options.
    Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage.
    """
    import asyncio  # noqa: PLC0415

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from rls.api.client import ClientTls  # noqa: PLC0415
    from rls.tools.doctor.examine import Asked  # noqa: PLC0415

    files = ClientTls(tls_ca) if tls or tls_ca else None
    asked = Asked(
        grpc=_address("--grpc", grpc),
        http=_address("--http", http),
        admin=_address("--admin", admin),
        redis=redis,
        envoy=_address("--envoy", envoy),
        config=_paths(config or []),
        domain=domain,
        key_prefix=key_prefix,
        backend_timeout=_seconds("--backend-timeout", backend_timeout),
        envoy_timeout=_seconds("--envoy-timeout", envoy_timeout) if envoy_timeout else None,
        tls=files,
        token=read_token(token_file) if token_file else "",
    )
    results = asyncio.run(_examine(asked, show=not json))
    if json:
        typer.echo(json_line([_tree(one) for one in results], indent=2))
    wrong = [one for one in results if one.state == "bad"]
    if not json:
        _summary(results, wrong)
    if wrong:
        raise typer.Exit(1)


async def _examine(asked: Asked, *, show: bool) -> list[Result]:
    """All results; each is printed as it comes where *show*."""
    from rls.tools.doctor.examine import examine  # noqa: PLC0415

    results = []
    async for one in examine(asked):
        results.append(one)
        if show:
            typer.echo(printable_line(f"{_MARKS[one.state]} {one.about}: {one.text}"))
    return results


def _summary(results: list[Result], wrong: list[Result]) -> None:
    """What to do, then what nobody knows, in the order of the report."""
    for title, found in (("What to do:", wrong), ("To know more:", [one for one in results if one.state == "unknown"])):
        advised = [one for one in found if one.advice]
        if advised:
            typer.echo(f"\n{title}")
        for one in advised:
            typer.echo(printable_line(f"  {one.about}: {one.advice}"))


def _tree(one: Result) -> dict[str, str]:
    return {
        "about": one.about,
        "state": str(one.state),
        "text": printable(one.text),
        "advice": printable(one.advice),
    }


def _paths(config: list[Path]) -> tuple[Path, ...]:
    """Those of the command line, else those that the server takes from the environment."""
    from rls.cli.standard_input import refuse  # noqa: PLC0415
    from rls.settings.values import parse_paths  # noqa: PLC0415

    refuse(config)
    text = os.environ.get("RLS_CONFIG", "")
    if config or not text:
        missing = [path for path in config if not path.exists()]
        if missing:
            raise typer.BadParameter(printable(f"--config is '{missing[0]}': no such file or directory"))
        return tuple(config)
    found = parse_paths(text)
    return tuple(place for place in found if isinstance(place, Path)) if isinstance(found, tuple) else ()


def _address(name: str, text: str) -> str:
    """*text* as an address to dial; "" for none. A URL of HTTP is what is in it."""
    from rls.addresses import loopback, parse_address  # noqa: PLC0415
    from rls.settings.values import explained  # noqa: PLC0415

    plain = text.removeprefix("http://").rstrip("/")
    if plain in ("", "off"):
        return ""
    try:
        return loopback(parse_address(plain, "127.0.0.1"))
    except ValueError as error:
        raise typer.BadParameter(printable(explained(name, text, str(error)))) from None


def _seconds(name: str, text: str) -> float:
    from rls.settings.values import explained, parse_duration  # noqa: PLC0415

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(printable(explained(name, text, str(error)))) from None
