"""`rls call`: one real check, printed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rls.cli.output import say
from rls.core.model import UINT32_MAX, Descriptor, Entry, Request
from rls.errors import SettingsError
from rls.printable import json_line, printable, printable_line

if TYPE_CHECKING:
    from rls.api.client import Answer, DescriptorAnswer

OVER_LIMIT, UNANSWERED, UNLIMITED = 1, 3, 4
"""Exit codes."""


def call(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="HOST:PORT or unix:/path of the server's gRPC.")],
    entries: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Entries of a descriptor, in their order.")
    ] = None,
    domain: Annotated[str, typer.Option("--domain", "-d", help="Domain of the rules.")] = "",
    descriptors: Annotated[
        list[str] | None,
        typer.Option("--descriptor", metavar="KEY=VALUE,…", help="One more descriptor; may be repeated."),
    ] = None,
    hits: Annotated[int, typer.Option("--hits", min=0, max=UINT32_MAX, help="Hits to add; 0 only looks.")] = 1,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How often to ask.")] = 1,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long to wait for an answer.")
    ] = "1s",
    expect_limit: Annotated[
        bool, typer.Option("--expect-limit", help="Fail unless counters and a limit decide every descriptor.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print answers as JSON, one a line.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="Use TLS.", rich_help_panel="TLS")] = False,
    tls_ca: Annotated[Path | None, typer.Option("--tls-ca", help="CA to trust (PEM).", rich_help_panel="TLS")] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="Certificate to show (PEM).", rich_help_panel="TLS")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key (PEM).", rich_help_panel="TLS")] = None,
    tls_server_name: Annotated[
        str, typer.Option("--tls-server-name", help="Name to expect in its certificate.", rich_help_panel="TLS")
    ] = "",
) -> None:
    """Ask a running server, as Envoy does. What is asked counts, unless with --hits 0.

    Exits with 0 where the last answer is OK, 1 where it is OVER_LIMIT, 3 where there was none, 2 if called wrongly; with
    --expect-limit 4 where in any answer a descriptor has no limit, or on_backend_error decided instead of the counters.

    [dim]rls call 127.0.0.1:8081 --domain mesh company_id=acme[/dim]
    """
    # What gRPC's core would say of a failure stands in the error, too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from rls.api.client import Client, ClientTls, UnansweredError  # noqa: PLC0415
    from rls.settings.values import parse_duration  # noqa: PLC0415

    try:
        request = _request(domain, entries or [], descriptors or [], hits)
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise typer.BadParameter(printable(str(error))) from None
    files = None
    if tls or tls_ca or tls_cert or tls_key or tls_server_name:
        files = ClientTls(tls_ca, tls_cert, tls_key, tls_server_name)
    answers: list[Answer] = []
    try:
        with Client(address, tls=files) as client:
            for _ in range(count):
                answers.append(client.check(request, timeout=seconds))
                if json:
                    typer.echo(json_line(answers[-1].json))
    except SettingsError as error:
        raise typer.BadParameter(printable(str(error))) from None
    except UnansweredError as error:
        say(f"rls: no answer from {address}: {error}", err=True)
        raise typer.Exit(UNANSWERED) from None
    if not json:
        _show(request, answers)
    if expect_limit:
        _demand_limits(request, answers)
    raise typer.Exit(0 if answers[-1].code == "OK" else OVER_LIMIT)


def _request(domain: str, entries: Sequence[str], descriptors: Sequence[str], hits: int) -> Request:
    """What the arguments ask for.

    Raises:
        ValueError: They ask for nothing, or are no entries.
    """
    if not domain:
        raise ValueError("--domain is missing: expected the domain of the rules")
    texts = [entries] if entries else []
    texts += [text.split(",") for text in descriptors]
    if not texts:
        raise ValueError("nothing to ask for: expected KEY=VALUE entries")
    # A descriptor's own addend of 0 only looks; the request's would mean 1.
    addend = 0 if hits == 0 else None
    return Request(domain, tuple(Descriptor(tuple(map(_entry, parts)), hits_addend=addend) for parts in texts), hits)


def _entry(text: str) -> Entry:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"'{text}' is not an entry: expected KEY=VALUE")
    return Entry(key, value)


def _unlimited(request: Request, answer: Answer) -> Iterator[str]:
    """Why *answer* does not show that a limit is kept for every descriptor of *request*; nothing where it does."""
    if policies := answer.metadata.get("on_backend_error"):
        yield f"the counters did not decide, since the backend fails; on_backend_error did: {policies}"
    for descriptor, status in zip_longest(request.descriptors, answer.statuses[: len(request.descriptors)]):
        if status is None or (status.limit is None and status.limit_remaining != UINT32_MAX):
            yield (
                f"no limit for {descriptor.text}: there are no rules for the domain {request.domain}, none of them matches, "
                "or another rule of the request replaces the one that does"
            )
        elif status.limit is None:
            yield f"no limit for {descriptor.text}: its rule is `unlimited`"


def _demand_limits(request: Request, answers: Sequence[Answer]) -> None:
    """Say why an answer does not show that every descriptor is limited, and exit; return where all do."""
    found = dict.fromkeys(reason for answer in answers for reason in _unlimited(request, answer))
    for reason in found:
        say(f"rls: {reason}", err=True)
    if found:
        raise typer.Exit(UNLIMITED)


def _show(request: Request, answers: Sequence[Answer]) -> None:
    """Print the last answer, and how many there were of each code."""
    _show_answer(request, answers[-1])
    if len(answers) > 1:
        codes = Counter(answer.code for answer in answers)
        listed = ", ".join(f"{number} {code}" for code, number in sorted(codes.items()))
        typer.echo(f"{len(answers)} checks: {listed}")


def _show_answer(request: Request, answer: Answer) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    summary = Text.assemble((answer.code, _STYLES.get(answer.code, "")), f" in {answer.seconds * 1000:.1f} ms")
    if rule := answer.metadata.get("rule"):
        refused = f"; refused by rule {rule}, by its descriptor {answer.metadata.get('descriptor')}"
        summary.append(printable(refused))
    if policies := answer.metadata.get("on_backend_error"):
        summary.append(printable(f"; decided without counters, by on_backend_error: {policies}"))
    console.print(summary)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("descriptor", "status", "limit", "remaining", "reset"):
        table.add_column(heading, overflow="fold")
    for descriptor, status in zip(request.descriptors, answer.statuses, strict=False):
        table.add_row(
            Text(printable_line(descriptor.text)), Text(status.code, _STYLES.get(status.code, "")), *_cells(status)
        )
    console.print(table)
    for name, value in answer.headers:
        console.print(Text(printable_line(f"{name}: {value}")))
    if answer.raw_body:
        for line in answer.raw_body.decode(errors="surrogateescape").removesuffix("\n").split("\n"):
            console.print(Text(printable_line(line)))


_STYLES = {"OK": "green", "OVER_LIMIT": "red"}


def _cells(status: DescriptorAnswer) -> tuple[str, str, str]:
    """Limit, remaining and reset."""
    limit = status.limit
    if limit is None:
        return ("unlimited", "-", "-") if status.limit_remaining == UINT32_MAX else ("no limit", "-", "-")
    several = f"{limit.unit_multiplier} " if limit.unit_multiplier > 1 else ""
    text = f"{limit.requests_per_unit} per {several}{limit.unit.name.lower()}{'s' if several else ''}"
    return text, str(status.limit_remaining), f"{status.seconds_until_reset} s"
