"""What answers while a backend fails, and what it gets when it is back; scenarios `fallback_*` tell the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress

import pytest

from rls.core.model import Code
from rls.core.rules import OnBackendError
from rls.core.update import CounterUpdate
from rls.engine.events import StoreFailed
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.errors import BackendError, TimedOut
from rls.stores.base import Done
from rls.stores.memory import MemoryStore
from tests.clock import Clock
from tests.counters import until
from tests.engine.test_limiter import START
from tests.recorded import Events
from tests.tries import Step, descriptor, request, rule, rule_set


class Frail(MemoryStore):
    """Memory that fails as it is told: what it is given instead of counting makes the error."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.fail: Callable[[Sequence[CounterUpdate]], BackendError] | None = None
        self.pings = True
        self.ping_error = BackendError("no ping")
        self.got: list[CounterUpdate] = []

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
        if self.fail is not None:
            raise self.fail(updates)
        self.got += updates
        return super().submit(updates, done)

    async def ping(self) -> None:
        if self.fail is not None or not self.pings:
            raise self.ping_error


class Served:
    """A limiter on a frail backend; `company` has 5 a minute."""

    def __init__(self, default: OnBackendError = OnBackendError.LOCAL, **more) -> None:
        self.clock = Clock(START)
        self.backend = Frail(self.clock)
        self.events, self.told = Events(), list[str]()
        self.decided: list[str] = []
        self.policies = FailurePolicies(
            self.backend,
            default=default,
            probe_seconds=0.01,
            on_change=self.told.append,
            on_decided=lambda domain, check, policy: self.decided.append(f"{domain} {check.path} {policy}"),
            clock=self.clock,
            **more,
        )
        self.limiter = Limiter(self.backend, policies=self.policies, observers=[self.events], clock=self.clock)
        self.limiter.load(
            rule_set(
                {
                    (Step("company"),): rule("company", 5),
                    (Step("strict"),): rule("strict", 5, on_backend_error=OnBackendError.ERROR),
                    (Step("shadow"),): rule("shadow", 1, shadow_mode=True),
                }
            )
        )
        self.events.clear()

    async def ask(self, *keys: str, **more):
        return await self.limiter.check(request(*(descriptor((key, "x"), **more) for key in keys)))

    async def recovered(self) -> None:
        self.backend.fail = None
        await until(lambda: not self.policies.reason)


def gone(_: Sequence[CounterUpdate]) -> BackendError:
    return BackendError("gone")


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Served]]:
    async with AsyncExitStack() as stack:

        def one(**more) -> Served:
            served = Served(**more)
            stack.push_async_callback(served.policies.aclose)
            return served

        yield one


async def test_counts_that_could_be_had_are_judged_as_ever(serve) -> None:
    """Policies decide only what lacks a count, and only that is counted here."""
    served = serve()
    served.backend.fail = lambda _: BackendError("half", counts=[5, None])
    decision = await served.ask("company", "shadow")
    assert decision.policies
    assert [status.limit_remaining for status in decision.statuses] == [0, 0]
    assert decision.policies == {OnBackendError.LOCAL}
    served.backend.fail = lambda _: BackendError("half", counts=[6, None])
    decision = await served.ask("company", "shadow")
    assert decision.code is Code.OVER_LIMIT
    assert [status.over_limit for status in decision.statuses] == [1, 1]
    await served.recovered()
    assert [hit.amount for hit in served.backend.got] == [2]


async def test_a_count_that_is_there_needs_no_policy(serve) -> None:
    """Not even ERROR."""
    served = serve()
    served.backend.fail = lambda _: BackendError("half", counts=[1, None])
    decision = await served.ask("strict", "company")
    assert decision.code is Code.OK
    served.backend.fail = lambda _: BackendError("half", counts=[None, 1])
    with pytest.raises(BackendError, match="half"):
        await served.ask("strict", "company")
    assert served.decided == ["domain company local", "domain strict error"]


