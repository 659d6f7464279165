"""`/counters`: what counters stand at, and what people do to them."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from rls.api.admin.access import AUTHOR, peer_of
from rls.api.admin.answer import answer_json
from rls.api.admin.body import MOST_ENTRIES, Body
from rls.api.admin.query import Query, WrongRequest
from rls.api.admin.route import AdminRoute
from rls.api.admin.rows import Row, id_of, identity
from rls.api.admin.talkers import described_limit
from rls.api.no_limit import UNLIMITED, no_domain, no_match
from rls.core.check import Check
from rls.core.keys import CounterKeys
from rls.core.model import UINT32_MAX, Code, Descriptor, Entry
from rls.core.rules import RuleSet
from rls.engine.counters import Counters, CounterState
from rls.engine.limiter import Limiter
from rls.errors import BackendError
from rls.observe.audit import Audit
from rls.observe.entries import bounded, entries_text, shown
from rls.printable import printable
from rls.stores.base import ListsCounters

MOST_LISTED = 1_000


class CounterRoutes:
    """The routes of counters.

    Args:
        counters: Finds them.
        limiter: Has the rules, and says how counters are named.
        lists: The stores that list their counters.
        audit: Hears of changes.
    """

    def __init__(self, counters: Counters, limiter: Limiter, lists: Sequence[ListsCounters], audit: Audit) -> None:
        self._counters = counters
        self._limiter = limiter
        self._lists = lists
        self._audit = audit

    @property
    def routes(self) -> Sequence[AdminRoute]:
        """All of them."""
        return (
            AdminRoute("/counters", "what counters stand at: domain, entry, limit", self._show),
            AdminRoute("/counters/give", "give hits back", self._give, "POST", changes=True),
            AdminRoute("/counters/reset", "let counters begin at 0 again", self._reset, "POST", changes=True),
        )

    async def _show(self, request: Request) -> Response:
        query = Query(request, ("domain", "entry", "limit"))
        domain, entries = query.text("domain"), [_entry(text) for text in query.texts("entry")]
        most = query.number("limit", 100, MOST_LISTED)
        if not domain:
            raise WrongRequest("no domain", "domain=NAME")
        if not entries:
            return await self._list(domain, most)
        if len(entries) > MOST_ENTRIES:
            raise WrongRequest(f"{len(entries)} entries", f"at most {MOST_ENTRIES}")
        try:
            found = await self._counters.read(domain, entries)
        except BackendError as error:
            raise unavailable(error) from error
        answer = self._head(domain, entries) | {"counters": [self._row(domain, one) for one in found]}
        if not found:
            why = no_limit(self._counters.rules, domain, entries, self._counters.checks(domain, entries))
            answer["no_limit"] = f"{why}: expected {why.expected}"
        return answer_json(answer)

    async def _list(self, domain: str, most: int) -> Response:
        """Keys and counts, as the stores have them."""
        if not self._lists:
            raise WrongRequest("this store does not list its counters", "entry=KEY=VALUE, to ask for one", 501)
        counting = self._limiter.counting
        prefix = CounterKeys(counting.key_format, counting.key_prefix, domain).head
        rows: list[Row] = []
        is_all = True
        for store in self._lists:
            try:
                found = await store.list_counters(prefix, most)
            except BackendError as error:
                raise unavailable(error) from error
            is_all = is_all and found.all
            rows += [
                {"counter_key": printable(key.decode(errors="surrogateescape")), "count": count}
                for key, count in found.counts.items()
            ]
        rows.sort(key=lambda row: (-row["count"], row["counter_key"]))
        return answer_json({"domain": printable(domain), "all": is_all and len(rows) <= most, "counters": rows[:most]})

    async def _reset(self, request: Request) -> Response:
        body = await Body.read(request)
        return await self._change(request, body, "counter_reset", 0)

    async def _give(self, request: Request) -> Response:
        body = await Body.read(request)
        return await self._change(request, body, "hits_given_back", body.number("hits", 1, UINT32_MAX))

    async def _change(self, request: Request, body: Body, action: str, hits: int) -> Response:
        domain, entries, reason = body.needed("domain"), body.entries(), body.text("reason")
        checks = self._counters.checks(domain, entries)
        if not any(check.limit for check in checks):
            raise no_limit(self._counters.rules, domain, entries, checks)
        head = self._head(domain, entries)
        who = {
            "author": request.scope["state"][AUTHOR],
            "peer": peer_of(request.scope),
            "domain": domain,
            "entries": entries_text(head["entries"]),
            "why": reason,
        }
        try:
            if hits:
                found = await self._counters.give(domain, entries, hits)
            else:
                found = await self._counters.reset(domain, entries)
        except BackendError as error:
            self._audit.failed(action, str(error), **who)
            raise unavailable(error) from error
        for one in found:
            rule = id_of(domain, one.check.rule).path
            what = f"hits given back: {hits}" if hits else "counter reset"
            text = f"{what}: {domain} {who['entries']}: {one.before} → {one.used}, by {who['author']}"
            self._audit.changed(
                action,
                f"{text}: {reason}" if reason else text,
                **who,
                rule=rule,
                counter_key=key_text(one),
                before=one.before,
                after=one.used,
            )
        rows = [self._row(domain, one) | {"before": one.before} for one in found]
        return answer_json(head | {"counters": rows})

    def _row(self, domain: str, found: CounterState) -> Row:
        override = self._limiter.rules.overrides.get(domain, {}).get(found.check.descriptor.entries)
        return counter_row(domain, found) | {"override": None if override is None else printable(override.id)}

    def _head(self, domain: str, entries: Sequence[Entry]) -> Row:
        checks = self._counters.checks(domain, entries)
        hidden = checks[0].descriptor.entries if checks else ()
        return {"domain": printable(domain), "entries": shown(bounded(hidden))}


def counter_row(domain: str, found: CounterState) -> Row:
    """What one limit stands at."""
    status, rule = found.status, found.check.rule
    in_shadow = rule is not None and rule.shadow_mode
    refuses = found.used >= found.check.requests_per_unit and not in_shadow
    return {
        **identity(id_of(domain, rule)),
        **described_limit(found.check.limit),
        "shadow_mode": in_shadow,
        "code": Code.OVER_LIMIT.name if refuses else Code.OK.name,
        "counter_key": key_text(found),
        "count": found.used,
        "limit_remaining": status.limit_remaining,
        "duration_until_reset": status.seconds_until_reset,
    }


def key_text(found: CounterState) -> str:
    """The key of the counter that counts now."""
    return printable(found.keys[0].decode(errors="surrogateescape"))


def no_limit(rules: RuleSet, domain: str, entries: Sequence[Entry], checks: Sequence[Check]) -> WrongRequest:
    """The error of a request for *entries* that no rule limits, and that comes to *checks*."""
    shown_domain, asked = printable(domain), printable(Descriptor(tuple(entries)).text[:200])
    why, expected = no_match(shown_domain), "the entries of a descriptor, all of them, in their order"
    if domain not in rules.domains:
        why, expected = no_domain(shown_domain)
    elif any(check.unlimited for check in checks):
        why, expected = UNLIMITED, "a rule with a limit"
    return WrongRequest(f"no limit for {asked}: {why}", expected, 404)


def _entry(text: str) -> Entry:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise WrongRequest(f"entry={printable(text[:100])}", "entry=KEY=VALUE, in the order of the descriptor")
    return Entry(key, value)


def unavailable(error: BackendError) -> WrongRequest:
    """The error of a request that the store did not answer."""
    return WrongRequest(f"the backend did not answer: {printable(str(error))}", "a backend that answers", 503)
