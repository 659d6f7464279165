"""`/overrides`: another limit for certain entries, for a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from rls.api.admin.access import AUTHOR, peer_of
from rls.api.admin.answer import answer_json
from rls.api.admin.body import Body
from rls.api.admin.counters import no_limit, unavailable
from rls.api.admin.query import Query, WrongRequest, end_of
from rls.api.admin.route import AdminRoute
from rls.api.admin.rows import Row, identity, iso, limit_text
from rls.api.admin.rules import applies_to
from rls.api.admin.talkers import described_limit
from rls.core.model import RateLimit
from rls.core.overrides import Override, parse_limit, raises_by
from rls.core.rules import Rule, RuleId, RuleSet
from rls.engine.counters import Counters
from rls.errors import BackendError
from rls.observe.audit import Audit
from rls.observe.entries import bounded, shown
from rls.printable import printable
from rls.sources.overrides import OverrideRefused, OverrideSource
from rls.utc import utc

_LONGEST_LIMIT = 40


class OverrideRoutes:
    """The routes of overrides.

    Args:
        source: Keeps them.
        counters: Says which rule applies to entries.
        audit: Hears of changes.
        most_times: By how much an override may raise a rule's limit; 0 for any.
        clock: Unix seconds.
    """

    def __init__(
        self,
        source: OverrideSource,
        counters: Counters,
        audit: Audit,
        *,
        most_times: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._counters = counters
        self._audit = audit
        self._most_times = most_times
        self._clock = clock

    @property
    def routes(self) -> Sequence[AdminRoute]:
        """All of them."""
        return (
            AdminRoute("/overrides", "the overrides in force: domain", self._show),
            AdminRoute("/overrides", "set an override", self._set, "POST", changes=True),
            AdminRoute("/overrides/{id}", "end an override: reason", self._end, "DELETE", changes=True),
        )

    async def _show(self, request: Request) -> Response:
        domain = Query(request, ("domain",)).text("domain")
        found = [one for one in self._source.in_force if domain in ("", one.domain)]
        now = self._clock()
        return answer_json(
            {
                "read": iso(self._source.read_at),
                "error": printable(self._source.error) or None,
                "at_most": self._source.most,
                "overrides": [override_row(one, now, self._counters.rules) for one in found],
            }
        )

    async def _set(self, request: Request) -> Response:
        body, now = await Body.read(request), self._clock()
        domain, given, reason = body.needed("domain"), body.entries(), body.needed("reason")
        limit, until = _limit(body), _until(body, now)
        checks = self._counters.checks(domain, given)
        rule = checks[0].rule if checks else None
        if rule is None:
            raise no_limit(self._counters.rules, domain, given, checks)
        self._bound(limit, rule)
        author = request.scope["state"][AUTHOR]
        entries = bounded(checks[0].descriptor.entries)
        if entries != checks[0].descriptor.entries:
            raise WrongRequest("entries with long values", "keys and values of at most 128 characters")
        override = Override(uuid4().hex[:8], domain, entries, limit, now, until, author, reason, rule.path)
        who = _fields(override, author, peer_of(request.scope))
        try:
            replaced = await self._source.set(override)
        except OverrideRefused as error:
            raise WrongRequest(str(error), "fewer overrides: end one first", 409) from error
        except BackendError as error:
            self._audit.failed("override_set", str(error), **who)
            raise unavailable(error) from error
        before = limit_text(rule.limit) if replaced is None else limit_text(replaced.limit)
        text = f"{override}, was {before}, until {utc(until)}, by {author}: {reason}"
        self._audit.changed("override_set", text, **who, before=before, after=limit_text(limit), why=reason)
        row = {"override": override_row(override, now, self._counters.rules), "before": before}
        return answer_json(
            row | {"replaced": None if replaced is None else override_row(replaced, now, self._counters.rules)}
        )

    async def _end(self, request: Request) -> Response:
        reason = Query(request, ("reason",)).text("reason")[:500]
        name, now = str(request.path_params["id"]), self._clock()
        author, peer = request.scope["state"][AUTHOR], peer_of(request.scope)
        try:
            ended = await self._source.end(name)
        except OverrideRefused as error:
            raise WrongRequest(printable(str(error)[:200]), "the id of an override in force", 404) from error
        except BackendError as error:
            self._audit.failed("override_end", str(error), override=name[:100], author=author, peer=peer)
            raise unavailable(error) from error
        checks = self._counters.checks(ended.domain, ended.entries)
        rule = checks[0].rule if checks else None
        after = "no rule" if rule is None else limit_text(rule.limit)
        text = f"{ended} ended, now {after}, by {author}" + (f": {reason}" if reason else "")
        self._audit.changed(
            "override_end",
            text,
            **_fields(ended, author, peer),
            before=limit_text(ended.limit),
            after=after,
            why=reason,
        )
        return answer_json({"ended": override_row(ended, now, self._counters.rules), "after": after})

    def _bound(self, limit: RateLimit, rule: Rule) -> None:
        """
        Raises:
            WrongRequest: *limit* is too much more than that of *rule*.
        """
        if rule.limit is None or not self._most_times or not raises_by(limit, rule.limit, self._most_times):
            return
        raise WrongRequest(
            f"{limit_text(limit)} is more than {self._most_times:g} times {limit_text(rule.limit)}, the limit of the rule",
            "a smaller limit, or a larger --max-override-factor of the server",
        )


def override_row(override: Override, now: float, rules: RuleSet) -> Row:
    """One override, with the rule of *rules* that it applies to."""
    rule = applies_to(rules, override)
    known = identity(RuleId(override.domain, override.rule))
    return {
        "id": printable(override.id),
        "domain": known["domain"],
        "rule": known["rule"],
        "applies_to": None if rule is None else printable(rule),
        "entries": shown(override.entries),
        **described_limit(override.limit),
        "since": iso(override.since),
        "until": iso(override.until),
        "seconds_left": max(0, round(override.until - now)),
        "author": printable(override.author),
        "reason": printable(override.reason),
    }


def _fields(override: Override, author: str, peer: str) -> dict[str, str]:
    """Who does what, for the log."""
    return {
        "author": author,
        "peer": peer,
        "override": override.id,
        "domain": override.domain,
        "rule": override.rule,
        "entries": override.entries_text,
        "until": utc(override.until),
    }


def _limit(body: Body) -> RateLimit:
    try:
        return parse_limit(body.needed("limit", _LONGEST_LIMIT))
    except ValueError as error:
        raise WrongRequest(f"limit is {printable(body.text('limit'))}", str(error)) from None


def _until(body: Body, now: float) -> float:
    """When it ends: `for` says how long it holds, or `until` gives the time."""
    return end_of(body.text("for"), body.text("until"), now, ("for: ", "until: "))
