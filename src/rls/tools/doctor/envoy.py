"""Asks the admin port of an Envoy: its rate limit filters, and what became of their requests."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from rls.tools.doctor.result import Result, bad, good, milliseconds, unknown
from rls.tools.doctor.web import WebError, get, read_json

DEFAULT_TIMEOUT = 0.02
_FILTER = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
_STATS = "/stats?format=json&filter=ratelimit%5C.(ok%7Cover_limit%7Cerror%7Cfailure_mode_allowed)%24"
_FAILED_SHARE = 0.001


class Filter(NamedTuple):
    """A rate limit filter: what it sends, and how many seconds it waits."""

    domain: str
    timeout: float
    denies: bool


class Envoy:
    """The Envoy with its admin port at *address*.

    Attributes:
        filters: Its rate limit filters; none before `read`, and without an answer.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.filters: list[Filter] = []
        self._error = ""

    def read(self) -> None:
        """Ask for the filters."""
        try:
            answer = get(self.address, "/config_dump")
            self.filters = list(dict.fromkeys(_filters(read_json(answer))))
        except WebError as error:
            self._error = str(error)

    @property
    def timeout(self) -> float | None:
        """Seconds that the least patient filter waits, infinite for ever; None where nobody knows."""
        return min((one.timeout or math.inf for one in self.filters), default=None)

    def look(self) -> Iterator[Result]:
        """What was found."""
        if self._error:
            yield bad(
                "envoy", f"{self.address}: {self._error}", "correct --envoy: it is Envoy's admin port, 15000 in Istio"
            )
            return
        if not self.filters:
            advice = "rls mesh check and istioctl proxy-config listener show what arrived; see docs/istio.md"
            yield bad("envoy", f"{self.address} has no rate limit filter: every request passes", advice)
        for domain, timeout, denies in self.filters:
            then = "answers 500" if denies else "lets the request pass"
            waits = milliseconds(timeout) if timeout else "for ever"
            yield good("envoy", f"a filter asks for the domain {domain}, waits {waits}, and without an answer {then}")
        yield from self._counts()

    def _counts(self) -> Iterator[Result]:
        try:
            stats = read_json(get(self.address, _STATS)).get("stats") or []
        except WebError as error:
            yield unknown("envoy stats", str(error))
            return
        counts: Counter[str] = Counter()
        for stat in stats:
            if isinstance(stat, dict) and isinstance(stat.get("value"), int):
                counts[str(stat.get("name")).rpartition(".")[2]] += stat["value"]
        if not stats:
            advice = (
                "no request came yet, or Istio hides them: let proxyStatsMatcher have inclusionRegexps `.*ratelimit.*`"
            )
            yield unknown("envoy stats", "Envoy shows no statistics of rate limits", advice)
            return
        asked = counts["ok"] + counts["over_limit"] + counts["error"]
        text = f"{asked} requests: {counts['ok']} ok, {counts['over_limit']} over limit, {counts['error']} without an answer"
        if counts["error"] > _FAILED_SHARE * asked:
            passed = f", {counts['failure_mode_allowed']} of which passed unlimited"
            advice = "look at gRPC, Redis and the timeouts; the cluster of the filter may have no endpoint: /clusters shows it"
            yield bad("envoy stats", f"{text}{passed}", advice)
        else:
            yield good("envoy stats", text)


def timeouts(wait: float | None, backend: float, p99: float | None) -> Iterator[Result]:
    """Whether the *wait* of Envoy, None where nobody knows it, is enough for that for the *backend*, and for the measured one."""
    if wait is None:
        text = f"a call may wait {milliseconds(backend)} for Redis, and how long Envoy waits for the call is not known"
        advice = (
            f"--envoy, or --envoy-timeout with `timeout` of its filter: {milliseconds(2 * backend)} or more is enough"
        )
        yield unknown("timeouts", text, advice)
        return
    shown = milliseconds(wait) if wait < math.inf else "for ever"
    if backend > wait / 2:
        advice = f"set --backend-timeout to {milliseconds(wait / 2)} or less, or raise `timeout` of Envoy's filter"
        text = f"a call may wait {milliseconds(backend)} for Redis, and Envoy waits {shown} for the call"
        yield bad("timeouts", text, advice)
    else:
        yield good(
            "timeouts", f"a call waits at most {milliseconds(backend)} for Redis, and Envoy {shown} for the call"
        )
    if p99 is not None and p99 > wait:
        advice = "bring the server nearer, give it CPU, or raise `timeout` of Envoy's filter"
        yield bad(
            "timeouts", f"p99 of the round trip from here is {milliseconds(p99)}, and Envoy waits {shown}", advice
        )


def _filters(tree: Any) -> Iterator[Filter]:
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            kind, fields = str(node.get("@type", "")), node
            if kind.endswith("TypedStruct"):
                kind, fields = str(node.get("type_url", "")), node.get("value") or {}
            if kind.endswith(_FILTER) and fields.get("domain"):
                wait = re.fullmatch(r"([0-9.]+)s", str(fields.get("timeout", "")))
                seconds = float(wait[1]) if wait else DEFAULT_TIMEOUT
                yield Filter(str(fields["domain"]), seconds, fields.get("failure_mode_deny") is True)
            pending += node.values()
