"""`/explain`: what a request would be answered, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from rls.api.admin.answer import answer_json
from rls.api.admin.query import Query, WrongRequest
from rls.api.admin.route import AdminRoute
from rls.api.admin.rows import Row, identity, iso, limit_text
from rls.api.decode import SLICE, read
from rls.api.json_checks import read_request
from rls.core.check import Check, Status
from rls.core.decide import tightest
from rls.core.explain import Considered
from rls.core.model import UINT32_MAX
from rls.core.rules import RuleId
from rls.engine.explain import Counter, ExplainedCheck, ExplainedDescriptor, Explanation, explain, reasons
from rls.engine.limiter import Limiter
from rls.errors import NotLoaded, RequestError
from rls.observe.entries import bounded, entries_text, shown
from rls.printable import printable

_EXPECTED = 'a check as /json takes it: {"domain": NAME, "descriptors": [{"entries": [{"key": KEY, "value": VALUE}]}]}'
_TOP = (
    *("domain", "rule", "name", "place", "limit", "override"),
    *("counter_key", "count", "limit_remaining", "duration_until_reset"),
)
"""What an explanation says of the descriptor that decides."""


class Explaining:
    """Answers `/explain`.

    Args:
        limiter: Would answer the request.
        clock: Unix seconds.
    """

    def __init__(self, limiter: Limiter, clock: Callable[[], float] = time.time) -> None:
        self._limiter = limiter
        self._clock = clock

    @property
    def route(self) -> AdminRoute:
        """The route."""
        return AdminRoute(
            "/explain", "what a check would be answered, and why; it counts nothing", self._answer, "POST"
        )

    async def _answer(self, asked: HttpRequest) -> Response:
        return answer_json(await self.row(asked))

    async def row(self, asked: HttpRequest) -> Row:
        """The explanation of the request in the body of *asked*.

        Raises:
            WrongRequest: It is no request that could be answered.
        """
        Query(asked, ())
        try:
            message = await read_request(await asked.body())
        except RequestError as error:
            raise WrongRequest(printable(str(error)), _EXPECTED) from error
        if not message.domain or not message.descriptors:
            raise WrongRequest(f"no {'descriptors' if message.domain else 'domain'}", _EXPECTED)
        if len(message.descriptors) > SLICE:
            raise WrongRequest(f"{len(message.descriptors)} descriptors", f"at most {SLICE}")
        try:
            found = await explain(self._limiter, read(message), int(self._clock()))
        except NotLoaded as error:
            raise WrongRequest(str(error), "a server with rules", 503) from error
        return {"revision": self._limiter.rules.revision or None, **explanation_row(found)}


def explanation_row(found: Explanation) -> Row:
    """*found* for JSON: what is said of the descriptor that decides, of the whole request, and of each descriptor."""
    descriptors = [_descriptor(found, one) for one in found.descriptors]
    decision = found.decision
    decisive = descriptors[_decisive(found)]
    return {
        **{name: decisive[name] for name in _TOP},
        "code": None if decision is None else decision.code.name,
        "time": iso(found.now),
        "known": found.plan.known,
        "not_limited": _not_limited(found, descriptors),
        "backend_error": printable(found.failed) or None,
        "considered": decisive["considered"],
        "descriptors": descriptors,
    }


def _not_limited(found: Explanation, rows: Sequence[Row]) -> str | None:
    """Why no limit applies to any descriptor, of which *rows* tell; None where one does."""
    if any(check.check.limit is not None for one in found.descriptors for check in one.checks):
        return None
    expected = f", expected {printable(found.expected)}" if found.expected else ""
    if not found.plan.known:
        return f"no rules for the domain {printable(found.plan.domain)}{expected}"
    texts = [entries_text(row["entries"]) for row in rows]
    unmatched = [text for text, one in zip(texts, found.descriptors, strict=True) if one.matched is None]
    unlimited = [text for text, row in zip(texts, rows, strict=True) if row["limit"] is not None]
    reasons = [f"no rule matches {' or '.join(unmatched)}{expected}"] if unmatched else []
    return "; ".join([*reasons, *(f"the rule of {text} is `unlimited`" for text in unlimited)])


def _decisive(found: Explanation) -> int:
    """Index of the descriptor that refuses, else of that with least left, else of the first."""
    decision = found.decision
    if decision is None:
        return 0
    if decision.limited_by is not None:
        return decision.limited_by.check.index
    limited = [status for status in tightest(decision.statuses) if status.limit is not None]
    return min(limited, key=lambda status: status.limit_remaining).check.index if limited else 0


def _descriptor(found: Explanation, one: ExplainedDescriptor) -> Row:
    check = _tightest(one)
    status, asked = check.status, check.check
    counters = [_counter(counter) for counter in check.counters]
    walk = one.walk
    counted = status is not None and status.limit is not None
    override = found.override(one, asked)
    return {
        "entries": shown(bounded(asked.descriptor.entries)),
        **_identity(found.plan.domain, one, asked),
        "applies": asked.limit is not None or asked.unlimited,
        "code": None if status is None else status.code.name,
        "limit": limit_text(asked.limit) if asked.limit is not None or asked.unlimited else None,
        "override": None if override is None else printable(override.id),
        "shadow_mode": asked.rule is not None and asked.rule.shadow_mode,
        "hits": asked.amount,
        "counter_key": counters[0]["counter_key"] if counters else None,
        "node": counters[0]["node"] if counters else None,
        "count": counters[0]["count"] if counters else None,
        "counters": counters,
        "limit_remaining": None if status is None else _remaining(status),
        "duration_until_reset": status.seconds_until_reset if status is not None and counted else None,
        "reasons": [printable(reason) for reason in reasons(found, one, check)],
        "end": None if walk is None else {"at": str(walk.end), "why": printable(walk.why)},
        "considered": [] if walk is None else [_considered(each) for each in walk.considered],
        "unlisted": 0 if walk is None else sum(walk.unlisted.values()),
    }


def _tightest(one: ExplainedDescriptor) -> ExplainedCheck:
    """Of several checks that which the answer shows."""
    statuses = [check.status for check in one.checks if check.status is not None]
    if len(statuses) < 2:
        return one.checks[0]
    (shown_status,) = tightest(statuses)
    return next(check for check in one.checks if check.status is shown_status)


def _remaining(status: Status) -> int | None:
    """Hits left; None where any number may come. A limit may be as high as what stands for that."""
    is_unlimited = status.limit is None and status.limit_remaining == UINT32_MAX
    return None if is_unlimited else status.limit_remaining


def _identity(domain: str, one: ExplainedDescriptor, asked: Check) -> Row:
    """The rule that it leads to, though another one may replace it; `rule` is null without one."""
    if one.matched is not None:
        return identity(one.matched.id)
    if asked.limit is not None:
        return identity(asked.id(domain))
    return {**identity(RuleId(domain, "")), "rule": None}


def _counter(counter: Counter) -> Row:
    key = printable(counter.key.decode(errors="surrogateescape"))
    return {"counter_key": key, "node": printable(counter.node) or None, "count": counter.before}


def _considered(one: Considered) -> Row:
    where = f"{one.place.file}:{one.place.line}" if one.place else ""
    return {
        "level": one.level,
        "entry": printable(one.text),
        "rule": printable(one.path),
        "place": printable(where),
        "limit": None if one.rule is None else limit_text(one.rule.limit),
        "verdict": str(one.verdict),
        "why": printable(one.why),
    }
