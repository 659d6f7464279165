import asyncio
from contextlib import suppress

import pytest

from rls.api.health import Health
from rls.api.readiness import Readiness, wait_for_cause
from rls.engine.enforcement import EnforcementState, Reason, State
from rls.errors import BackendError, TimedOut
from tests.transport.conftest import until


class Backend:
    """Something to ping, that can be taken away."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None

    async def ping(self) -> None:
        if self.failure is not None:
            raise self.failure


class Watched:
    """A readiness with all that it looks at."""

    def __init__(self, *, needs_backend: bool = True) -> None:
        self.backend = Backend()
        self.enforcement = EnforcementState()
        self.failing = ""
        self.health = Health()
        self.health.beat()
        self.health.beat()
        self.told: list[bool] = []
        self.readiness = Readiness(
            self.enforcement,
            self.health,
            self.backend.ping,
            failing=lambda: self.failing,
            needs_backend=needs_backend,
            on_change=self.told.append,
        )

    async def poll(self) -> tuple[State, list[str]]:
        await self.readiness.poll()
        return self.enforcement.state, [found.text for found in self.enforcement.weaknesses]

    @property
    def serving(self) -> bool:
        assert self.health.serving is self.readiness.ready
        return self.health.serving


@pytest.fixture
async def watched() -> Watched:
    return Watched()


async def test_ready(watched) -> None:
    assert await watched.poll() == (State.ENFORCED, [])
    assert watched.serving


async def test_not_ready_before_the_first_poll(watched) -> None:
    assert [found.reason for found in watched.enforcement.weaknesses] == [Reason.STARTING]
    assert not watched.serving


async def test_not_ready_while_anything_is_off(watched) -> None:
    await watched.poll()
    watched.enforcement.report(Reason.NO_RULES, "no rules", state=State.OFF)
    assert not watched.serving
    watched.enforcement.report(Reason.NO_RULES, "")
    assert watched.serving


async def test_ready_while_something_is_weaker(watched) -> None:
    await watched.poll()
    watched.enforcement.report(Reason.RULES_INVALID, "one mistake")
    assert watched.serving


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (BackendError("refused"), "the backend cannot count: refused"),
        (TimeoutError(), "the backend does not answer"),
    ],
)
async def test_not_ready_without_a_backend_until_it_is_back(watched, failure, text: str) -> None:
    watched.backend.failure = failure
    assert await watched.poll() == (State.OFF, [text])
    assert not watched.serving
    watched.backend.failure = None
    assert await watched.poll() == (State.ENFORCED, [])
    assert watched.serving


async def test_a_backend_of_which_a_part_can_count_is_degraded(watched) -> None:
    watched.backend.failure = BackendError("one node refuses", counts=(1, None))
    assert await watched.poll() == (State.DEGRADED, ["the backend cannot count: one node refuses"])
    assert watched.serving


async def test_ready_without_a_backend_where_a_policy_answers() -> None:
    """It says that it is degraded, and is no less ready for that."""
    watched = Watched(needs_backend=False)
    await watched.poll()
    watched.backend.failure = BackendError("refused")
    assert await watched.poll() == (State.DEGRADED, ["the backend cannot count: refused"])
    assert watched.serving
    watched.backend.failure = None
    await watched.poll()
    assert watched.told == [True]


async def test_a_backend_that_fails_calls_but_no_pings_degrades(watched) -> None:
    await watched.poll()
    watched.failing = "gone"
    watched.readiness.report_backend()
    assert [found.text for found in watched.enforcement.weaknesses] == ["the backend cannot count: gone"]
    assert watched.serving


async def test_one_cause_has_one_text(watched) -> None:
    """Calls and polls may wait for different times, and fail with different words."""
    watched.failing = "no answer within 10 ms"
    for watched.backend.failure in (BackendError("no connection within 0.5 s"), None, TimeoutError()):
        _, texts = await watched.poll()
        assert texts == ["the backend cannot count: no answer within 10 ms"]


@pytest.mark.parametrize("last", [BackendError("wrong password"), None])
async def test_the_start_waits_until_the_cause_is_known(last: BackendError | None) -> None:
    outcomes = [TimedOut("no connection within 10 ms")] * 3 + [last]

    async def ping() -> None:
        if failure := outcomes.pop(0):
            raise failure

    await wait_for_cause(ping, 60)
    assert outcomes == []


async def test_the_start_does_not_wait_for_ever() -> None:
    async def silent() -> None:
        raise TimedOut("no answer within 10 ms")

    async def hang() -> None:
        await asyncio.sleep(60)

    for ping in (silent, hang):
        await asyncio.wait_for(wait_for_cause(ping, 0.05), 30)


async def test_a_drain_ends_it_at_once_and_for_good(watched) -> None:
    await watched.poll()
    watched.readiness.drain()
    assert not watched.serving
    assert await watched.poll() == (State.ENFORCED, [])
    assert not watched.serving


async def test_a_change_is_told_once(watched) -> None:
    """Of a drain whoever began it knows."""
    for watched.backend.failure in (BackendError("a"), BackendError("b"), None, None):
        await watched.poll()
    watched.readiness.drain()
    await watched.poll()
    assert watched.told == [False, True]


async def test_a_loop_that_stands_still_is_not_ready() -> None:
    now = [0.0]
    health = Health(clock=lambda: now[0])

    async def ping() -> None:
        return

    readiness = Readiness(EnforcementState(), health, ping)
    health.beat()
    health.beat()
    await readiness.poll()
    assert readiness.ready
    now[0] = 5.0
    assert not readiness.ready


async def test_a_reason_that_was_reported_for_a_time_ends_by_itself(watched) -> None:
    await watched.poll()
    watched.enforcement.report(Reason.NO_ROOM, "full", seconds=0)
    assert await watched.poll() == (State.ENFORCED, [])


async def test_it_polls_again_and_again(watched) -> None:
    watched.backend.failure = BackendError("refused")
    polling = asyncio.create_task(watched.readiness.run())
    await until(lambda: watched.enforcement.state is State.OFF and not watched.readiness.ready)
    watched.backend.failure = None
    await until(lambda: watched.readiness.ready)
    polling.cancel()
    with suppress(asyncio.CancelledError):
        await polling
