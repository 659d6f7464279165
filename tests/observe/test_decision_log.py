"""What the decision log says of whom, and how many lines it writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rls.core.decide import Modes
from rls.core.model import Code, Descriptor, Entry, Request
from rls.core.rules import OnBackendError
from rls.engine.events import RequestContext
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.errors import BackendError, SourceLocation
from rls.observe.decision_log import FIELDS, MOST_OTHERS, DecisionLog
from rls.stores.memory import MemoryStore
from tests.recorded import Recorded
from tests.tries import Step, rule, rule_set

PLACE = SourceLocation("rules.yaml", 3, 5)
RULES = rule_set(
    {
        (Step("company"),): rule("company", 2, name="per-company", place=PLACE),
        (Step("shadow"),): rule("shadow", 0, shadow_mode=True),
        (Step("free"),): rule("free", None),
        (Step("strict"),): rule("strict", 2, on_backend_error=OnBackendError.ERROR),
    }
)


class Caller(RequestContext):
    """A request with metadata."""

    __slots__ = ("_sent",)

    def __init__(self, sent: dict[str, str]) -> None:
        self._sent = sent

    def metadata(self, name: str) -> str | None:
        return self._sent.get(name)


class Logged:
    """A limiter in memory, its decision log, and the lines of that. It is always the same time."""

    def __init__(self, *, modes: Modes | None = None, away: bool = False, **options: Any) -> None:
        self.lines: list[dict[str, Any]] = []
        self.now = 1_800_000_000.0
        self.log = DecisionLog(
            lambda line: self.lines.append(json.loads(line)), store="memory", clock=lambda: self.now, **options
        )
        store = Recorded(MemoryStore(), away=away)
        policies = FailurePolicies(store, default=OnBackendError.DENY)
        self.limiter = Limiter(store, modes=modes, policies=policies, observers=[self.log], clock=lambda: self.now)
        self.limiter.load(RULES)
        self.policies = policies

    async def check(self, *entries: tuple[str, str], sent: dict[str, str] | None = None) -> Code:
        descriptors = tuple(Descriptor((Entry(key, value),)) for key, value in entries)
        prepared = self.limiter.prepare(Request("domain", descriptors))
        return (await self.limiter.run(prepared, Caller(sent or {}))).code


ACME = ("company", "acme")


async def test_a_refusal_is_a_line_with_all_that_there_is_to_know() -> None:
    logged = Logged()
    for _ in range(3):
        await logged.check(("free", "x"), ACME, sent={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})
    assert logged.lines == [
        {
            "time": "2027-01-15T08:00:00.000000Z",
            "domain": "domain",
            "rule": "company",
            "name": "per-company",
            "place": "rules.yaml:3",
            "descriptor": ["company=acme"],
            "outcome": "over_limit",
            "count": 3,
            "limit": 2,
            "window": 60,
            "hits": 1,
            "answered_by": "memory",
            "policy": None,
            "reason": None,
            "seconds": 0.0,
            "trace_id": "a" * 32,
            "revision": None,
        }
    ]


async def test_every_line_has_the_fields_that_are_listed_in_their_order() -> None:
    logged = Logged(share=1.0)
    await logged.check(ACME)
    assert list(logged.lines[0]) == list(FIELDS)


@pytest.mark.parametrize(
    ("entries", "outcome", "count"),
    [
        ([ACME], "ok", 1),
        ([("free", "x")], "unlimited", None),
        ([("nobody", "knows")], "no_rule", None),
        ([("nobody", "knows"), ACME], "ok", 1),
    ],
)
async def test_a_share_of_what_passes_is_logged(
    entries: list[tuple[str, str]], outcome: str, count: int | None
) -> None:
    logged = Logged(share=1.0)
    assert await logged.check(*entries) is Code.OK
    (line,) = logged.lines
    assert (line["outcome"], line["count"]) == (outcome, count)
    assert line["answered_by"] == (None if count is None else "memory")


async def test_by_default_what_passes_is_not_logged() -> None:
    logged = Logged()
    await logged.check(ACME)
    await logged.check(("nobody", "knows"))
    assert logged.lines == []
    assert logged.log.skipped == 0


async def test_what_shadow_mode_lets_pass_is_logged_as_a_refusal() -> None:
    logged = Logged()
    assert await logged.check(("shadow", "x")) is Code.OK
    everywhere = Logged(modes=Modes(shadow_mode=True))
    for _ in range(3):
        assert await everywhere.check(ACME) is Code.OK
    assert [line["outcome"] for line in (*logged.lines, *everywhere.lines)] == ["shadow"] * 2


async def test_refusals_beyond_the_rate_are_counted_and_the_next_second_has_room_again() -> None:
    logged = Logged(refusals=5)
    for _ in range(20):
        await logged.check(("company", "hammers"))
    assert len(logged.lines) == 5
    assert logged.log.skipped == 20 - 2 - 5
    logged.now += 1
    await logged.check(("company", "hammers"))
    assert len(logged.lines) == 6


async def test_what_passes_has_a_rate_of_its_own() -> None:
    logged = Logged(refusals=1, share=1.0)
    for number in range(MOST_OTHERS + 10):
        await logged.check(("company", str(number)))
    for _ in range(3):
        await logged.check(("company", "1"))
    assert [line["outcome"] for line in logged.lines].count("over_limit") == 1
    assert len(logged.lines) == MOST_OTHERS + 1


@pytest.mark.parametrize(("rules", "expected"), [(["per-company"], 1), (["company"], 1), (["shadow"], 0), ([], 1)])
async def test_only_decisions_of_some_rules(rules: list[str], expected: int) -> None:
    logged = Logged(rules=rules, share=1.0)
    await logged.check(ACME)
    assert len(logged.lines) == expected


async def test_policies_and_errors_are_named() -> None:
    logged = Logged(away=True)
    assert await logged.check(ACME) is Code.OVER_LIMIT
    with pytest.raises(BackendError):
        await logged.check(("strict", "x"))
    await logged.policies.aclose()
    denied, failed = logged.lines
    assert (denied["answered_by"], denied["policy"], denied["count"]) == ("policy", "deny", None)
    assert (failed["outcome"], failed["reason"], failed["domain"]) == ("error", "away", "domain")


async def test_hostile_text_is_escaped_and_bounded() -> None:
    shown = Logged()
    for _ in range(3):
        await shown.check(("company", "\x1b[31m\udcff\n" + "x" * 10_000))
    (text,) = shown.lines[0]["descriptor"]
    assert text.startswith("company=\\x1b[31m\\xff\\nxxx")
    assert len(text) < 300


async def test_a_request_of_many_descriptors_that_is_refused_names_its_rule() -> None:
    logged = Logged(share=1.0)
    entries = [*(("company", str(number)) for number in range(100)), ("shadow", "x"), *[("company", "last")] * 3]
    requests = [
        Request("domain", tuple(Descriptor((Entry(*entry),)) for entry in entries[start : start + 64]))
        for start in range(0, len(entries), 64)
    ]
    decision = await logged.limiter.run_slices(lambda: requests, lambda _: None)
    assert decision.code is Code.OVER_LIMIT
    (line,) = logged.lines
    assert (line["descriptor"], line["outcome"], line["answered_by"]) == (["company=last"], "over_limit", "memory")
