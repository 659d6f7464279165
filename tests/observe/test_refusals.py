"""What is kept of refusals, and who answered, through the real limiter and stores."""

import time
from typing import Any

import pytest

from examples.mesh.processes import free_port
from rls.core.check import Check
from rls.core.model import Unit
from rls.core.rules import OnBackendError
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.observe.refusals import KEPT, KEPT_A_SECOND, RULES, Refusals
from rls.observe.top import TopTalkers
from rls.stores.memory import MemoryStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.redis import RedisStore
from tests.clock import Clock
from tests.counters import PATIENT
from tests.redis_server import RedisServer, newest_binary, running
from tests.tries import Step, descriptor, request, rule, rule_set

RULES_OF_ONE = rule_set({(Step("company"),): rule("company", 2, Unit.YEAR)})
ACME = request(descriptor(("company", "acme")))


def limiter(top: TopTalkers, store: Any, **more: Any) -> Limiter:
    found = Limiter(store, **{"observers": [top], "clock": Clock(1_000_000.0), **more})
    found.load(RULES_OF_ONE)
    return found


async def answered_by(top: TopTalkers, served: Limiter, times: int) -> list[tuple[str, str, int]]:
    """Who answered each refusal of some requests, the oldest first, and the count."""
    for _ in range(times):
        await served.check(ACME)
    return [(found.answered_by, found.policy, found.used) for found in reversed(list(top.refusals.latest()))]


async def test_memory_answers() -> None:
    top = TopTalkers(store="memory")
    found = await answered_by(top, limiter(top, MemoryStore(clock=Clock(1_000_000.0))), 4)
    assert found == [("memory", "", 3), ("memory", "", 4)]


async def test_the_over_limit_cache_answers_what_redis_has_refused(tmp_path) -> None:
    top = TopTalkers(store="redis")
    with running(RedisServer(tmp_path, newest_binary())) as server:
        cache = OverLimitCache(RedisStore(server.url, timeout_seconds=PATIENT), timer=Clock())
        assert await answered_by(top, limiter(top, cache, clock=time.time), 4) == [("redis", "", 3), ("cache", "", 4)]
        await cache.aclose()


@pytest.mark.parametrize(
    ("policy", "answered"),
    [
        (OnBackendError.LOCAL, [("policy", "local", 3), ("policy", "local", 4)]),
        (OnBackendError.DENY, [("policy", "deny", 0)] * 4),
        (OnBackendError.ALLOW, []),
    ],
)
async def test_a_policy_answers_while_redis_is_away(policy, answered) -> None:
    top = TopTalkers()
    store = RedisStore(f"redis://127.0.0.1:{free_port()}")
    policies = FailurePolicies(store, default=policy)
    assert await answered_by(top, limiter(top, store, policies=policies), 4) == answered
    await policies.aclose()
    await store.aclose()


async def test_the_last_thousand_are_kept_and_of_many_in_a_second_one_in_n() -> None:
    top = TopTalkers()
    clock = Clock(1_000_000.0)
    served = Limiter(MemoryStore(clock=clock), observers=[top], clock=clock)
    served.load(RULES_OF_ONE)
    prepared = served.prepare(ACME)

    async def refuse(times: int) -> None:
        for _ in range(times):
            await served.run(prepared)

    await refuse(2 + KEPT_A_SECOND // 2)
    assert [found.stands_for for found in top.refusals.latest()] == [1] * (KEPT_A_SECOND // 2)
    clock.now += 1
    await refuse(4 * KEPT_A_SECOND)
    kept = list(top.refusals.latest())
    assert len(kept) < 3 * KEPT_A_SECOND
    assert {found.stands_for for found in kept} == {1, 2, 4}
    [refusals] = top.refusals.by_rule.values()
    assert refusals.refused.hits == KEPT_A_SECOND // 2 + 4 * KEPT_A_SECOND
    assert sum(found.stands_for for found in kept) == pytest.approx(refusals.refused.hits, abs=60)
    for _ in range(KEPT // KEPT_A_SECOND):
        clock.now += 2
        await refuse(KEPT_A_SECOND)
    assert [found.stands_for for found in top.refusals.latest()] == [1] * KEPT


def test_rules_that_refused_longest_ago_are_forgotten() -> None:
    refusals = Refusals()
    for number in range(RULES + 10):
        refusals.of("domain", Check(descriptor(("company", "acme")), rule_id=f"domain|{number}"))
    assert len(refusals.by_rule) == RULES
    assert next(iter(refusals.by_rule)) == "domain|10"
