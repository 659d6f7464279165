"""The routes of the admin API; docs/admin-api.md describes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, compile_path

from rls.api.admin import rows
from rls.api.admin.answer import answer_error, answer_json, answer_rows, told
from rls.api.admin.in_force import not_in_force
from rls.api.admin.openapi import openapi_route
from rls.api.admin.pods import Pods, merge_tops
from rls.api.admin.query import Query, WrongRequest
from rls.api.admin.route import AdminRoute, Endpoint
from rls.api.admin.rows import Row
from rls.api.admin.rules import Page, found_rules, shadow_rules
from rls.api.admin.status import Status
from rls.api.admin.stream import Streams
from rls.api.admin.talkers import Asked, Top, Window, find_top, order_of
from rls.core.rules import RuleSet
from rls.observe.history import History
from rls.observe.refusals import KEPT, KEPT_A_SECOND
from rls.observe.rule_counters import CountersByRule
from rls.observe.rule_sketch import SHOWN, By
from rls.observe.top import TopTalkers
from rls.printable import printable
from rls.slices import Slices, run
from rls.transport.http1.bounds import App, Bounded

PREFIX = "/api/v1"
MOST_TOP, MOST_RULES = 100, 1_000
_BODY_BYTES = 16_384
_AT_ONCE = 4


class AdminApi:
    """Answers what is asked about limits and what they do.

    Args:
        top: Who is limited.
        history: What happened.
        rules: Returns those in force.
        counters: Hits by rule.
        status: How the server is.
        pods: The other pods.
        clock: Unix seconds.
        more: Routes of other parts.
    """

    def __init__(
        self,
        top: TopTalkers,
        history: History,
        rules: Callable[[], RuleSet],
        counters: CountersByRule,
        status: Status,
        pods: Pods,
        clock: Callable[[], float] = time.time,
        more: Sequence[AdminRoute] = (),
    ) -> None:
        self._top = top
        self._history = history
        self._rules = rules
        self._status = status
        self._pods = pods
        self._clock = clock
        self._counters = counters
        shown: dict[str, tuple[str, Endpoint]] = {
            "": ("this list", self._index),
            "/annotations": ("loads of rules and changes of state for Grafana: from, to", self._annotations),
            "/events": (
                "the last changes of state, loads and changes by people, or a stream: since, limit",
                self._events,
            ),
            "/refusals": ("the last refusals: domain, rule, entry, since, limit", self._refusals),
            "/revisions": ("the last loads of rules and what each changed: limit", self._revisions),
            "/rules": (
                "the rules in force and what they refused: contains, domain, name, limit, offset",
                self._show_rules,
            ),
            "/rules/{domain}/{rule:path}/top": ("/top of one rule", self._top_of_rule),
            "/shadow": ("who would have been refused by rules in shadow mode: domain, limit, offset", self._shadow),
            "/status": ("version, revision, enforcement state, backend", self._show_status),
            "/top": ("the entries refused most: by, window, domain, rule, entry, limit, pods", self._show_top),
            "/unknown": ("domains without rules and descriptors that no rule matches", self._unknown),
        }
        reading = [AdminRoute(path, purpose, endpoint) for path, (purpose, endpoint) in shown.items()]
        found = [*reading, *more]
        self.routes: Sequence[AdminRoute] = sorted([*found, openapi_route(PREFIX, found)], key=lambda route: route.path)

    @property
    def app(self) -> App:
        """The ASGI application."""
        routes = [Route(f"{PREFIX}{route.path}", told(route.endpoint), methods=[route.method]) for route in self.routes]
        app = Starlette(routes=routes, exception_handlers={404: self._not_found, 405: self._wrong_method})
        app.router.redirect_slashes = False
        bounded = Bounded(
            app, max_body_bytes=_BODY_BYTES, shares={PREFIX: _AT_ONCE}, kind=lambda _: PREFIX, refuse=_refuse
        )
        return Streams(
            bounded,
            f"{PREFIX}/events",
            self._history,
            self._top.refusals,
            lambda: self._status.row(self._clock()),
            self._clock,
        )

    async def _index(self, request: Request) -> Response:
        Query(request, ())
        listed: dict[str, str] = {}
        for route in self.routes:
            if route.path:
                said = route.purpose if route.method == "GET" else f"{route.method}: {route.purpose}"
                path = _shown(route.path)
                listed[path] = f"{listed[path]}; {said}" if path in listed else said
        return answer_json(listed)

    async def _show_status(self, request: Request) -> Response:
        Query(request, ())
        return answer_json(self._status.row(self._clock()))

    async def _show_top(self, request: Request) -> Response:
        query = Query(request, ("by", "domain", "entry", "limit", "pods", "rule", "window"))
        asked = _asked(query, query.text("domain"), query.text("rule"))
        pods = query.text("pods")
        if not pods:
            return self._top_page(asked, await self._find_top(asked))
        if pods != "all":
            raise WrongRequest("pods names servers", "pods=all: the servers that --replicas dns:NAME names")
        mine = await self._find_top(asked._replace(most=MOST_TOP))
        others = await self._pods.ask(f"{PREFIX}/top", {**_parameters(asked), "limit": str(MOST_TOP)})
        answers = [{**self._head(asked, mine), "rows": mine.rows}, *others]
        return answer_json(await run(merge_tops(answers, order_of(asked.by), asked.most)))

    async def _top_of_rule(self, request: Request) -> Response:
        query = Query(request, ("by", "entry", "limit", "window"))
        asked = _asked(query, request.path_params["domain"], request.path_params["rule"])
        if wrong := await run(not_in_force(self._rules(), self._top, asked.domain, asked.rule)):
            raise wrong
        return self._top_page(asked, await self._find_top(asked))

    async def _find_top(self, asked: Asked) -> Top:
        return await run(find_top(self._top, asked, self._clock(), self._rules().overrides))

    def _top_page(self, asked: Asked, found: Top) -> Response:
        return answer_rows(self._head(asked, found), "rows", found.rows)

    def _head(self, asked: Asked, found: Top) -> Row:
        return {
            "by": str(asked.by),
            "window": str(asked.window),
            "time": rows.iso(self._clock()),
            "pod": self._status.pod,
            "instance": self._status.instance,
            "unlisted_at_most": found.unlisted_at_most,
            "sketches": len(self._top.sketches),
            "sketches_dropped": self._top.dropped,
        }

    async def _refusals(self, request: Request) -> Response:
        query = Query(request, ("domain", "entry", "limit", "rule", "since"))
        domain, rule, entries = query.text("domain"), query.text("rule"), set(query.entries())
        since, most = query.since("since", self._clock()), query.number("limit", 100, KEPT)
        slices = Slices()
        found: list[Row] = []
        for one in list(self._top.refusals.latest()):
            if len(found) == most or one.at < since:
                break
            row = rows.refusal(one)
            texts = {f"{entry['key']}={entry['value']}" for entry in row["entries"]}
            if domain in ("", one.domain) and rule in ("", row["rule"], row["name"]) and entries <= texts:
                found.append(row)
            await slices.next()
        return answer_rows({"kept": KEPT, "sampled_above_per_second": KEPT_A_SECOND}, "refusals", found)

    async def _show_rules(self, request: Request) -> Response:
        query = Query(request, ("contains", "domain", "limit", "name", "offset"))
        page = _page(query, query.text("name"))._replace(text=query.text("contains"))
        found = await run(found_rules(self._rules(), self._top, self._counters, page, self._clock()))
        head: Row = {"total": found.total, "offset": page.offset}
        if not found.total and (page.domain or page.name):
            wrong = await run(not_in_force(self._rules(), self._top, page.domain, page.name))
            head |= {} if wrong is None else {"unknown": f"{wrong}: expected {wrong.expected}"}
        return answer_rows(head, "rules", found.rows)

    async def _shadow(self, request: Request) -> Response:
        page = _page(Query(request, ("domain", "limit", "offset")), "")
        found = await run(shadow_rules(self._rules(), self._top, page, self._clock()))
        return answer_rows({"total": found.total, "offset": page.offset}, "rules", found.rows)

    async def _revisions(self, request: Request) -> Response:
        most = Query(request, ("limit",)).number("limit", 20, 20)
        return answer_rows({}, "revisions", (rows.load(load) for load in self._history.loads[:most]))

    async def _events(self, request: Request) -> Response:
        query = Query(request, ("limit", "since"))
        since, most = query.since("since", self._clock()), query.number("limit", 200, 200)
        found = [event for event in self._history.events if event.at >= since]
        return answer_rows({}, "events", (rows.event(event) for event in found[:most]))

    async def _annotations(self, request: Request) -> Response:
        query = Query(request, ("from", "to"))
        begin, end = query.milliseconds("from"), query.milliseconds("to")
        found = rows.as_annotations(
            self._history.loads, self._history.events, begin or 0.0, self._clock() if end is None else end
        )
        return answer_json(found)

    async def _unknown(self, request: Request) -> Response:
        Query(request, ())
        unknown = self._top.unknown
        return answer_json(
            {
                "domains": [rows.domain(found) for found in unknown.domains()],
                "descriptors": [rows.descriptor(found) for found in unknown.descriptors()],
                "domains_error": unknown.errors[0],
                "descriptors_error": unknown.errors[1],
            }
        )

    async def _not_found(self, request: Request, _: Exception) -> Response:
        text = f"not found: {printable(request.url.path[:200])}"
        return answer_error(
            404, text, f"one of: {', '.join(dict.fromkeys(_shown(route.path) for route in self.routes))}"
        )

    async def _wrong_method(self, request: Request, _: Exception) -> Response:
        path = request.url.path
        taken = sorted(
            {one.method for one in self.routes if compile_path(f"{PREFIX}{one.path}")[0].match(path) is not None}
        )
        allowed = ", ".join(taken)
        text = f"{printable(path[:200])} does not take {printable(request.method)}"
        return answer_error(405, text, allowed, {"Allow": allowed.replace("GET", "GET, HEAD")})


def _shown(path: str) -> str:
    """The *path* of a route as people write it."""
    return PREFIX + path.replace(":path}", "}")


def _refuse(status: int, text: str, headers: Mapping[str, str]) -> Response:
    return answer_error(status, text, "a smaller body" if status == 413 else "the same request later", headers)


def _asked(query: Query, domain: str, rule: str) -> Asked:
    return Asked(
        query.choice("by", By.REFUSED),
        query.choice("window", Window.MINUTES),
        domain,
        rule,
        query.entries(),
        query.number("limit", SHOWN, MOST_TOP),
    )


def _parameters(asked: Asked) -> dict[str, Any]:
    given = {"domain": asked.domain, "rule": asked.rule, "entry": list(asked.entries)}
    return {"by": str(asked.by), "window": str(asked.window), **{name: value for name, value in given.items() if value}}


def _page(query: Query, name: str) -> Page:
    limit = query.number("limit", 100, MOST_RULES)
    return Page(query.text("domain"), name, limit, query.number("offset", 0, 10**9, least=0))
