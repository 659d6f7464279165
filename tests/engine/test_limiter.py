import asyncio
from collections.abc import Sequence

import pytest

from examples.mesh.processes import free_port
from rls.core.decide import Modes
from rls.core.keys import KeyFormat
from rls.core.model import Code, Request
from rls.core.plan import CountingOptions
from rls.core.rules import RuleSet
from rls.core.update import CounterUpdate
from rls.engine.events import StoreFailed
from rls.engine.limiter import Limiter
from rls.errors import BackendError, NotLoaded
from rls.stores.base import Done, submit_as_task
from rls.stores.memory import MemoryStore
from rls.stores.redis import RedisStore
from tests.clock import Clock
from tests.recorded import Events
from tests.tries import Step, descriptor, request, rule, rule_set

START = 1_700_000_040  # the start of a minute


class SlowMemory(MemoryStore):
    """Memory that waits to be let go, so that a test can act while a request is under way."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> None:  # type: ignore[override]  # later than its base
        submit_as_task(self._count_later(updates, done), done)

    async def _count_later(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
        self.asked.set()
        await self.go.wait()
        return super().submit(updates, done)


def limited(requests: int, path: str = "company") -> RuleSet:
    return rule_set({(Step("company"),): rule(path, requests)})


def ask(*values: str) -> Request:
    return request(*(descriptor(("company", value)) for value in values or ("acme",)))


async def test_requests_are_counted_until_their_window_ends() -> None:
    clock = Clock(START)
    limiter = Limiter(MemoryStore(clock=clock), clock=clock)
    limiter.load(limited(2))
    codes = []
    for now in (START, START + 30, START + 59.999, START + 60, START + 60, START + 61):
        clock.now = now
        codes.append((await limiter.check(ask())).code)
    assert codes == [Code.OK, Code.OK, Code.OVER_LIMIT, Code.OK, Code.OK, Code.OVER_LIMIT]


async def test_what_is_prepared_is_run_in_the_window_of_its_time() -> None:
    """A request that was planned once counts in the right windows for ever, also when the clock is set back."""
    clock = Clock(START)
    limiter = Limiter(MemoryStore(clock=lambda: START), clock=clock)
    limiter.load(rule_set({(Step("a"),): rule("a", 1), (Step("b"),): rule("b", 1, unit_multiplier=2)}))
    prepared = limiter.prepare(request(descriptor(("a", "x")), descriptor(("b", "x"))))
    start_of_two = START - START % 120
    keys = []
    for now in (start_of_two, start_of_two + 59, start_of_two + 60, start_of_two + 120, start_of_two + 60):
        hits = prepared.at(now)
        assert prepared.since <= now < prepared.until
        assert [hit.expires_at - now for hit in hits] == [60 - now % 60, 120 - now % 120]
        keys.append([hit.key for hit in hits])
    assert keys[0] == keys[1]
    assert keys[2][0] != keys[0][0]
    assert keys[2][1] == keys[0][1]
    assert keys[4] == keys[2]
    remaining = []
    for now in (start_of_two, start_of_two + 60, start_of_two):
        clock.now = now
        remaining.append([status.over_limit for status in (await limiter.run(prepared)).statuses])
    assert remaining == [[0, 0], [0, 1], [1, 1]]


async def test_there_is_no_decision_before_there_are_rules() -> None:
    limiter = Limiter(MemoryStore())
    with pytest.raises(NotLoaded):
        await limiter.check(ask())
    limiter.load(RuleSet())
    assert limiter.loaded
    assert (await limiter.check(ask())).code is Code.OK


async def test_a_request_under_way_keeps_its_rules() -> None:
    """Rules change between requests, never within one."""
    clock = Clock(START)
    backend = SlowMemory(clock)
    limiter = Limiter(backend, clock=clock)
    limiter.load(limited(1, "old"))
    under_way = asyncio.create_task(limiter.check(ask("acme", "acme")))
    await backend.asked.wait()
    limiter.load(limited(5, "new"))
    backend.go.set()
    old, new = await under_way, await limiter.check(ask("acme"))
    assert [(status.check.path, status.code) for status in old.statuses] == [
        ("old", Code.OK),
        ("old", Code.OVER_LIMIT),
    ]
    assert [(status.check.path, status.limit_remaining) for status in new.statuses] == [("new", 2)]


async def test_every_observer_is_told_what_happens() -> None:
    clock = Clock(START)
    backend = SlowMemory(clock)
    one, other = Events(), Events()
    limiter = Limiter(backend, observers=[one, other], clock=clock)
    rules = limited(1)
    limiter.load(rules)
    under_way = asyncio.create_task(limiter.check(ask()))
    await backend.asked.wait()
    clock.now += 0.25
    backend.go.set()
    decision = await under_way
    assert [(event.decision, event.seconds) for event in one] == [(decision, 0.25)]
    assert one == other


async def test_a_backend_that_fails_is_told_and_raised() -> None:
    """Once, with what was planned and why; nothing was decided."""
    events = Events()
    backend = RedisStore(f"redis://127.0.0.1:{free_port()}", timeout_seconds=1)
    limiter = Limiter(backend, observers=[events])
    limiter.load(limited(1))
    try:
        prepared = limiter.prepare(ask())
        with pytest.raises(BackendError) as caught:
            await limiter.run(prepared)
    finally:
        await backend.aclose()
    (failed,) = events
    assert isinstance(failed, StoreFailed)
    assert (failed.plan, failed.reason) == (prepared.plan, str(caught.value))
    assert failed.request.seconds >= 0


async def test_what_is_not_counted_does_not_need_the_backend() -> None:
    """With Redis gone, only requests that a limit holds for fail."""
    events = Events()
    backend = RedisStore(f"redis://127.0.0.1:{free_port()}")
    limiter = Limiter(backend, observers=[events])
    limiter.load(rule_set({(Step("free"),): rule("free", None)}))
    try:
        decision = await limiter.check(request(descriptor(("free", "x")), descriptor(("other", "x"))))
    finally:
        await backend.aclose()
    assert decision.code is Code.OK
    assert [event.decision for event in events] == [decision]


async def test_a_server_counts_as_it_is_told() -> None:
    limiter = Limiter(
        MemoryStore(clock=lambda: START),
        counting=CountingOptions(near_limit_ratio=0.5, key_format=KeyFormat.COMPAT, key_prefix="p:"),
        modes=Modes(shadow_mode=True),
        clock=lambda: START,
    )
    limiter.load(limited(2))
    prepared = limiter.prepare(ask())
    assert [hit.key for hit in prepared.at(START)] == [b"p:domain_company_acme_%d" % START]
    decisions = [await limiter.run(prepared) for _ in range(3)]
    assert [decision.statuses[0].near_limit for decision in decisions] == [0, 1, 0]
    assert [decision.shadowed for decision in decisions] == [False, False, True]
    assert {decision.code for decision in decisions} == {Code.OK}
