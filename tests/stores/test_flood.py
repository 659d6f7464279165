"""Clients that send ever new values: what is refused stays refused, and memory stays bounded.

`FLOOD=10000000` sends so many values against the capacity of a real server; by default both are smaller.
"""

from __future__ import annotations

import os
import time

import pytest

from rls.core.model import Code, Unit
from rls.core.rules import OnBackendError
from rls.core.update import CounterUpdate, keep_above
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.errors import BackendError, NoRoom
from rls.stores.memory import MemoryStore
from tests.tries import Step, descriptor, request, rule, rule_set

VALUES = int(os.environ.get("FLOOD", "150000"))
CAPACITY = 1_000_000 if "FLOOD" in os.environ else 10_000
LIMITED = request(descriptor(("user", "hammering")))
RULES = rule_set(
    {
        (Step("user"),): rule("user", 5, Unit.HOUR),
        (Step("daily"),): rule("daily", 100, Unit.DAY),
        (Step("once"),): rule("once", 1, Unit.HOUR),
    }
)
NOW = time.time() // 86_400 * 86_400


async def flood(backend: MemoryStore, name: str, limit: int, seconds: int) -> int:
    """Hits on many values of a rule; how many had no room."""
    expires_at = int(NOW) + seconds
    above, full = keep_above(limit, int(limit * 0.8)), 0
    for n in range(VALUES):
        try:
            await backend.update(
                [CounterUpdate(b"%b|%d" % (name.encode(), n), 1, limit, expires_at, seconds, f"domain|{name}", above)]
            )
        except NoRoom:
            full += 1
    return full


@pytest.mark.parametrize(("name", "limit", "seconds"), [("daily", 100, 86_400), ("once", 1, 3_600), ("user", 5, 3_600)])
async def test_a_refused_key_stays_refused(name: str, limit: int, seconds: int) -> None:
    backend = MemoryStore(capacity=CAPACITY, clock=lambda: NOW)
    limiter = Limiter(backend, clock=lambda: NOW)
    limiter.load(RULES)
    codes = [(await limiter.check(LIMITED)).code for _ in range(6)]
    assert codes == [Code.OK] * 5 + [Code.OVER_LIMIT]
    full = await flood(backend, name, limit, seconds)
    assert (await limiter.check(LIMITED)).code is Code.OVER_LIMIT
    assert len(backend) <= CAPACITY
    assert bool(full) is (name == "once"), "only counters that must not be forgotten fill it up"


async def test_where_there_is_no_room_the_policy_decides_and_local_denies() -> None:
    """And a rule that has not used its share still counts."""
    reported: list[str] = []
    backend = MemoryStore(capacity=CAPACITY, clock=lambda: NOW)
    policies = FailurePolicies(backend, default=OnBackendError.LOCAL, on_no_room=reported.append)
    limiter = Limiter(backend, policies=policies, clock=lambda: NOW)
    limiter.load(RULES)
    await flood(backend, "once", 1, 3_600)
    decision = await limiter.check(request(descriptor(("once", "new"))))
    assert (decision.code, decision.statuses[0].limit_remaining) == (Code.OVER_LIMIT, 0)
    assert policies.no_room == 1
    (text,) = reported
    assert text.startswith(
        f"memory has no room for more than {CAPACITY} counters: new keys are decided by on_backend_error"
    )
    assert not policies.reason, "the backend has not failed"
    assert (await limiter.check(request(descriptor(("daily", "new"))))).statuses[0].limit_remaining == 99


@pytest.mark.parametrize(("policy", "code"), [("allow", Code.OK), ("deny", Code.OVER_LIMIT), ("error", None)])
async def test_other_policies_hold_without_room(policy: str, code: Code | None) -> None:
    backend = MemoryStore(capacity=8, clock=lambda: NOW)
    limiter = Limiter(backend, clock=lambda: NOW)
    limiter.load(rule_set({(Step("once"),): rule("once", 1, Unit.HOUR, on_backend_error=OnBackendError(policy))}))
    for n in range(7):
        await limiter.check(request(descriptor(("once", str(n)))))
    new = request(descriptor(("once", "new")))
    if code is None:
        with pytest.raises(BackendError, match="no room"):
            await limiter.check(new)
    else:
        assert (await limiter.check(new)).code is code
    assert (await limiter.check(request(descriptor(("once", "0"))))).code is Code.OVER_LIMIT


async def test_of_a_request_what_has_room_is_counted() -> None:
    backend = MemoryStore(capacity=8, clock=lambda: NOW)
    limiter = Limiter(backend, clock=lambda: NOW)
    limiter.load(RULES)
    for n in range(7):
        await limiter.check(request(descriptor(("once", str(n)))))
    with pytest.raises(NoRoom) as caught:
        await backend.update(
            limiter.prepare(request(descriptor(("once", "new")), descriptor(("daily", "a")))).at(int(NOW))
        )
    assert caught.value.counts == [None, 1]


class Away(MemoryStore):
    """A backend that is never there."""

    def submit(self, updates, done):
        raise BackendError("away")

    async def ping(self) -> None:
        raise BackendError("away")


async def test_while_the_backend_is_away_a_flood_opens_no_limit() -> None:
    away = Away()
    policies = FailurePolicies(away, default=OnBackendError.LOCAL, capacity=400, clock=lambda: NOW)
    limiter = Limiter(away, policies=policies, clock=lambda: NOW)
    limiter.load(RULES)
    codes = [(await limiter.check(LIMITED)).code for _ in range(6)]
    assert codes == [Code.OK] * 5 + [Code.OVER_LIMIT]
    for key in ("daily", "once", "user"):
        for n in range(1_000):
            await limiter.check(request(descriptor((key, f"v{n}"))))
    assert (await limiter.check(LIMITED)).code is Code.OVER_LIMIT
    assert len(policies.local) <= 400
    assert policies.no_room > 0
    await policies.aclose()
