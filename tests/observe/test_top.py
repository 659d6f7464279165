"""Who is limited, as decisions say: through the real limiter."""

import math
import tracemalloc
from collections.abc import Sequence

import pytest

from rls.core.decide import Modes
from rls.core.model import Descriptor, Entry, RateLimit, Request, Unit
from rls.core.rules import RuleSet
from rls.engine.events import RulesLoaded
from rls.engine.limiter import Limiter
from rls.observe.rule_sketch import EMPTY_BYTES, HALF_SECONDS, SLOTS, By
from rls.observe.top import BUDGET_BYTES, TopTalkers
from rls.slices import finish
from rls.stores.memory import MemoryStore
from tests.clock import Clock
from tests.tries import Step, descriptor, request, rule, rule_set

RULES = rule_set(
    {
        (Step("company"),): rule("company", 10, Unit.YEAR, name="per company"),
        (Step("shadow"),): rule("shadow", 2, Unit.YEAR, shadow_mode=True),
        (Step("free"),): rule("free", None),
        (Step("shared", "a*", share_threshold=True),): rule("shared_a*", 2, Unit.YEAR),
    }
)


class Watched:
    """A limiter, and who it limits."""

    def __init__(self, rules: RuleSet = RULES, modes: Modes | None = None, budget: int = BUDGET_BYTES) -> None:
        self.clock = Clock(1_000_000.0)
        self.top = TopTalkers(modes=modes, store="memory", budget=budget)
        self._limiter = Limiter(MemoryStore(clock=self.clock), modes=modes, observers=[self.top], clock=self.clock)
        self._limiter.load(rules)
        self.top.rules_loaded(RulesLoaded(rules, (), (), 0.0))

    def load(self, rules: RuleSet) -> None:
        self._limiter.load(rules)

    async def check(self, *descriptors: Descriptor, times: int = 1, domain: str = "domain") -> None:
        prepared = self._limiter.prepare(request(*descriptors, domain=domain))
        for _ in range(times):
            await self._limiter.run(prepared)

    async def check_slices(self, slices: Sequence[Request]) -> None:
        await self._limiter.run_slices(lambda: slices, lambda _: None)

    def found(self, by: By = By.REFUSED, path: str = "company", *, recent: bool = True) -> dict[str, int]:
        """The counts by the value of the first entry."""
        sketches = finish(self.top.rotate(self.clock()))
        [sketch] = [one for one in sketches if one.rule is None or one.rule.path == path]
        counts: dict[str, int] = {}
        for period in sketch.periods(recent=recent):
            for key, number in period.table(by).counts.items():
                value = sketch.entries(key)[0].value
                counts[value] = counts.get(value, 0) + number
        return counts


def company(name: str, **more: object) -> Descriptor:
    return descriptor(("company", name), **more)


async def test_it_knows_who_is_refused_and_who_hits() -> None:
    watched = Watched()
    await watched.check(company("acme"), times=25)
    await watched.check(company("umbrella"), times=12)
    await watched.check(company("initech"), times=3)
    assert watched.found() == {"acme": 15, "umbrella": 2}
    # From the first check near the limit on: the ninth.
    assert watched.found(By.HITS) == {"acme": 17, "umbrella": 12, "initech": 3}


async def test_the_request_that_comes_near_a_limit_counts_whole() -> None:
    watched = Watched()
    await watched.check(company("acme"), times=8)
    await watched.check(company("umbrella"), company("acme"), company("initech"), company("umbrella"))
    assert watched.found(By.HITS) == {"umbrella": 2, "acme": 1, "initech": 1}


async def test_entries_with_a_long_key_are_known_again() -> None:
    entries = tuple((f"key-{number}", "x" * 120) for number in range(10))
    rules = rule_set({tuple(Step(key) for key, _ in entries): rule("long", 10, Unit.YEAR)})
    watched = Watched(rules)
    await watched.check(descriptor(*entries), times=2_000)
    assert watched.found(path="long") == {"x" * 120: 1_990}
    assert watched.top.sketches.popitem()[1].current.refused.left_out == 0


async def test_a_rule_near_its_limit_is_shown_as_it_is_in_force() -> None:
    watched = Watched()
    await watched.check(company("acme"), times=9)
    [sketch] = watched.top.sketches.values()
    before, after = sketch.rule, rule("company", 20, Unit.YEAR)
    watched.load(rule_set({(Step("company"),): after}))
    await watched.check(company("acme"), times=9)
    assert before is not after
    assert sketch.rule is after


async def test_the_share_of_one_client_counts_both_halves() -> None:
    watched = Watched()
    await watched.check(company("acme"), times=13)
    watched.clock.now += 301
    await watched.check(company("umbrella"), times=11)
    [(_, share)] = watched.top.refused_shares(10, watched.clock())
    assert share == 0.75, "3 of 4"


async def test_a_rule_without_trouble_has_no_sketch() -> None:
    watched = Watched()
    await watched.check(company("acme"), descriptor(("free", "x")), times=8)
    assert (len(watched.top.sketches), watched.top.size) == (0, 0)


