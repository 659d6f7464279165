"""`POST /api/v1/explain`: it reads and never counts; what is wrong with a request is said; a store that fails is said, too."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request as HttpRequest

from rls.api.admin.explain import Explaining
from rls.api.admin.query import WrongRequest
from rls.core.decide import Modes
from rls.core.explain import MOST_CONSIDERED
from rls.core.model import Entry, RateLimit, Unit
from rls.core.overrides import Override
from rls.core.plan import CountingOptions
from rls.core.pseudonyms import Pseudonyms
from rls.core.rules import OnBackendError, RuleSet
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.stores.memory import MemoryStore
from tests.clock import Clock
from tests.recorded import Events, Recorded
from tests.tries import Step, descriptor, request, rule, rule_set

NOW = 1_700_000_040.0
RULES = rule_set(
    {
        (Step("company"),): rule("company", 3, name="company", replaces=["ip"]),
        (Step("ip"),): rule("ip", 5, name="ip"),
        (Step("quota"),): rule("quota", 0, quota_mode=True),
        (Step("shadow"),): rule("shadow", 0, shadow_mode=True),
        (Step("path", "/v1/*", share_threshold=True),): rule("path_/v1/*", 7, on_backend_error=OnBackendError.DENY),
    }
)


class Server:
    """A limiter, and the route that explains it."""

    def __init__(self, rules: RuleSet | None = RULES, **more: Any) -> None:
        self.clock = Clock(NOW)
        self.events = Events()
        self.store = Recorded(MemoryStore(clock=self.clock))
        policies = FailurePolicies(self.store, default=OnBackendError.LOCAL, clock=self.clock)
        self.limiter = Limiter(self.store, clock=self.clock, observers=[self.events], policies=policies, **more)
        if rules is not None:
            self.limiter.load(rules)
        self._explaining = Explaining(self.limiter, self.clock)

    async def ask(self, body: object, query: bytes = b"") -> dict[str, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": content, "more_body": False}

        scope = {"type": "http", "method": "POST", "path": "/", "query_string": query, "headers": []}
        return await self._explaining.row(HttpRequest(scope, receive))

    async def explain(self, *pairs: tuple[str, str], **more: Any) -> dict[str, Any]:
        descriptors = [{"entries": [{"key": key, "value": value}]} for key, value in pairs]
        return await self.ask({"domain": "domain", "descriptors": descriptors, **more})


async def test_nothing_is_counted_and_nobody_hears_of_it() -> None:
    server = Server()
    await server.limiter.check(request(descriptor(("company", "acme")), hits_addend=2))
    server.events.clear()
    for _ in range(3):
        row = await server.explain(("company", "acme"))
        assert (row["code"], row["count"], row["limit_remaining"], row["duration_until_reset"]) == ("OK", 2, 0, 60)
    assert {hit.amount for hit in server.store.hits[1:]} == {0}
    assert server.events == []
    row = await server.explain(("company", "acme"), hitsAddend=2)
    assert (row["code"], row["rule"], row["limit_remaining"]) == ("OVER_LIMIT", "company", 0)
    assert row["descriptors"][0]["reasons"] == ["over the limit"]


@pytest.mark.parametrize(
    ("pairs", "modes", "reasons"),
    [
        ([("company", "a"), ("ip", "1")], Modes(), [[], ["company replaces it for this request, so it does not count"]]),
        ([("quota", "a"), ("ip", "1")], Modes(quota_mode=True), [["over the limit, but a quota refuses only together with all others of the request"], []]),
        ([("quota", "a")], Modes(), [["over the limit"]]),
        ([("quota", "a")], Modes(shadow_mode=True), [["over the limit, but the server is in shadow mode: it would pass"]]),
        ([("shadow", "a")], Modes(), [["over the limit, but the rule is in shadow mode: it would pass"]]),
        ([("none", "a")], Modes(), [["no rule applies"]]),
    ],
)  # fmt: skip
async def test_the_reasons(pairs, modes: Modes, reasons) -> None:
    row = await Server(modes=modes).explain(*pairs)
    assert [one["reasons"] for one in row["descriptors"]] == reasons


async def test_an_override_is_named_with_the_limit_that_it_replaces() -> None:
    held = Override(
        "1f6a09c2", "domain", (Entry("company", "acme"),), RateLimit(30, Unit.HOUR), NOW, NOW + 60, "al", "T-7", ""
    )
    server = Server(replace(RULES, overrides={"domain": {held.entries: held}}))
    row = await server.explain(("company", "acme"))
    assert (row["rule"], row["limit"], row["override"]) == ("company", "30/hour", "1f6a09c2")
    assert row["descriptors"][0]["override"] == "1f6a09c2"
    (why,) = row["descriptors"][0]["reasons"]
    assert why == "the override 1f6a09c2 holds in place of 3/minute, until 2023-11-14T22:15:00Z, by al: T-7"
    other = await server.explain(("company", "umbrella"), ("ip", "1"))
    assert [one["override"] for one in other["descriptors"]] == [None, None]
    own = {"entries": [{"key": "company", "value": "acme"}], "limit": {"requestsPerUnit": 2, "unit": "MINUTE"}}
    row = await server.ask({"domain": "domain", "descriptors": [own]})
    assert (row["limit"], row["override"]) == ("2/minute", None)


async def test_limits_of_requests_and_unknown_domains() -> None:
    server = Server()
    entry = {"key": "a", "value": "b"}
    own = {"entries": [entry], "limit": {"requestsPerUnit": 2, "unit": "MINUTE"}}
    row = await server.ask({"domain": "domain", "descriptors": [own]})
    assert (row["rule"], row["limit"], row["considered"]) == ("(override)", "2/minute", [])
    assert row["descriptors"][0]["reasons"] == ["the request brings its own limit, which holds instead of a rule's"]
    row = await server.ask({"domain": "other", "descriptors": [{"entries": [entry]}]})
    assert (row["known"], row["rule"]) == (False, None)
    assert row["descriptors"][0]["reasons"] == ["there are no rules for the domain other"]
    back = {"entries": [{"key": "ip", "value": "1"}], "isNegativeHits": True}
    row = await server.ask({"domain": "domain", "descriptors": [back]})
    assert row["descriptors"][0]["reasons"] == ["the hits are given back, which is never refused"]


async def test_while_the_store_fails_the_policies_are_named_and_nothing_changes() -> None:
    server = Server()
    server.store.away = True
    row = await server.explain(("ip", "1"), ("path", "/v1/x"))
    assert (row["code"], row["backend_error"], row["count"]) == (None, "away", None)
    assert [one["reasons"] for one in row["descriptors"]] == [
        ["the backend does not answer, so on_backend_error decides: local"],
        ["the backend does not answer, so on_backend_error decides: deny"],
    ]
    assert row["descriptors"][1]["counter_key"] == "r1|domain|path~/v1/*|60|1700000040"
    assert server.limiter.policies.reason == ""


async def test_values_are_hidden_as_the_server_hides_them() -> None:
    row = await Server(counting=CountingOptions(hide=Pseudonyms(bytes(16)).hide)).explain(("ip", "1"))
    assert "hmac:" in row["counter_key"]
    assert row["descriptors"][0]["entries"][0]["value"].startswith("hmac:")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "the request is not"),
        ({"domain": "domain"}, "no descriptors"),
        ({"descriptors": [{"entries": []}]}, "no domain"),
        ({"domain": "domain", "descriptors": [{"entries": []}] * 65}, "65 descriptors"),
        ({"domain": "domain", "descriptor": []}, "the request is not"),
    ],
)
async def test_wrong_requests(body, told: str) -> None:
    with pytest.raises(WrongRequest) as raised:
        await Server().ask(body)
    assert told in str(raised.value) or raised.value.expected.startswith("a check as /json takes it")
    assert raised.value.status == 400
    with pytest.raises(WrongRequest, match="unknown parameter"):
        await Server().ask({}, b"a=b")


async def test_without_rules() -> None:
    with pytest.raises(WrongRequest) as raised:
        await Server(rules=None).explain(("a", "b"))
    assert raised.value.status == 503


async def test_a_level_with_very_many_nodes_is_walked_in_steps_and_listed_in_part() -> None:
    """What is taken, and what has the same key, comes first."""
    many: dict[Any, Any] = {(Step("user", str(number)),): rule(f"user_{number}", 1) for number in range(20_000)}
    few: dict[Any, Any] = {(Step(f"key{number}"),): rule(f"key{number}", 1) for number in range(200)}
    server = Server(rule_set({**few, **many}))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    row = await server.explain(("user", "19999"))
    counting.cancel()
    assert turns > 3
    listed = row["considered"]
    assert (listed[0]["entry"], listed[0]["verdict"]) == ("user=19999", "taken")
    assert {one["verdict"] for one in listed[1:]} == {"other value"}
    assert len(listed) + row["descriptors"][0]["unlisted"] == 20_200
    assert len(listed) <= MOST_CONSIDERED + 1