async def test_a_request_that_fails_counts_nothing_here(serve) -> None:
    served = serve()
    served.backend.fail = gone
    with pytest.raises(BackendError):
        await served.ask("company", "strict")
    assert len(served.policies.local) == 0


async def test_what_happened_is_told_in_order(serve) -> None:
    """That it failed, then what was decided; or only that it failed."""
    served = serve()
    served.backend.fail = gone
    decision = await served.ask("company")
    failed, request = served.events
    assert failed == StoreFailed(request, decision.plan, "gone", answered=True)
    assert (request.decision, request.seconds) == (decision, 0)
    served.events.clear()
    with pytest.raises(BackendError):
        await served.ask("strict")
    (failed,) = served.events
    assert not failed.answered


async def test_changes_are_told_once(serve) -> None:
    served = serve()
    served.backend.fail = gone
    for _ in range(3):
        await served.ask("company")
    assert served.policies.reason == "gone"
    await served.recovered()
    await served.ask("company")
    assert served.told == ["gone", ""]


async def test_one_that_comes_and_goes_is_away(serve) -> None:
    """It gets what it has missed each time, and is said to be back once it stays."""
    served = serve()
    for _ in range(5):
        served.backend.fail = gone
        await served.ask("company")
        served.backend.fail = None
        await until(lambda: served.backend.got)
        assert [hit.amount for hit in served.backend.got] == [1]
        served.backend.got.clear()
    assert served.told == ["gone"]
    await served.recovered()
    assert served.told == ["gone", ""]
    assert served.backend.got == []


async def test_a_failed_ping_is_a_failure(serve) -> None:
    """A server without traffic knows of it, too."""
    served = serve()
    served.backend.pings = False
    with pytest.raises(BackendError):
        await served.policies.ping()
    assert served.policies.reason == "no ping"
    served.backend.pings = True
    await served.policies.ping()
    await served.recovered()


async def test_one_that_answers_pings_but_not_hits_is_not_back(serve) -> None:
    """What it has not got is kept, until it takes it."""
    served = serve()
    served.backend.fail = gone
    await served.ask("company")
    attempts = list[Sequence[CounterUpdate]]()

    def refuse(hits: Sequence[CounterUpdate]) -> BackendError:
        attempts.append(hits)
        return BackendError("still gone")

    async def pong() -> None: ...

    served.backend.ping = pong
    served.backend.fail = refuse
    await until(lambda: len(attempts) >= 3)
    assert served.policies.reason
    await served.recovered()
    assert [hit.amount for hit in served.backend.got] == [1]
    assert served.policies.caught_up == {"sent": 1, "lost": 0, "in_doubt": 0}


async def test_what_may_have_arrived_is_not_sent_again(serve) -> None:
    """Neither what was counted here in doubt, nor what was sent here in doubt."""
    served = serve()
    served.backend.fail = lambda _: BackendError("silent", in_doubt=True)
    await served.ask("company")
    decision = await served.ask("company")
    assert decision.statuses[0].limit_remaining == 3
    served.backend.fail = gone
    await served.ask("company", hits_addend=2)
    attempts = list[Sequence[CounterUpdate]]()

    def silence(hits: Sequence[CounterUpdate]) -> BackendError:
        attempts.append(hits)
        return BackendError("silent", in_doubt=True)

    async def pong() -> None: ...

    served.backend.ping = pong
    served.backend.fail = silence
    await until(lambda: attempts)
    await served.recovered()
    assert [[hit.amount for hit in hits] for hits in attempts] == [[2]]
    assert served.backend.got == []
    assert served.policies.caught_up == {"sent": 0, "lost": 2, "in_doubt": 2}


async def test_many_counters_are_sent_in_parts_each_once(serve) -> None:
    served = serve()
    served.backend.fail = gone
    for n in range(1_200):
        await served.limiter.check(request(descriptor(("company", str(n))), hits_addend=n % 3 + 1))
    await served.recovered()
    assert len(served.backend.got) == 1_200
    assert {hit.amount for hit in served.backend.got} == {1, 2, 3}
    assert len(served.policies.local) == 0


