"""How requests and their answers are shown in a terminal, in styles that dark and light backgrounds take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.demo.clients import Client, Curl, Tally
from examples.mesh.http import Answer

_LOGGED = (
    "method",
    "path",
    "code",
    "details",
    "company_id",
    "address",
    "rule",
    "rule_name",
    "rule_place",
    "descriptor",
    "seconds_until_reset",
)
_COLOURS = {200: "green", 429: "red"}


def rules(console: Console, text: str) -> None:
    """Rules in YAML, their comments dim."""
    for line in text.splitlines():
        code, mark, comment = line.partition("#")
        console.print(Text.assemble(code, (f"{mark}{comment}", "dim")), soft_wrap=True)


def send(console: Console, curl: Curl, client: Client) -> Tally:
    """Send a client's requests, and show the command and the statuses."""
    console.rule(f"[bold]{client.name}[/]: {client.story}", align="left", style="dim")
    command(console, curl.line(client, client.requests))
    tally = Tally(client, curl.send(client, client.requests))
    statuses(console, [answer.status for answer in tally.answers])
    return tally


def statuses(console: Console, found: list[int]) -> None:
    """One after the other, refusals in red."""
    console.print(" ".join(f"[{_COLOURS.get(status, 'magenta')}]{status}[/]" for status in found), end="\n\n")


def answer_whole(console: Console, answer: Answer) -> None:
    """Status, headers and body of a refusal."""
    console.print(f"[red]{answer.status}[/]")
    for name, value in answer.headers.items():
        console.print(f"{name}: {value}", soft_wrap=True, markup=False)
    console.print(f"\n{answer.body.decode()}\n", soft_wrap=True, markup=False)


def logged(console: Console, line: Mapping[str, Any]) -> None:
    """What an access log says of a request."""
    shown = " ".join(f"{name}={line[name]}" for name in _LOGGED)
    console.print(shown, end="\n\n", soft_wrap=True, markup=False)


def command(console: Console, line: str) -> None:
    console.print(f"$ {line}", style="bold", markup=False, soft_wrap=True)


def wait_for_a_full_window(console: Console, seconds: int, enough: int, what: str) -> None:
    """Counters begin at 0 with every window of that many *seconds*: wait until all requests fit into one."""
    left = seconds - time.time() % seconds
    if left < enough:
        console.print(f"A new {what} begins in {left:.0f} s, and with it all counts: waiting for it.\n")
        time.sleep(left)


def table(tallies: list[Tally]) -> Table:
    """The answers to all requests."""
    table = Table(title="Who got through", title_style="bold", title_justify="left")
    table.add_column("who")
    for column in ("requests", "200", "429"):
        table.add_column(column, justify="right")
    table.add_column("refused by")
    table.add_column("reset", justify="right")
    for tally in tallies:
        passed, refused = tally.count(200), tally.count(429)
        table.add_row(
            tally.client.name,
            str(len(tally.answers)),
            f"[green]{passed}[/]",
            f"[red]{refused}[/]" if refused else "0",
            tally.limited_by or "-",
            f"in {tally.reset} s" if tally.reset else "-",
        )
    return table