async def test_hits_are_those_of_the_request_and_refunds_are_none() -> None:
    watched = Watched()
    await watched.check(company("acme", hits_addend=12))
    await watched.check(company("acme", hits_addend=7))
    await watched.check(company("acme", hits_addend=5, is_negative_hits=True))
    assert (watched.found(), watched.found(By.HITS)) == ({"acme": 9}, {"acme": 19})


async def test_a_rule_in_shadow_mode_refuses_nobody() -> None:
    watched = Watched()
    await watched.check(descriptor(("shadow", "acme")), times=5)
    assert watched.found(By.SHADOW, "shadow") == {"acme": 3}
    assert watched.found(By.REFUSED, "shadow") == {}
    [refusals] = watched.top.refusals.by_rule.values()
    assert (refusals.shadow.hits, refusals.refused.hits) == (3, 0)
    assert list(watched.top.refusals.latest()) == []


async def test_a_server_in_shadow_mode_refuses_nobody() -> None:
    watched = Watched(modes=Modes(shadow_mode=True))
    await watched.check(company("acme"), times=12)
    await watched.check_slices([request(company("acme"))])
    assert (watched.found(By.SHADOW), watched.found()) == ({"acme": 3}, {})


async def test_of_quotas_only_what_refuses_the_request_is_refused() -> None:
    rules = rule_set(
        {
            (Step("company"),): rule("company", 1, Unit.YEAR, quota_mode=True),
            (Step("other"),): rule("other", 2, Unit.YEAR, quota_mode=True),
        }
    )
    watched = Watched(rules)
    await watched.check(company("acme"), descriptor(("other", "x")), times=3)
    assert (watched.found(By.SHADOW), watched.found()) == ({"acme": 1}, {"acme": 1})


async def test_requests_that_are_judged_in_slices_are_counted_once() -> None:
    watched = Watched()
    await watched.check(company("acme"), times=10)
    await watched.check_slices([request(company("acme")), request(company("acme"), company("umbrella"))])
    assert watched.found() == {"acme": 2}


async def test_limits_of_requests_themselves_have_a_sketch_too() -> None:
    watched = Watched()
    own = RateLimit(1, Unit.YEAR)
    await watched.check(descriptor(("anything", "acme"), limit=own), times=3)
    assert watched.found(path="") == {"acme": 2}


async def test_it_knows_who_is_near_a_limit_and_was_not_refused() -> None:
    watched = Watched()
    await watched.check(company("acme"), times=9)
    [sketch] = watched.top.sketches.values()
    [use] = sketch.current.near.values()
    assert (use.used, use.limit, use.at) == (9, 10, watched.clock())


async def test_after_ten_minutes_only_the_sum_since_the_start_has_it() -> None:
    watched = Watched()
    await watched.check(company("acme"), times=15)
    watched.clock.now += HALF_SECONDS
    await watched.check(company("umbrella"), times=11)
    assert watched.found() == {"acme": 5, "umbrella": 1}
    watched.clock.now += HALF_SECONDS
    assert watched.found() == {"umbrella": 1}
    assert watched.found(recent=False) == {"acme": 5, "umbrella": 1}
    watched.clock.now += 10 * HALF_SECONDS
    assert (watched.found(), watched.found(recent=False)) == ({}, {"acme": 5, "umbrella": 1})


async def test_it_knows_since_when_an_entry_is_over_its_limit() -> None:
    watched = Watched()
    await watched.check(company("acme"), times=10)
    watched.clock.now += 60
    await watched.check(company("acme"), times=1)
    watched.clock.now += HALF_SECONDS
    await watched.check(company("acme"), times=1)
    [sketch] = watched.top.sketches.values()
    [key] = sketch.current.refused.counts
    assert sketch.over_since(key) == 1_000_060.0
    [refusals] = watched.top.refusals.by_rule.values()
    assert (refusals.refused.first, refusals.refused.last) == (1_000_060.0, 1_000_360.0)


def names() -> RuleSet:
    """Two hundred rules, each of which refuses the second hit."""
    return rule_set({(Step(f"key-{n}"),): rule(f"key-{n}", 1, Unit.YEAR) for n in range(200)})


async def test_a_rule_that_refused_nobody_does_not_cost_another_its_sketch() -> None:
    """There is room for its sketch, and none for what is to be in it."""
    watched = Watched(names())
    await watched.check(descriptor(("key-0", "x")), times=2)
    watched.top._budget = watched.top.size + EMPTY_BYTES
    await watched.check(descriptor(("key-1", "x")))
    assert [sketch.rule.path for sketch in watched.top.sketches.values() if sketch.rule] == ["key-0"]


async def test_the_rule_that_refused_longest_ago_loses_its_sketch() -> None:
    watched = Watched(names(), budget=40_000)
    for n in (0, 1, *range(2, 200), 0):
        await watched.check(descriptor((f"key-{n}", "x")), times=2)
        watched.clock.now += 2
    kept = [sketch.rule.path for sketch in watched.top.sketches.values() if sketch.rule]
    assert kept[-2:] == ["key-199", "key-0"]
    assert watched.top.size <= 40_000
    assert watched.top.dropped == 201 - len(kept)
    assert watched.top.size == sum(sketch.size for sketch in watched.top.sketches.values())


