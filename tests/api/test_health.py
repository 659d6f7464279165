import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from rls.api.health import Health
from rls.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from rls.transport.handler import Metadata, Peer, StreamingCall
from rls.transport.status import Aborted, StatusCode
from tests.clock import Clock
from tests.transport.conftest import until

Status = HealthCheckResponse.ServingStatus
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


def request(service: str) -> bytes:
    return HealthCheckRequest(service=service).SerializeToString()


def status(response: bytes) -> Status:
    return HealthCheckResponse.FromString(response).status


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def health(clock) -> Health:
    """Meant to serve, in a loop that has turned twice."""
    health = Health(clock)
    health.set(serving=True)
    health.beat()
    health.beat()
    return health


@pytest.mark.parametrize("service", ["", "ratelimit"])
@pytest.mark.parametrize("serving", [True, False])
async def test_check_says_what_was_set(health, service, serving):
    health.set(serving=serving)
    expected = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
    assert status(await health.check(Asked(request(service)))) == expected


async def test_check_of_an_unknown_service_is_not_found(health):
    with pytest.raises(Aborted) as raised:
        await health.check(Asked(request("other")))
    assert raised.value.code is StatusCode.NOT_FOUND


async def test_check_of_something_else_is_invalid(health):
    with pytest.raises(Aborted) as raised:
        await health.check(Asked(b"\xff"))
    assert raised.value.code is StatusCode.INVALID_ARGUMENT


def test_nothing_is_served_before_the_loop_turns(clock):
    health = Health(clock)
    health.set(serving=True)
    assert not health.serving


def test_nothing_is_served_when_the_loop_has_not_turned_for_a_second(health, clock):
    clock.now += 0.99
    assert health.serving
    clock.now += 0.01
    assert not health.serving


def test_first_beat_after_a_stall_does_not_make_it_serve_and_the_next_does(health, clock):
    clock.now += 5
    health.beat()
    assert not health.serving
    clock.now += 0.25
    health.beat()
    assert health.serving


async def test_loop_that_runs_beats():
    health = Health()
    health.set(serving=True)
    beating = asyncio.create_task(health.run())
    await until(lambda: health.serving)
    beating.cancel()


class Asked(StreamingCall):
    """A call that keeps what it is sent."""

    path, deadline = "", None

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.sent: list[bytes] = []

    @property
    def metadata(self) -> Metadata:
        return Metadata()

    @property
    def peer(self) -> Peer:
        return Peer("unix")

    async def receive(self) -> bytes | None:
        return None

    async def send(self, message: bytes) -> None:
        self.sent.append(message)


@contextlib.asynccontextmanager
async def watching(health: Health, service: str) -> AsyncIterator[Asked]:
    call = Asked(request(service))
    task = asyncio.create_task(health.watch(call))
    yield call
    task.cancel()
    await asyncio.wait([task])


async def test_watch_sends_the_state_and_each_change(health, clock):
    async with watching(health, "ratelimit") as call:
        await until(lambda: len(call.sent) == 1)
        health.set(serving=True)
        health.set(serving=False)
        await until(lambda: len(call.sent) == 2)
        health.set(serving=True)
        await until(lambda: len(call.sent) == 3)
        clock.now += 5
        health.beat()
        await until(lambda: len(call.sent) == 4)
    assert [status(sent) for sent in call.sent] == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]


async def test_watch_of_an_unknown_service_says_so_and_goes_on(health):
    async with watching(health, "other") as call:
        await until(lambda: call.sent)
        health.set(serving=False)
        health.set(serving=True)
        await asyncio.sleep(0)
    assert [status(sent) for sent in call.sent] == [HealthCheckResponse.SERVICE_UNKNOWN]
