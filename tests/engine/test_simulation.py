"""A simulation answers as a limiter does whose clock shows the same times."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rls.core.check import Status
from rls.core.decide import Decision, Modes
from rls.core.model import Code, Descriptor, Entry, Request, Unit
from rls.core.plan import CountingOptions
from rls.core.rules import RuleSet
from rls.engine.limiter import Limiter
from rls.engine.simulation import Simulation
from rls.errors import NoRoom
from rls.stores.memory import MemoryStore
from tests.clock import Clock
from tests.tries import Step, descriptor, request, rule, rule_set

RULES = rule_set(
    {
        (Step("company"),): rule("company", 3, name="company", replaces=frozenset({"ip"})),
        (Step("company", "acme"),): rule("company_acme", 5, Unit.SECOND, unit_multiplier=7),
        (Step("ip"),): rule("ip", 2, name="ip"),
        (Step("ip"), Step("path", "/*", share_threshold=True)): rule("ip.path_/*", 2, shadow_mode=True),
    }
)
LOWER = rule_set({(Step("company"),): rule("company", 1, name="company"), (Step("ip"),): rule("ip", 2, name="ip")})

entries = st.sampled_from(
    [
        (Entry("company", "acme"),),
        (Entry("company", "other"),),
        (Entry("ip", "1"),),
        (Entry("ip", "1"), Entry("path", "/a")),
        (Entry("none", "x"),),
    ]
)
descriptors = st.builds(
    Descriptor, entries, st.none(), st.sampled_from([None, None, 0, 2]), st.sampled_from([False] * 3 + [True])
)
requests = st.builds(
    Request, st.just("domain"), st.lists(descriptors, min_size=1, max_size=3).map(tuple), st.integers(0, 2)
)
steps = st.lists(
    st.tuples(st.sampled_from([0, 0, 0.4, 1, 30, 61, -2]), st.sampled_from([RULES, LOWER]), requests), max_size=25
)


def told(decision: Decision) -> Sequence[object]:
    def shown(status: Status) -> Sequence[object]:
        return (
            status.code,
            status.limit,
            status.limit_remaining,
            status.seconds_until_reset,
            status.over_limit,
            status.check.path,
        )

    return [decision.code, [*map(shown, decision.statuses)], decision.limited_by and shown(decision.limited_by)]


@given(steps, st.booleans(), st.booleans())
@settings(max_examples=60)
async def test_it_answers_as_a_limiter_does(played, refund: bool, shadow: bool) -> None:
    """With the same settings, at the same times, whatever is asked, and when rules are loaded meanwhile."""
    clock = Clock(1_000_000.0)
    counting, modes = CountingOptions(refund_over_limit=refund), Modes(shadow_mode=shadow)
    limiter = Limiter(MemoryStore(clock=clock), counting=counting, modes=modes, clock=clock)
    limiter.load(RULES)
    simulation = Simulation(RULES, counting=counting, modes=modes, start=clock.now)
    for seconds, rules, asked in played:
        clock.now += seconds
        simulation.now += seconds
        if rules is not simulation.rules:
            limiter.load(rules)
            simulation.load(rules)
        assert told(simulation.check(asked)) == told(await limiter.check(asked))


def test_what_is_prepared_can_be_run_in_every_window() -> None:
    simulation = Simulation(RULES, start=600)
    prepared = simulation.prepare(request(descriptor(("ip", "1"))))
    codes = [simulation.run(prepared).code for _ in range(3)]
    simulation.now += 60
    codes.append(simulation.run(prepared).code)
    assert codes == [Code.OK, Code.OK, Code.OVER_LIMIT, Code.OK]


def test_memory_is_bounded() -> None:
    """Counters that are near no limit make room; where all are, a new one has none."""
    simulation = Simulation(RULES, capacity=10, start=600)
    for ip in range(100):
        simulation.check(request(descriptor(("ip", str(ip)))))
    assert len(simulation.counters) <= 10
    with pytest.raises(NoRoom):
        fill(simulation)
    assert len(simulation.counters) <= 10


def fill(simulation: Simulation) -> None:
    for ip in range(11):
        simulation.check(request(Descriptor((Entry("ip", f"over {ip}"),), hits_addend=3)))


def test_without_rules_nothing_is_limited() -> None:
    assert Simulation(RuleSet()).check(request(descriptor(("ip", "1")))).code is Code.OK