async def test_a_rule_that_is_only_near_its_limit_takes_no_sketch_from_one_that_refused() -> None:
    watched = Watched(names(), budget=40_000)
    for n in range(5):
        await watched.check(descriptor((f"key-{n}", "x")), times=2)
    before = watched.top.dropped
    for n in range(5, 200):
        await watched.check(descriptor((f"key-{n}", "x")))  # the only hit that passes
    kept = {sketch.rule.path for sketch in watched.top.sketches.values() if sketch.rule}
    assert {f"key-{n}" for n in range(5)} <= kept
    assert watched.top.dropped - before <= len(kept)


LONG = "x" * 5_000


async def test_long_and_many_entries_are_kept_short() -> None:
    watched = Watched()
    many = tuple(Entry(f"key-{n}", LONG) for n in range(500))
    await watched.check(company(LONG), times=12)
    await watched.check(Descriptor(many, limit=RateLimit(0, Unit.YEAR)), times=2)
    sketches = list(watched.top.sketches.values())
    kept = [sketch.entries(key) for sketch in sketches for key in sketch.current.refused.counts]
    assert len(kept) == 2
    assert all(len(value) < 120 for entries in kept for _, value in entries)
    assert max(map(len, kept)) == 9
    assert all(len(value) < 120 for found in watched.top.refusals.latest() for _, value in found.entries)


KEPT_BY_SKETCHES = [
    # Where keys, entries, their texts and the tables are made.
    tracemalloc.Filter(True, pattern)
    for pattern in ("*/rls/observe/*", "*/rls/core/keys.py", "*/tests/tries.py", __file__)
]


def traced() -> int:
    """Bytes that are in use of what is made there."""
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(KEPT_BY_SKETCHES).traces)


@pytest.mark.parametrize("limit", [0, 1], ids=["all are refused", "all are near their limit"])
async def test_a_flood_of_values_takes_no_more_memory_than_the_tables_hold(limit) -> None:
    watched = Watched(rule_set({(Step("company"),): rule("company", limit, Unit.YEAR)}))

    async def flood(begin: int, values: int) -> None:
        for n in range(begin, begin + values):
            watched.clock.now += 0.001
            await watched.check(company(f"tenant-{n}"))

    await flood(0, 2_000)  # fills all tables
    tracemalloc.start()
    before = traced()
    await flood(2_000, 3_000)
    after = traced()
    tracemalloc.stop()
    assert after - before < 500_000
    assert watched.top.size < 1_000_000
    [sketch] = watched.top.sketches.values()
    assert all(len(period.hits.counts) <= SLOTS for period in sketch.periods(recent=False))


async def test_the_size_that_is_said_is_no_less_than_the_memory_that_is_taken() -> None:
    watched = Watched(names())
    tracemalloc.start()
    try:
        before = traced()
        for n in range(20):
            for value in range(90):
                name = "company-" + "x" * 40 + str(value)
                await watched.check(descriptor((f"key-{n}", name)), times=2)
        taken = traced() - before
    finally:
        tracemalloc.stop()
    assert watched.top.size / 3 < taken <= watched.top.size


async def test_of_a_flood_one_in_n_is_counted_and_those_that_hammer_are_still_found() -> None:
    watched = Watched()
    await watched.check(company("hammer"), times=10)
    for n in range(20_000):  # within one second
        watched.clock.now += 0.00005
        await watched.check(company("hammer" if n % 4 == 0 else f"value-{n}"))
    assert watched.found() == {"hammer": 5_000}
    [sketch] = watched.top.sketches.values()
    assert 0 < sketch.current.hits.one_in <= 128


async def test_of_many_checks_one_in_n_counts_for_n() -> None:
    """The estimate is off by a few standard errors at most, also where clients come in turns."""
    watched = Watched()
    await watched.check(company("acme"), times=9)  # near its limit
    for second in range(20):
        for turn in range(2_500):
            watched.clock.now = 1_000_010 + second + turn / 2_500
            for name in ("acme", "umbrella", "initech", "acme"):
                await watched.check(company(name))
    [sketch] = watched.top.sketches.values()
    one_in = sketch.current.hits.one_in
    assert one_in > 1
    found = watched.found(By.HITS)
    for name, hits in (("acme", 100_000), ("umbrella", 50_000), ("initech", 50_000)):
        assert abs(found[name] - hits) < 6 * math.sqrt(one_in * hits)


async def test_few_checks_are_all_counted() -> None:
    watched = Watched()
    await watched.check(company("acme"), times=9)
    for number in range(4_000):
        watched.clock.now += 0.01
        await watched.check(company("acme" if number % 2 else "umbrella"))
    [sketch] = watched.top.sketches.values()
    assert watched.found(By.HITS) == {"acme": 2_001, "umbrella": 2_000}
    assert sketch.current.hits.one_in == 1
