"""The decision log: who was refused by which rule, a line of JSON for each decision that is sampled."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from random import random
from typing import Any

from rls.core.check import Status
from rls.core.model import Code
from rls.core.plan import Plan
from rls.engine.events import Observer, RequestContext, RulesLoaded, StoreFailed
from rls.observe.decisions import (
    REDIS,
    answered_by,
    count_of,
    deciding,
    entries_of,
    outcome_of,
    policies_of,
    rule_of,
)
from rls.observe.trace_context import trace_context, trace_id_text
from rls.printable import printable
from rls.utc import utc

MOST_OTHERS = 1_000
"""Lines a second for decisions that refuse nothing, whatever share of them is to be logged: each takes some 20 µs."""
RATE = "rate"

FIELDS: Mapping[str, str] = {
    "time": "when the request was decided, UTC",
    "domain": "domain",
    "rule": "path of the rule that limited the request, else of the one with the least left",
    "name": "name of that rule",
    "place": "its place, `file:line`",
    "descriptor": "the descriptor's entries, `key=value` each",
    "outcome": (
        "`over_limit`; `shadow`: over the limit of a rule in shadow mode, or with `--shadow-mode`; `near_limit`; `ok`; "
        "`unlimited`; `no_rule`; `error`: no decision, Envoy got an error"
    ),
    "count": "the counter's count after the request",
    "limit": "requests per window",
    "window": "length of the window, in seconds",
    "hits": "hits that the request added",
    "answered_by": "`redis`, `cache` (the over-limit cache), `memory` (`memory://`) or `policy` (`on_backend_error`)",
    "policy": "the policy that decided, if one did",
    "reason": "of `error`: why",
    "seconds": "time to count and decide",
    "trace_id": "the caller's trace, sampled or not",
    "revision": "revision of the rules in force",
}
"""Every field of a line, with what it is; null if a line lacks it. A test compares this list with docs/decision-log.md."""


class DecisionLog(Observer):
    """Writes sampled decisions: refusals up to a rate, and a share of all others.

    Args:
        write: Takes a line, without its end; must not block.
        refusals: Refusals a second that are logged at most. What a rule in shadow mode would refuse, and errors, count as such.
        share: Of all other decisions, the share that is logged, 0 to 1; at most `MOST_OTHERS` a second.
        rules: Names or paths of rules; only their decisions are logged. Empty for all.
        store: Where counters are; see `decisions.answered_by`.

    Attributes:
        skipped: Decisions so far that were not logged because of the rate.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        refusals: int = 100,
        share: float = 0.0,
        rules: Collection[str] = (),
        store: str = REDIS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.skipped = 0
        self._write = write
        self._refusals = refusals
        self._share = share
        self._rules = frozenset(rules)
        self._store = store
        self._clock = clock
        self._revision: str | None = None
        self._second = 0
        self._refusals_left = refusals
        self._others_left = MOST_OTHERS

    def rules_loaded(self, event: RulesLoaded) -> None:
        """See `Observer`."""
        self._revision = event.rules.revision

    def decided(self, request: RequestContext) -> None:
        """See `Observer`."""
        decision = request.decision
        if decision.code is Code.OK and not decision.shadowed:
            for status in decision.statuses:
                if status.over_limit:
                    break
            else:
                if self._share and random() < self._share:  # noqa: S311 - it draws samples
                    self._log_decision(request, is_refusal=False)
                return
        if self._refusals_left <= 0 and not self._rules and int(self._clock()) == self._second:
            self.skipped += 1  # most of many refusals, with less to ask
            return
        self._log_decision(request, is_refusal=True)

    def store_failed(self, event: StoreFailed) -> None:
        """See `Observer`. Where a policy answers, a decision follows."""
        if event.answered or (self._rules and not any(map(self._is_wanted, event.plan.checks))):
            return
        if self._may_log(is_refusal=True):
            fields = self._request_fields(event.request, event.plan)
            self._put({**fields, "outcome": "error", "reason": printable(event.reason)})

    def _is_wanted(self, check: Any) -> bool:
        rule = check.rule
        return rule is not None and (rule.name in self._rules or rule.path in self._rules)

    def _log_decision(self, request: RequestContext, *, is_refusal: bool) -> None:
        decision = request.decision
        status = deciding(decision)
        if self._rules and (status is None or not self._is_wanted(status.check)):
            return
        if not self._may_log(is_refusal=is_refusal):
            return
        fields = self._request_fields(request, decision.plan)
        fields["answered_by"] = answered_by(request, self._store) or None
        fields["policy"] = policies_of(decision) or None
        if status is not None:
            fields |= self._status_fields(request, status)
        if decision.shadowed:
            fields["outcome"] = "shadow"
        self._put(fields)

    def _may_log(self, *, is_refusal: bool) -> bool:
        """Whether there is room for one more line in this second."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._refusals_left, self._others_left = self._refusals, MOST_OTHERS
        left = self._refusals_left if is_refusal else self._others_left
        if left <= 0:
            self.skipped += 1
            return False
        if is_refusal:
            self._refusals_left -= 1
        else:
            self._others_left -= 1
        return True

    def _request_fields(self, request: RequestContext, plan: Plan) -> dict[str, Any]:
        return {
            "time": utc(request.began + request.seconds, "microseconds"),
            "domain": printable(plan.domain),
            "seconds": round(request.seconds, 6),
            "trace_id": trace_id_text(trace_context(request.metadata)) or None,
            "revision": self._revision,
        }

    def _status_fields(self, request: RequestContext, status: Status) -> dict[str, Any]:
        check = status.check
        fields: dict[str, Any] = {"descriptor": entries_of(check), "outcome": outcome_of(status)}
        rule = rule_of(request.decision.plan.domain, check)
        if rule is not None:
            fields["rule"] = printable(rule.path)
            fields["name"] = printable(rule.name) or None
            fields["place"] = printable(rule.where) or None
        if status.limit is not None:
            fields["count"] = count_of(request.decision, status)
            fields["limit"] = check.requests_per_unit
            fields["window"] = check.window_seconds
            fields["hits"] = check.amount
        return fields

    def _put(self, fields: Mapping[str, Any]) -> None:
        line = {name: fields.get(name) for name in FIELDS}
        self._write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode())
