"""What refused requests do not spend; scenarios `refused_*` tell what is given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rls.core.model import Code
from rls.core.plan import CountingOptions
from rls.core.rules import OnBackendError
from rls.core.update import CounterUpdate
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.engine.refunds import Refunds
from rls.errors import BackendError
from rls.stores.base import Done, submit_as_task
from rls.stores.memory import MemoryStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.redis import RedisStore
from tests.counters import PATIENT, hit, until
from tests.redis_server import RedisServer, redis_binary, running
from tests.tries import Step, descriptor, request, rule, rule_set

SPARING = CountingOptions(refund_over_limit=True)
RULES = rule_set({(Step("none"),): rule("none", 0), (Step("all"),): rule("all", 10)})
REFUSED = request(descriptor(("all", "x")), descriptor(("none", "x")))
LOOK = request(descriptor(("all", "x"), hits_addend=0))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path, redis_binary())) as server:
        yield server


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Limiter]]:
    """Opens limiters as a server on Redis builds them."""
    async with AsyncExitStack() as stack:

        def one(redis: RedisServer, **more) -> Limiter:
            backend = RedisStore(redis.url, timeout_seconds=PATIENT)
            cache = OverLimitCache(backend)
            limiter = Limiter(cache, counting=SPARING, **more)
            limiter.load(RULES)
            stack.push_async_callback(backend.aclose)
            stack.push_async_callback(limiter.policies.aclose)
            stack.push_async_callback(limiter.refunds.aclose)
            return limiter

        yield one


async def test_in_memory_no_other_request_sees_what_a_refused_one_took() -> None:
    """However many are under way at one time."""
    memory = MemoryStore()
    limiter = Limiter(memory, counting=SPARING, refunds=Refunds(memory))
    limiter.load(RULES)
    both = [REFUSED, request(descriptor(("all", "x")))] * 10
    codes = [decision.code for decision in await asyncio.gather(*map(limiter.check, both))]
    assert codes == [Code.OVER_LIMIT, Code.OK] * 10
    assert (await limiter.check(LOOK)).statuses[0].limit_remaining == 0
    assert limiter.refunds.refunded == {"sent": 10, "failed": 0}


class Late(MemoryStore):
    """Memory that counts when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> None:  # type: ignore[override]  # later than its base
        submit_as_task(self._count_later(updates, done), done)

    async def _count_later(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
        await self.go.wait()
        return super().submit(updates, done)


async def test_closing_waits_for_what_is_under_way() -> None:
    store = Late()
    refunds = Refunds(store)
    refunds.refund([hit(-1), hit(-2)])
    refunds.refund([hit(-4)])
    closing = asyncio.create_task(refunds.aclose())
    await asyncio.sleep(0.01)
    assert not closing.done()
    assert refunds.refunded == {"sent": 0, "failed": 0}
    store.go.set()
    await closing
    assert refunds.refunded == {"sent": 7, "failed": 0}


async def test_it_reaches_redis_before_what_is_asked_next(redis: RedisServer, connect) -> None:
    """A client that asks once more after a refusal finds nothing taken."""
    limiter = connect(redis)
    for _ in range(50):
        assert (await limiter.check(REFUSED)).code is Code.OVER_LIMIT
        await asyncio.sleep(0)
        assert (await limiter.check(LOOK)).statuses[0].limit_remaining == 10
    await limiter.refunds.aclose()
    assert limiter.refunds.refunded == {"sent": 50, "failed": 0}


async def test_a_refused_request_waits_for_one_round_trip_only(redis: RedisServer, connect) -> None:
    """What it is given back is still on its way when it is answered."""
    limiter = connect(redis)
    await limiter.check(REFUSED)
    assert limiter.refunds.refunded["sent"] == 0
    await until(lambda: limiter.refunds.refunded["sent"] == 1)


async def test_many_at_one_time_come_to_nothing(redis: RedisServer, connect) -> None:
    """Of two servers, too; and no counter goes below zero."""
    limiters = [connect(redis) for _ in range(2)]
    await asyncio.gather(*(limiter.check(REFUSED) for limiter in limiters for _ in range(200)))
    for limiter in limiters:
        await limiter.refunds.aclose()
    assert [(await limiter.check(LOOK)).statuses[0].limit_remaining for limiter in limiters] == [10, 10]


async def test_what_is_over_only_for_a_moment_is_not_remembered_as_over(redis: RedisServer, connect) -> None:
    """Not even by a server that gives nothing back itself, and would not see that others do."""
    limiter, other = connect(redis), connect(redis)
    asked = [limiter.check(REFUSED) for _ in range(200)]
    seen = [other.check(request(descriptor(("all", "x")))) for _ in range(3)]
    await asyncio.gather(*asked, *seen)
    await limiter.refunds.aclose()
    remaining = [(await server.check(LOOK)).statuses[0].limit_remaining for server in (limiter, other)]
    assert remaining == [7, 7]


async def test_the_limit_that_is_exceeded_the_most_keeps_its_hits(redis: RedisServer, connect) -> None:
    """It is the one that refuses; to give back there would cost Redis twice as much."""
    limiter = connect(redis)
    await asyncio.gather(*(limiter.check(REFUSED) for _ in range(20)))
    await limiter.refunds.aclose()
    with redis.client() as client:
        counts = {bytes(key).split(b"|")[2]: int(client.get(key) or 0) for key in client.scan_iter()}
    assert counts == {b"all=x": 0, b"none=x": 20}


async def test_what_cannot_be_given_back_is_counted_and_disturbs_nobody(redis: RedisServer, connect) -> None:
    limiter = connect(redis)
    await limiter.check(REFUSED)
    await limiter.refunds.aclose()
    redis.kill()
    limiter.refunds.refund([hit(-2), hit(-3)])
    await limiter.refunds.aclose()
    assert limiter.refunds.refunded == {"sent": 1, "failed": 5}


async def test_of_what_failed_in_part_the_rest_is_given_back() -> None:
    class Half(MemoryStore):
        def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
            raise BackendError("half", counts=[0, None])

    refunds = Refunds(Half())
    refunds.refund([hit(-2), hit(-3)])
    await refunds.aclose()
    assert refunds.refunded == {"sent": 2, "failed": 3}


async def test_where_counts_were_had_in_part_each_is_given_back_where_it_was_counted() -> None:
    """To the backend what it counted; what was counted here stays here."""

    class Half(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.got: list[CounterUpdate] = []

        def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
            self.got += updates
            raise BackendError("half", counts=[1, None, None][: len(updates)])

    backend = Half()
    policies = FailurePolicies(backend, default=OnBackendError.LOCAL, probe_seconds=60)
    limiter = Limiter(backend, counting=SPARING, policies=policies)
    limiter.load(RULES)
    asked = request(descriptor(("all", "there")), descriptor(("all", "here")), descriptor(("none", "x")))
    for _ in range(3):
        decision = await limiter.check(asked)
        await limiter.refunds.aclose()
        assert [status.limit_remaining for status in decision.statuses] == [10, 10, 0]
    assert [one.amount for one in backend.got] == [1, 1, 1, -1] * 3
    assert backend.got[3].key == backend.got[0].key
    await policies.aclose()
