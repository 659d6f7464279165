"""The admin API over HTTP, before a limiter that counts in memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from examples.mesh.http import Answer, ask
from rls.api.admin.app import PREFIX, AdminApi
from rls.api.admin.explain import Explaining
from rls.api.admin.pods import Pods
from rls.api.admin.status import Status
from rls.api.health import Health
from rls.api.http import admin_app
from rls.api.readiness import Readiness
from rls.core.model import Entry, RateLimit, Unit
from rls.core.overrides import Override
from rls.core.plan import CountingOptions
from rls.core.pseudonyms import Pseudonyms, plain
from rls.core.rules import Domain, RuleSet
from rls.engine.enforcement import EnforcementState, Reason
from rls.engine.events import RequestContext
from rls.engine.layers import Layer
from rls.engine.limiter import Limiter
from rls.engine.rulebook import Rulebook
from rls.errors import Diagnostic, SourceLocation
from rls.observe.history import History
from rls.observe.rule_counters import CountersByRule
from rls.observe.top import TopTalkers
from rls.stores.memory import MemoryStore
from rls.transport.http1.listener import HttpListener
from tests.clock import Clock
from tests.terminal import HOSTILE, harm
from tests.tries import Step, descriptor, request, rule, rule_set

NOW = 1_800_000_000.0
TIME = "2027-01-15T08:00:00.000Z"
PLACE = SourceLocation("rules.yaml", 4, 5)


def rules(limit: int = 5) -> RuleSet:
    found = rule_set(
        {
            (Step("company"),): rule("company", limit, Unit.YEAR, name="per company", place=PLACE),
            (Step("address"),): rule("address", 2, Unit.YEAR, shadow_mode=True),
            (Step("path", "/a.b/c"),): rule("path_/a.b/c", 1, Unit.YEAR),
        }
    )
    return RuleSet(
        {**found.domains, "other": Domain("other", rule_set({(Step("x"),): rule("x")}).domains["domain"].root)}
    )


class Traced(RequestContext):
    """A request of a caller that has a trace."""

    __slots__ = ()

    def metadata(self, name: str) -> str | None:
        return {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}.get(name)


class Admin(NamedTuple):
    server: HttpListener
    limiter: Limiter
    rulebook: Rulebook
    enforcement: EnforcementState
    clock: Clock

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        port = int(self.server.address.rpartition(":")[2])
        return await asyncio.to_thread(ask, port, PREFIX + path, headers, method=method)

    async def get(self, path: str) -> Any:
        answer = await self.ask(path)
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    async def error(self, path: str, method: str = "GET") -> list[object]:
        answer = await self.ask(path, method)
        assert answer.headers["cache-control"] == "no-store"
        return [answer.status, answer.json()["error"], answer.json()["expected"]]

    async def check(self, *entries: tuple[str, str], times: int = 1, domain: str = "domain") -> None:
        prepared = self.limiter.prepare(request(descriptor(*entries), domain=domain))
        for _ in range(times):
            await self.limiter.run(prepared, Traced())


@pytest.fixture
def hide():
    return plain


@pytest.fixture
async def admin(hide) -> AsyncIterator[Admin]:
    clock = Clock(NOW)
    top, history = TopTalkers(store="memory"), History(clock)
    observers = (top, history)
    counting = CountingOptions(hide=hide)
    limiter = Limiter(MemoryStore(clock=clock), counting=counting, observers=observers, clock=clock)
    rulebook = Rulebook(limiter, observers, clock=clock)
    rulebook.add_source()
    enforcement = EnforcementState(clock)
    enforcement.listen(history.reason_changed)

    async def ping() -> None: ...

    readiness = Readiness(enforcement, Health(), ping)
    await readiness.poll()
    await rulebook.publish(0, Layer(rules(), files=("rules.yaml",)))
    status = Status(readiness, rulebook, top, "memory://", lambda: {"10.0.0.1:6379": True}, NOW)
    api = AdminApi(
        top,
        history,
        lambda: limiter.rules,
        CountersByRule(),
        status,
        Pods("", "127.0.0.1:6070"),
        clock,
        [Explaining(limiter, clock).route],
    )
    server = HttpListener(admin_app(lambda: limiter.rules, api.app, "127.0.0.1:6070"), "127.0.0.1:0")
    await server.start()
    yield Admin(server, limiter, rulebook, enforcement, clock)
    await server.aclose()


ACME = [{"key": "company", "value": "acme"}]
RULE = {"domain": "domain", "rule": "company", "name": "per company", "place": "rules.yaml:4"}


async def test_top_names_who_is_refused_by_which_rule_where_and_since_when(admin) -> None:
    await admin.check(("company", "acme"), times=12)
    await admin.check(("company", "umbrella"), times=6)
    admin.clock.now += 10
    first, second = (await admin.get("/top"))["rows"]
    assert first == RULE | {
        "limit": "5/year",
        "override": None,
        "since": TIME,
        "entries": ACME,
        "count": 7,
        "error": 0,
        "left_out": 0,
        "one_in": 1,
        "share_of_rule": 0.875,
        "per_second": 0.7,
        "over_since": TIME,
    }
    assert (second["entries"][0]["value"], second["count"]) == ("umbrella", 1)


async def test_top_has_the_limit_that_holds_now(admin) -> None:
    for company in ("acme", "umbrella"):
        await admin.check(("company", company), times=7)
    acme, limit = (Entry("company", "acme"),), RateLimit(50, Unit.YEAR)
    await admin.rulebook.override(
        [Override("1f6a09c2", "domain", acme, limit, NOW, NOW + 60, "alice", "T-1", "company")]
    )
    rows = (await admin.get("/top"))["rows"]
    shown = {row["entries"][0]["value"]: (row["limit"], row["override"]) for row in rows}
    assert shown == {"acme": ("50/year", "1f6a09c2"), "umbrella": ("5/year", None)}
    await admin.rulebook.override([])
    assert {row["limit"] for row in (await admin.get("/top"))["rows"]} == {"5/year"}


async def test_top_is_of_all_rules_together_the_largest_first(admin) -> None:
    await admin.check(("path", "/a.b/c"), times=4)
    await admin.check(("company", "acme"), times=7)
    await admin.check(("company", "umbrella"), times=10)
    found = await admin.get("/top?limit=2")
    assert [row["count"] for row in found["rows"]] == [5, 3]
    assert found["unlisted_at_most"] == 3
    assert (found["by"], found["window"], found["sketches"], found["sketches_dropped"]) == ("refused", "5m", 2, 0)


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("by=hits", ["acme", "umbrella", "/a.b/c"]),
        ("by=refused", ["acme", "umbrella", "/a.b/c"]),
        ("by=near", ["initech"]),
        ("by=shadow", ["10.0.0.1"]),
        ("domain=domain", ["acme", "umbrella", "/a.b/c"]),
        ("domain=nowhere", []),
        ("rule=company", ["acme", "umbrella"]),
        ("rule=per%20company", ["acme", "umbrella"]),
        ("entry=company%3Dacme", ["acme"]),
        ("entry=company%3Dacme&entry=x%3Dy", []),
        ("limit=1", ["acme"]),
        ("window=start", ["acme", "umbrella", "/a.b/c"]),
    ],
)
async def test_top_is_filtered(admin, query, values) -> None:
    await admin.check(("company", "acme"), times=25)
    await admin.check(("company", "umbrella"), times=9)
    await admin.check(("company", "initech"), times=5)
    await admin.check(("path", "/a.b/c"), times=2)
    await admin.check(("address", "10.0.0.1"), times=4)
    found = await admin.get(f"/top?{query}")
    shown = [row["entries"][0]["value"] for row in found["rows"]]
    assert [value for value in shown if query != "by=hits" or value not in ("initech", "10.0.0.1")] == values


async def test_top_of_a_rule_whose_path_has_slashes_and_dots(admin) -> None:
    await admin.check(("path", "/a.b/c"), times=4)
    await admin.check(("company", "acme"), times=9)
    for path in (quote("path_/a.b/c"), quote("path_/a.b/c", safe="")):
        [row] = (await admin.get(f"/rules/domain/{path}/top?by=refused&window=5m"))["rows"]
        assert (row["rule"], row["count"]) == ("path_/a.b/c", 3)


@pytest.mark.parametrize(
    ("domain", "rule", "said"),
    [
        (
            "domain",
            "comapny",
            "no rule comapny in force in the domain domain: expected company, path_/a.b/c or address",
        ),
        ("domain", "per comp", "no rule per comp in force in the domain domain: expected per company, "),
        ("domian", "company", "no domain domian in force: expected domain or other"),
        ("domian", "", "no domain domian in force: expected domain or other"),
        ("", "xx", "no rule xx in force: expected "),
        ("domain", "a\u202eb" * 99, "no rule a\\u202eba\\u202eb"),
    ],
)
async def test_a_domain_or_a_rule_that_is_not_in_force_is_said_to_be_none(admin, domain, rule, said) -> None:
    found = await admin.get(f"/rules?domain={quote(domain)}&name={quote(rule)}&limit=1")
    assert found["unknown"].startswith(said)
    if domain and rule:
        status, error, expected = await admin.error(f"/rules/{quote(domain)}/{quote(rule)}/top")
        assert (status, f"{error}: expected {expected}") == (404, found["unknown"])
    await admin.rulebook.publish(0, Layer(RuleSet()))
    assert (await admin.get(f"/rules?domain={quote(domain)}&name={quote(rule)}"))["unknown"].endswith(
        "a server with rules"
    )


async def test_a_rule_that_was_in_force_a_moment_ago_is_known(admin) -> None:
    await admin.check(("company", "acme"), times=7)
    await admin.rulebook.publish(0, Layer(rule_set({(Step("x"),): rule("x")})))
    for name in ("company", "per%20company"):
        assert [row["count"] for row in (await admin.get(f"/rules/domain/{name}/top"))["rows"]] == [2]
        assert (await admin.get(f"/rules?name={name}")) == {"total": 0, "offset": 0, "rules": []}
    assert (await admin.error("/rules/domain/address/top"))[0] == 404


@pytest.mark.parametrize("path", ["/top", "/refusals", "/rules/domain/company/top"])
async def test_an_entry_that_is_none_is_an_error(admin, path) -> None:
    for entry in ("acme", "=acme"):
        assert await admin.error(f"{path}?entry={entry}") == [
            400,
            f"entry={entry}",
            "KEY=VALUE, such as company_id=acme",
        ]
    await admin.get(f"{path}?entry=company%3D")


async def test_refusals_are_shown_one_by_one_the_newest_first(admin) -> None:
    await admin.check(("company", "acme"), times=6)
    admin.clock.now += 60
    await admin.check(("company", "umbrella"), times=6)
    umbrella, acme = (await admin.get("/refusals"))["refusals"]
    assert umbrella["entries"] == [{"key": "company", "value": "umbrella"}]
    assert acme == {"time": TIME} | RULE | {
        "entries": ACME,
        "requests_per_window": 5,
        "window_seconds": 31_536_000,
        "count": 6,
        "reset_seconds": 31_536_000 - int(NOW) % 31_536_000,
        "answered_by": "memory",
        "policy": None,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "stands_for": 1,
    }


async def test_refusals_say_from_which_rate_on_they_are_sampled(admin) -> None:
    await admin.check(("company", "acme"), times=400)
    found = await admin.get("/refusals?limit=1000")
    alone = [refusal for refusal in found["refusals"] if refusal["stands_for"] == 1]
    assert len(alone) == found["sampled_above_per_second"] < len(found["refusals"])


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("limit=1", 1),
        ("domain=domain", 4),
        ("domain=x", 0),
        ("rule=company", 3),
        ("entry=company%3Dacme", 2),
        ("since=30s", 1),
        (f"since={TIME}", 4),
        ("since=2027-01-15T09:00:30%2B01:00", 1),
    ],
)
async def test_refusals_are_filtered(admin, query, number) -> None:
    await admin.check(("company", "acme"), times=7)
    await admin.check(("company", "umbrella"), times=6)
    admin.clock.now += 60
    await admin.check(("path", "/a.b/c"), times=2)
    assert len((await admin.get(f"/refusals?{query}"))["refusals"]) == number


async def test_rules_say_what_they_refused(admin) -> None:
    await admin.check(("company", "acme"), times=12)
    await admin.check(("address", "10.0.0.1"), times=3)
    admin.clock.now += 10
    found = await admin.get("/rules")
    assert found["total"] == 4
    by_path = {row["rule"]: row for row in found["rules"]}
    assert by_path["company"] == RULE | {
        "limit": "5/year",
        "requests_per_unit": 5,
        "unit": "YEAR",
        "unit_multiplier": 1,
        "shadow_mode": False,
        "quota_mode": False,
        "on_backend_error": None,
        "replaces": [],
        "refused": {"hits": 7, "first": TIME, "last": TIME},
        "shadow": {"hits": 0, "first": None, "last": None},
        "recent": {"seconds": 10.0, "hits": 8, "refused": 7, "shadow": 0, "highest_share_near_limit": 1.0},
        "hits": 0,
        "utilization": 0.0,
        "overrides": [],
    }
    assert by_path["address"]["shadow"] == {"hits": 1, "first": TIME, "last": TIME}
    assert by_path["x"]["recent"] is None


@pytest.mark.parametrize(
    ("query", "paths", "total"),
    [
        ("domain=domain", ["company", "address", "path_/a.b/c"], 3),
        ("name=per%20company", ["company"], 1),
        ("name=address", ["address"], 1),
        ("contains=PER%20comp", ["company"], 1),
        ("contains=path_/a", ["path_/a.b/c"], 1),
        ("contains=X", ["x"], 1),
        ("domain=domain&limit=1&offset=1", ["company"], 3),
        ("offset=9", [], 4),
    ],
)
async def test_rules_are_filtered_and_come_in_pages(admin, query, paths, total) -> None:
    found = await admin.get(f"/rules?{query}")
    assert (sorted(row["rule"] for row in found["rules"]), found["total"]) == (sorted(paths), total)


async def test_shadow_says_who_would_be_refused(admin) -> None:
    await admin.check(("address", "10.0.0.1"), times=5)
    admin.clock.now += 5
    await admin.check(("address", "10.0.0.2"), times=3)
    [row] = (await admin.get("/shadow"))["rules"]
    assert row["would_be_refused"] == {"hits": 4, "first": TIME, "last": "2027-01-15T08:00:05.000Z"}
    assert row["top"][0] == {
        "entries": [{"key": "address", "value": "10.0.0.1"}],
        "count": 3,
        "error": 0,
        "share_of_rule": 0.75,
        "over_since": TIME,
    }


async def test_a_load_says_which_limit_changed_and_who_is_stricter_now(admin) -> None:
    before = admin.rulebook.revision
    admin.clock.now += 3_600
    await admin.rulebook.publish(0, Layer(rules(limit=2), files=("rules.yaml",)))
    newest, oldest = (await admin.get("/revisions"))["revisions"]
    assert (newest["before"], newest["revision"]) == (before, admin.rulebook.revision)
    assert newest["time"] == "2027-01-15T09:00:00.000Z"
    assert [newest[name] for name in ("added", "changed", "removed", "stricter", "rules")] == [0, 1, 0, 1, 4]
    change = {"kind": "changed", "before": "5/year", "after": "2/year", "stricter": True, "warning": None}
    assert newest["changes"] == [RULE | change]
    assert (oldest["before"], oldest["added"]) == (None, 4)


async def test_events_are_loads_and_changes_of_state(admin) -> None:
    admin.enforcement.report(Reason.NO_ROOM, "memory is full")
    admin.clock.now += 30
    admin.enforcement.report(Reason.NO_ROOM, "memory is full of counters")
    admin.enforcement.report(Reason.NO_ROOM, "")
    mistake = Diagnostic(PLACE, "wrong")
    await admin.rulebook.publish(0, Layer(rejected=True, mistakes=(mistake,)))
    events = (await admin.get("/events"))["events"]
    assert [event["kind"] for event in events[:4]] == [
        "rules_rejected",
        "reason_ended",
        "reason_changed",
        "reason_began",
    ]
    assert events[0]["text"] == "1 errors, first rules.yaml:4:5: wrong"
    assert events[1] == {
        "time": "2027-01-15T08:00:30.000Z",
        "kind": "reason_ended",
        "reason": "no_room",
        "state": "degraded",
        "text": "memory is full of counters",
        "seconds": 30.0,
        "revision": None,
    }
    assert [event["kind"] for event in (await admin.get("/events?since=10s&limit=2"))["events"]] == [
        "rules_rejected",
        "reason_ended",
    ]


async def test_annotations_have_the_shape_that_grafana_reads(admin) -> None:
    admin.enforcement.report(Reason.NO_ROOM, "memory is full")
    admin.clock.now += 30
    admin.enforcement.report(Reason.NO_ROOM, "")
    await admin.rulebook.publish(0, Layer(rules(limit=2)))
    reason, load = (await admin.get(f"/annotations?from={int(NOW * 1000)}"))[-2:]
    begin, end = int(NOW * 1000), int(NOW * 1000) + 30_000
    assert (reason["time"], reason["timeEnd"], reason["title"]) == (begin, end, "no room")
    assert reason["tags"] == ["rls", "reason_ended", "degraded"]
    assert (load["time"], load["title"]) == (end, f"rules {admin.rulebook.revision}")
    assert load["text"].startswith("1 changed (1 stricter): changed domain company (per company) at rules.yaml:4")
    assert load["tags"] == ["rls", "rules_loaded", "stricter"]
    assert await admin.get(f"/annotations?from={end + 1}") == []
    assert await admin.get("/annotations?to=1") == []


async def test_unknown_names_what_no_rule_knows(admin) -> None:
    await admin.check(("company", "acme"), times=2, domain="mehs")
    admin.clock.now += 5
    await admin.check(("company", "acme"), domain="mehs")
    await admin.check(("companies", "acme"), ("path", "/"))
    found = await admin.get("/unknown")
    last = "2027-01-15T08:00:05.000Z"
    assert found["domains"] == [{"domain": "mehs", "requests": 3, "first": TIME, "last": last}]
    assert found["descriptors"] == [
        {
            "domain": "domain",
            "keys": ["companies", "path"],
            "last_entries": [{"key": "companies", "value": "acme"}, {"key": "path", "value": "/"}],
            "requests": 1,
            "first": last,
            "last": last,
        }
    ]


async def test_status_says_how_the_server_is(admin) -> None:
    await admin.check(("company", "acme"), times=12)
    admin.enforcement.report(Reason.NO_ROOM, "memory is full")
    found = await admin.get("/status")
    assert (found["state"], found["revision"], found["rules"]) == ("degraded", admin.rulebook.revision, 4)
    assert found["reasons"][-1] == {"reason": "no_room", "state": "degraded", "since": TIME, "text": "memory is full"}
    assert found["nodes"] == [{"address": "10.0.0.1:6379", "up": True}]
    assert found["sketches"]["rules"] == 1


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/top?by=x", [400, "by=x", "one of: refused, hits, shadow, near"]),
        ("/top?window=1h", [400, "window=1h", "one of: 5m, start"]),
        ("/top?limit=0", [400, "limit=0", "a whole number from 1 to 100"]),
        ("/top?limit=1&limit=2", [400, "limit is given twice", "each parameter once"]),
        (
            "/top?rules=x",
            [400, "unknown parameter rules", "some of: by, domain, entry, limit, pods, rule, window"],
        ),
        ("/top?pods=http://169.254.169.254/", [400, "pods names servers", "pods=all: the servers that --replicas dns:NAME names"]),
        ("/top?pods=all", [400, "this server does not know the other pods", "--replicas dns:NAME of a headless Service"]),
        ("/status?x=1", [400, "unknown parameter x", "no parameters"]),
        ("/refusals?since=soon", [400, "since=soon", "a duration as 90s, 5m, 2h or 1d, or a time as 2026-01-31T12:00:00Z"]),
        ("/refusals?since=2026-01-31", [400, "since=2026-01-31", "a duration as 90s, 5m, 2h or 1d, or a time as 2026-01-31T12:00:00Z"]),
        ("/annotations?from=now-1h", [400, "from=now-1h", "Unix milliseconds"]),
    ],
)  # fmt: skip
async def test_what_is_not_understood_is_an_error_that_says_what_was_expected(admin, path, answer) -> None:
    assert await admin.error(path) == answer


async def test_what_is_not_there_is_an_error_that_lists_what_is(admin) -> None:
    status, error, expected = await admin.error("/tip")
    assert (status, error) == (404, "not found: /api/v1/tip")
    listed = await admin.get("")
    assert str(expected).removeprefix("one of: ").split(", ") == [PREFIX, *listed]


async def test_nothing_can_be_changed(admin) -> None:
    assert await admin.error("/top", "POST") == [405, "/api/v1/top does not take POST", "GET"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:6070", 200),
        ("[::1]:6070", 200),
        ("localhost:6070", 200),
        ("rls-admin", 200),
        ("rls.rate-limit.svc", 200),
        ("rls.rate-limit.svc.cluster.local:6070", 200),
        ("printer.local", 421),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:6070", 421),
        ("localhost.evil.example", 421),
        ("localhost:x", 421),
    ],
)
async def test_a_page_cannot_read_it_by_a_name_of_its_own(admin, host, status) -> None:
    port = int(admin.server.address.rpartition(":")[2])
    for path in (f"{PREFIX}/top", "/rlconfig", "/"):
        assert (await asyncio.to_thread(ask, port, path, {"Host": host})).status == status


async def test_no_text_of_a_client_harms_a_terminal(admin) -> None:
    await admin.check(("company", HOSTILE), times=7)
    await admin.check((HOSTILE, HOSTILE), times=1)
    await admin.check(("company", "x"), domain=HOSTILE)
    for path in ("/top", "/top?by=near", "/refusals", "/unknown", "/rules", "/shadow", "/events", "/annotations"):
        answer = await admin.ask(path)
        assert answer.status == 200
        assert harm(answer.body.decode()) == set()
        json.loads(answer.body)


class TestHidden:
    """Values of requests are hidden wherever they are shown."""

    @pytest.fixture
    def hide(self):
        return Pseudonyms(b"a secret of enough bytes").hide

    async def test_only_digests_are_shown(self, admin, hide) -> None:
        long = "acme" * 100
        for value in ("acme-corporation", long):
            await admin.check(("company", value), times=7)
            await admin.check(("address", value), times=7)
            await admin.check(("unknown", value))
        paths = ("/top", "/top?by=hits", "/top?by=shadow", "/top?by=near", "/refusals", "/unknown", "/shadow", "/rules")
        answers = [(await admin.ask(path)).body.decode() for path in paths]
        assert "acme" not in "".join(answers)
        for value in ("acme-corporation", long):
            assert hide("company", value) in answers[0]
            assert hide("company", value) in answers[4]
            assert hide("unknown", "acme-corporation") in answers[5] or hide("unknown", long) in answers[5]
        entry = quote(f"company={hide('company', long)}")
        assert [row["count"] for row in (await admin.get(f"/top?entry={entry}"))["rows"]] == [2]


async def test_a_million_rules_are_not_needed_to_see_that_pages_are_made_in_slices(admin) -> None:
    """While a page of many rules is made, the loop goes on."""
    many = rule_set({(Step("key", str(n)),): rule(f"key_{n}", 1, Unit.YEAR) for n in range(20_000)})
    admin.limiter.load(many)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turning = asyncio.create_task(turn())
    found = await admin.get("/rules?limit=1000&offset=19000")
    turning.cancel()
    assert (found["total"], len(found["rules"])) == (20_000, 1_000)
    assert turns > 10
