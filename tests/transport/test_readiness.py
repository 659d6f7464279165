import asyncio
from contextlib import suppress

import pytest

from rls.backends.memory import MemoryBackend
from rls.core.rules import OnBackendError, RuleSet
from rls.errors import BackendError, Place, Problem
from rls.fallback import Policies
from rls.limiter import Limiter
from rls.transport.health import Health
from rls.transport.readiness import Readiness
from tests.transport.conftest import until


class Backend:
    """Something to ping, that can be taken away."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None

    async def ping(self) -> None:
        if self.failure is not None:
            raise self.failure


class Watched:
    """A readiness with all that it looks at; ready."""

    def __init__(self, default: OnBackendError = OnBackendError.ERROR) -> None:
        self.backend = Backend()
        memory = MemoryBackend()
        self.limiter = Limiter(memory, policies=Policies(memory, default=default))
        self.limiter.load(RuleSet())
        self.health = Health()
        self.health.beat()
        self.health.beat()
        self.told: list[list[str]] = []
        self.readiness = Readiness(self.limiter, self.backend.ping, self.health, self.told.append)

    async def look(self) -> list[str]:
        await self.readiness.look()
        return self.readiness.reasons


@pytest.fixture
async def watched() -> Watched:
    return Watched()


async def test_ready(watched) -> None:
    assert await watched.look() == []
    assert watched.health.serving


async def test_not_ready_before_the_first_look(watched) -> None:
    assert watched.readiness.reasons == ["the backend has not been asked yet"]
    assert not watched.health.serving


async def test_not_ready_without_rules(watched) -> None:
    watched.limiter.loaded = False
    assert await watched.look() == ["no rules are loaded"]
    assert not watched.health.serving


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (BackendError("refused"), "the backend cannot be reached: refused"),
        (TimeoutError(), "the backend does not answer"),
    ],
)
async def test_not_ready_without_a_backend_until_it_is_back(watched, failure, reason: str) -> None:
    watched.backend.failure = failure
    assert await watched.look() == [reason]
    assert not watched.health.serving
    watched.backend.failure = None
    assert await watched.look() == []
    assert watched.health.serving


@pytest.mark.parametrize("default", ["local", "allow", "deny"])
async def test_ready_without_a_backend_where_a_policy_answers(default) -> None:
    """It says what it lacks, and is no less ready for that."""
    watched = Watched(OnBackendError(default))
    assert await watched.look() == []
    assert watched.readiness.lacking == []
    watched.backend.failure = BackendError("refused")
    assert await watched.look() == []
    assert watched.readiness.lacking == ["the backend cannot be reached: refused"]
    assert watched.health.serving
    watched.backend.failure = None
    await watched.look()
    assert watched.readiness.lacking == []
    assert watched.told == [[]]


async def test_a_backend_that_fails_calls_but_no_pings_is_lacking(watched) -> None:
    await watched.look()
    watched.limiter.policies.reason = "gone"
    assert watched.readiness.reasons == []
    assert watched.readiness.lacking == ["the backend fails: gone"]


async def test_mistakes_in_the_configuration_are_no_reason(watched) -> None:
    """The last good rules are in force; whoever would take over has the same configuration."""
    watched.limiter.reject((Problem(Place("a.yaml", 1, 2), "wrong"),))
    assert await watched.look() == []
    assert watched.readiness.problems == ["a.yaml:1:2: wrong"]
    assert watched.health.serving


async def test_a_drain_is_told_at_once_and_for_good(watched) -> None:
    await watched.look()
    watched.readiness.drain()
    assert not watched.health.serving
    assert await watched.look() == ["draining"]


async def test_a_change_is_told_once(watched) -> None:
    """The first look is one; of a drain whoever began it knows."""
    failures = (BackendError("refused"), BackendError("refused"), BackendError("silent"), None, None)
    for watched.backend.failure in failures:
        await watched.look()
    watched.readiness.drain()
    await watched.look()
    prefix = "the backend cannot be reached: "
    assert watched.told == [[prefix + "refused"], [prefix + "silent"], []]


async def test_it_looks_again_and_again(watched) -> None:
    watched.backend.failure = BackendError("refused")
    looking = asyncio.create_task(watched.readiness.run())
    await until(lambda: watched.readiness.reasons == ["the backend cannot be reached: refused"])
    watched.backend.failure = None
    await until(lambda: not watched.readiness.reasons)
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking
