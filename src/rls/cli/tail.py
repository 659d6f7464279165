"""`rls tail`: a line for each request that is refused, while it happens."""

from __future__ import annotations

import functools
import json as json_module
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from rls.cli.admin import ADMIN, UNANSWERED, Admin, Json, TokenFile, request_admin
from rls.cli.filters import OnlyDomain, OnlyEntries, OnlyRule, filters, not_in_force
from rls.cli.output import pass_on
from rls.cli.pods import PodsOption, Told, ask_all, asked_pods
from rls.cli.rows import rule_text
from rls.observe.entries import entries_text

_POLL_SECONDS = 1.0
_MOST = 1_000
_OVERLAP_SECONDS = 3
"""A poll asks for so much more than the time since the one before; what was printed is not printed again."""


class Refusals:
    """Refusals of several polls, each once.

    Args:
        since: What the first poll asks for, as the admin API has it.
    """

    def __init__(self, since: str) -> None:
        self.since = since
        self._printed: dict[str, Sequence[str]] = {}

    def new(self, told: Iterable[Told]) -> list[tuple[str, Mapping[str, Any]]]:
        """Those that no poll had before, in order of time, each with the name of its pod."""
        found = []
        for one in told:
            if one.answer is None:
                continue
            rows = one.answer["refusals"]
            texts = [json_module.dumps(row, sort_keys=True) for row in rows]
            before = Counter(self._printed.get(one.pod.name, ()))
            for row, text in zip(rows, texts, strict=True):
                if before[text] > 0:
                    before[text] -= 1
                else:
                    found.append((one.pod.name, row))
            self._printed[one.pod.name] = texts
        self.since = f"{_OVERLAP_SECONDS}s"
        return sorted(found, key=lambda pair: str(pair[1]["time"]))


def tail(
    admin: Admin = ADMIN,
    pods: PodsOption = "",
    domain: OnlyDomain = "",
    rule: OnlyRule = "",
    entry: OnlyEntries = None,
    since: Annotated[str, typer.Option("--since", metavar="WHEN", help="Begin with 90s, 5m, 2h ago or a time.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="End after what there is already.")] = False,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Print a line for each refused request, until Ctrl-C.

    Exit codes: 0, 2 for wrong usage, 3 without an answer.
    """
    given = {**filters(domain, rule, entry), "limit": _MOST}
    refusals = Refusals(since)
    failing: set[str] = set()
    with suppress(KeyboardInterrupt), asked_pods(admin, pods) as asked:
        if wrong := not_in_force(asked, domain, rule, token_file):
            pass_on(f"rls: warning: {wrong}", err=True)
        while True:
            ask = functools.partial(_ask, parameters={**given, "since": refusals.since}, token_file=token_file)
            told = ask_all(asked, ask)
            failing = _tell_failing(told, failing)
            if once and len(failing) == len(told):
                raise typer.Exit(UNANSWERED)
            for pod, row in refusals.new(told):
                _print(row, pod if pods else "", json=json)
            if once:
                return
            time.sleep(_POLL_SECONDS)


def _ask(address: str, parameters: Mapping[str, Any], token_file: Path | None) -> dict[str, Any]:
    return request_admin(address, "/refusals", parameters, token_file=token_file)


def _tell_failing(told: Sequence[Told], before: set[str]) -> set[str]:
    """Say once which servers do not answer, and when they do again; returns those that do not."""
    for one in told:
        if one.error and one.pod.name not in before:
            pass_on(f"rls: {one.error}", err=True)
        elif not one.error and one.pod.name in before:
            pass_on(f"rls: {one.pod.name} answers again", err=True)
    return {one.pod.name for one in told if one.error}


def _print(row: Mapping[str, Any], pod: str, *, json: bool) -> None:
    if json:
        typer.echo(json_module.dumps({**row, "pod": pod} if pod else row))
        return
    limit = f"{row['requests_per_window']} in {row['window_seconds']} s"
    count = "" if row.get("count") is None else f", count {row['count']}"
    policy = f", by on_backend_error: {row['policy']}" if row.get("policy") else ""
    stands_for = f", and {row['stands_for'] - 1} like it" if row.get("stands_for", 1) > 1 else ""
    trace = f", trace {row['trace_id']}" if row.get("trace_id") else ""
    where = f"{pod} " if pod else ""
    pass_on(
        f"{row['time']} {where}{entries_text(row['entries'])} refused by {rule_text(row)}: {limit}{count}"
        f", resets in {row['reset_seconds']} s{policy}{stands_for}{trace}"
    )
