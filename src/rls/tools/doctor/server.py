"""Asks HTTP and admin: readiness and its reasons, version, revision, clock, and how often the CPU limit stopped the server."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rls import __version__
from rls.tools.doctor.result import Result, bad, good, unknown
from rls.tools.doctor.web import WebError, get, read_json

SKEWED_SECONDS = 1.0
"""The shortest window: with a larger difference, two servers count one hit in two windows."""
_PAGE = "docs/operations.md"
_IN_FORCE = "rules in force"
_THROTTLED = re.compile(r"^rls_cpu_throttled_periods_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


def look_at_http(address: str) -> Iterator[Result]:
    """Readiness; *address* is that of `--http`."""
    try:
        answer = get(address, "/readyz")
        said = read_json(answer)
    except WebError as error:
        yield bad("http", f"{address}: {error}", "start the server, or correct --http")
        return
    if answer.status == 200:
        yield good("http", f"{address} is ready; the state is {said.get('state')}")
    else:
        yield bad("http", f"{address} is not ready: {answer.status}", "no calls are sent here; the reasons follow")
    for reason in said.get("reasons", ()):
        name = reason.get("reason", "")
        anchor = f"{_PAGE}#reasons, `{name}`"
        yield bad("state", f"{name}: {reason.get('text')}, since {reason.get('since')}", f"see {anchor}")


def throttled_periods(address: str) -> float | None:
    """Periods in which the CPU limit stopped the server, since it started; None where nobody knows."""
    try:
        found = _THROTTLED.search(get(address, "/metrics").body.decode(errors="replace"))
    except WebError:
        return None
    return None if found is None else float(found[1])


def throttling(before: float | None, after: float | None) -> Result:
    """What two looks at `throttled_periods` say."""
    if before is None or after is None:
        return unknown("cpu", "throttling is not known: the server has no CPU limit, or its /metrics does not answer")
    if after > before:
        advice = (
            "raise the CPU limit of the pod, or remove it: a stop lasts up to 100 ms, and Envoy may not wait so long"
        )
        return bad("cpu", f"the CPU limit stopped the server in {after - before:g} periods just now", advice)
    since = f"; {after:g} periods since it started" if after else ""
    return good("cpu", f"the CPU limit does not stop the server now{since}")


class AdminPort:
    """The port of `--admin`, at *address*; *token* is shown to it.

    Attributes:
        status: What `/api/v1/status` says; empty before `look`, and without an answer.
    """

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address
        self.status: dict[str, Any] = {}
        self._token = token

    def look(self, revision: str) -> Iterator[Result]:
        """Ask; *revision* is that of the rules in files, "" without any."""
        before = time.time()
        try:
            answer = get(self.address, "/api/v1/status", self._token)
            after = time.time()
            if answer.status in (401, 403, 421):
                yield unknown(
                    "admin",
                    f"{self.address} answers {answer.status}",
                    "show a token of --admin-token-file: RLS_ADMIN_TOKEN_FILE names a file with one",
                )
                return
            self.status = read_json(answer)
        except WebError as error:
            yield unknown(
                "admin", f"{self.address}: {error}", "correct --admin; it listens on loopback only, so ask in the pod"
            )
            return
        version = self.status.get("version")
        other = "" if version == __version__ else f"; this is {__version__}"
        yield good("admin", f"{self.address} is rls {version}{other}")
        yield from self._rules(revision)
        yield self._clock(before, after)

    def domain(self) -> str:
        """A domain that the server has rules for; "" where nobody knows."""
        try:
            rules = read_json(get(self.address, "/api/v1/rules?limit=1", self._token)).get("rules") or [{}]
        except WebError:
            return ""
        return str(rules[0].get("domain", ""))

    def _rules(self, revision: str) -> Iterator[Result]:
        number, errors, running = (self.status.get(key) for key in ("rules", "errors", "revision"))
        if errors:
            yield bad(
                _IN_FORCE, f"{errors} errors in the rules: the last good ones are in force", "rls check PATH lists them"
            )
        elif not number:
            yield bad(_IN_FORCE, "no rule is in force: every request passes", "name rules with --config or RLS_CONFIG")
        elif revision and revision != running:
            advice = "compare with rls check --against; the server reads changes within two seconds, a ConfigMap takes a minute"
            yield bad(_IN_FORCE, f"revision {running} is in force, and the files are {revision}", advice)
        else:
            same = ", that of the files" if revision else ""
            are = "rule is" if number == 1 else "rules are"
            yield good(_IN_FORCE, f"{number} {are} in force, revision {running}{same}")

    def _clock(self, before: float, after: float) -> Result:
        try:
            theirs = datetime.fromisoformat(str(self.status.get("time"))).timestamp()
        except ValueError:
            return unknown("clock", "the server does not say its time")
        return clock("the server", theirs, before, after)


def clock(whose: str, theirs: float, before: float, after: float) -> Result:
    """Compare *theirs*, read between *before* and *after* by our own clock."""
    ahead = theirs - (before + after) / 2
    if abs(ahead) - (after - before) / 2 > SKEWED_SECONDS:
        where = "ahead of" if ahead > 0 else "behind"
        advice = "synchronize the clocks (NTP): windows begin and end by them"
        return bad("clock", f"the clock of {whose} is {abs(ahead):.1f} s {where} ours", advice)
    return good("clock", f"the clock of {whose} agrees with ours, to {max(abs(ahead), 0.001) * 1000:.0f} ms")
