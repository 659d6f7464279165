"""`rls call`: sends one real check, or several, and prints the answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rls.cli.answers import print_answers
from rls.cli.connect_errors import explain
from rls.cli.no_limit import unlimited
from rls.cli.output import say
from rls.cli.requests import request_of, whole
from rls.core.model import UINT32_MAX
from rls.errors import SettingsError
from rls.printable import json_line, printable

if TYPE_CHECKING:
    from rls.api.messages import Answer

OVER_LIMIT, UNANSWERED, UNLIMITED = 1, 3, 4
"""Exit codes."""


# Two thirds of its lines are the options of the command: typer reads them from the signature.
def call(
    address: Annotated[
        str,
        typer.Argument(metavar="ADDRESS", help="Of its gRPC: HOST:PORT, [IPV6]:PORT, PORT or unix:/path."),
    ],
    entries: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Entries of the descriptor, in order.")
    ] = None,
    domain: Annotated[str, typer.Option("--domain", "-d", metavar="NAME", help="Domain of the rules; required.")] = "",
    descriptors: Annotated[
        list[str] | None,
        typer.Option("--descriptor", metavar="KEY=VALUE,…", help=r"One more; \, is a comma. Repeatable."),
    ] = None,
    hits: Annotated[str, typer.Option("--hits", metavar="COUNT", help="Add this many hits; 0 only reads.")] = "1",
    count: Annotated[str, typer.Option("--count", "-n", metavar="COUNT", help="Send this many checks.")] = "1",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="Wait this long for each answer.")
    ] = "1s",
    expect_limit: Annotated[
        bool, typer.Option("--expect-limit", help="Exit with 4 unless counters limited all.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each answer as a line of JSON.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="Connect with TLS.")] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option("--tls-ca", metavar="FILE", help="Trust only these authorities (PEM)."),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", metavar="FILE", help="Present this certificate (PEM)."),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", help="Private key of --tls-cert (PEM)."),
    ] = None,
    tls_server_name: Annotated[
        str,
        typer.Option("--tls-server-name", metavar="NAME", help="Expect this name in its certificate."),
    ] = "",
) -> None:
    """Ask a running server, as Envoy does. Each check adds its hits.
    Exit codes: 0 OK, 1 OVER_LIMIT, 2 wrong usage, 3 no answer; the last check counts.
    """
    # The error has what gRPC's core would print about a failure.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from rls.api.client import Client, ClientTls, UnansweredError  # noqa: PLC0415

    try:
        target = _target(address)
        added = whole("--hits", hits, 0, UINT32_MAX)
        request = request_of(domain, entries or [], descriptors or [], added, " after the address")
        seconds, checks = _timeout(timeout), whole("--count", count, 1, UINT32_MAX)
    except ValueError as error:
        raise typer.BadParameter(printable(str(error))) from None
    if bool(tls_cert) != bool(tls_key):  # gRPC's core would abort the process
        raise typer.BadParameter("--tls-cert and --tls-key need each other")
    files = None
    if tls or tls_ca or tls_cert or tls_key or tls_server_name:
        files = ClientTls(tls_ca, tls_cert, tls_key, tls_server_name)
    answers: list[Answer] = []
    try:
        with Client(target, tls=files) as client:
            for _ in range(checks):
                answers.append(client.check(request, timeout=seconds))
                if json:
                    typer.echo(json_line(answers[-1].json))
            found = unlimited(request, answers, lambda: client.knows_domain(domain, timeout=seconds))
    except SettingsError as error:
        raise typer.BadParameter(printable(str(error))) from None
    except UnansweredError as error:
        say(f"rls: no answer from {target}: {error.code}: {explain(error.text, tls=files is not None)}", err=True)
        raise typer.Exit(UNANSWERED) from None
    if not json:
        print_answers(request, answers)
    if expect_limit or not json:
        for reason in found:
            say(f"rls: {reason}", err=True)
    if expect_limit and found:
        raise typer.Exit(UNLIMITED)
    raise typer.Exit(0 if answers[-1].code == "OK" else OVER_LIMIT)


def _timeout(text: str) -> float:
    from rls.settings.values import explained, parse_duration  # noqa: PLC0415

    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(explained("--timeout", text, str(error))) from None


def _target(address: str) -> str:
    """*address* as gRPC dials it: a port alone and wildcard hosts mean this machine."""
    from rls.addresses import loopback, parse_address  # noqa: PLC0415
    from rls.settings.values import explained  # noqa: PLC0415

    try:
        return loopback(parse_address(address, "127.0.0.1"))
    except ValueError as error:
        hint = "; it comes first: rls call ADDRESS --domain NAME KEY=VALUE" if "=" in address else ""
        raise ValueError(explained("ADDRESS", address, f"{error}{hint}")) from None