async def test_closing_ends_the_asking(serve) -> None:
    served = serve()
    served.backend.fail = gone
    await served.ask("company")
    await served.policies.aclose()
    await served.policies.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_window_is_that_of_the_request(serve) -> None:
    served = serve()
    served.backend.fail = gone
    served.clock.now = START + 59
    decision = await served.ask("company")
    assert decision.statuses[0].seconds_until_reset == 1
    served.clock.now = START + 60
    decision = await served.ask("company")
    assert (decision.statuses[0].limit_remaining, decision.statuses[0].seconds_until_reset) == (4, 60)


async def passed(served: Served, company: str, calls: int = 6) -> int:
    """Of so many *calls*, how many pass."""
    answers = [await served.limiter.check(request(descriptor(("company", company)))) for _ in range(calls)]
    return [answer.code for answer in answers].count(Code.OK)


async def test_the_part_of_a_limit_follows_the_number_of_replicas_but_grows_only_when_the_backend_is_back(
    serve,
) -> None:
    """Those that have gone may have let their parts pass in windows that are still open."""
    replicas = 1
    served = serve(replicas=lambda: replicas)
    served.backend.fail = gone
    assert await passed(served, "one") == 5
    replicas = 2
    assert await passed(served, "two") == 3
    assert await passed(served, "one") == 0
    replicas = 5
    await asyncio.sleep(0.05)  # nobody asks while there are five
    replicas = 2
    assert await passed(served, "three") == 1
    await served.recovered()
    served.backend.fail = gone
    assert await passed(served, "four") == 3


async def test_the_part_is_the_smallest_while_nobody_knows_how_many_replicas_there_are(serve) -> None:
    replicas = 0
    served = serve(replicas=lambda: replicas)
    served.backend.fail = gone
    assert await passed(served, "one") == 1
    replicas = 2
    assert await passed(served, "two") == 3
    assert await passed(served, "one") == 0


async def test_a_limit_of_nothing_has_no_parts(serve) -> None:
    for replicas in (0, 1, 3):
        served = serve(replicas=lambda: replicas)  # noqa: B023
        served.limiter.load(rule_set({(Step("company"),): rule("company", 0)}))
        served.backend.fail = gone
        assert await passed(served, "one") == 0


async def pinged(served: Served, error: BackendError) -> str:
    """The reason after a ping that ends with *error*."""
    served.backend.pings, served.backend.ping_error = False, error
    with suppress(BackendError):
        await served.policies.ping()
    return served.policies.reason


async def test_time_outs_are_one_cause_with_one_text(serve) -> None:
    """A call has a few milliseconds, and an attempt to connect has more: who waited how long is no news."""
    served = serve()
    assert await pinged(served, TimedOut("no answer within 10 ms")) == "no answer within 10 ms"
    assert await pinged(served, TimedOut("no connection within 0.5 s")) == "no answer within 10 ms"
    assert await pinged(served, BackendError("AUTH was refused")) == "AUTH was refused"
    assert served.told == ["no answer within 10 ms"]


async def test_a_cause_that_changes_is_told_but_not_with_every_ping(serve) -> None:
    served = serve()
    reasons = [await pinged(served, BackendError(text)) for text in ("refused", "no password", "loading", "refused")]
    assert reasons == ["refused", "no password", "no password", "no password"]


async def test_a_backend_that_comes_and_goes_is_lost_once_more_and_not_back(serve) -> None:
    """It is back after a while without a failure, and where it has just been back, after a longer one."""
    served = serve()
    for _ in range(6):
        await pinged(served, BackendError("gone"))
        served.backend.pings = True
        await asyncio.sleep(0.2)  # some attempts, but not a hundred
    assert served.told in (["gone"], ["gone", "", "gone"])
    await until(lambda: not served.policies.reason)
    assert served.told[-1] == ""
    assert len(served.told) <= 4
