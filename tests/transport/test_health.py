import asyncio
from contextlib import aclosing

import pytest

from rls.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from rls.transport.health import WATCH, Health, Watches
from rls.transport.status import Aborted, StatusCode
from tests.transport.conftest import until
from tests.transport.raw import RawClient, message

Status = HealthCheckResponse.ServingStatus


def request(service: str) -> bytes:
    return HealthCheckRequest(service=service).SerializeToString()


def status(response: bytes) -> Status:
    return HealthCheckResponse.FromString(response).status


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


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
    assert status(await health.check(request(service))) == expected


async def test_check_of_an_unknown_service_is_not_found(health):
    with pytest.raises(Aborted) as raised:
        await health.check(request("other"))
    assert raised.value.code is StatusCode.NOT_FOUND


async def test_check_of_something_else_is_invalid(health):
    with pytest.raises(Aborted) as raised:
        await health.check(b"\xff")
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


async def test_watch_tells_the_state_and_each_change(health, clock):
    async with aclosing(health.watch(request("ratelimit"))) as watch:
        assert status(await anext(watch)) == HealthCheckResponse.SERVING
        health.set(serving=True)
        health.set(serving=False)
        assert status(await anext(watch)) == HealthCheckResponse.NOT_SERVING
        health.set(serving=True)
        assert status(await anext(watch)) == HealthCheckResponse.SERVING
        clock.now += 5
        health.beat()
        assert status(await anext(watch)) == HealthCheckResponse.NOT_SERVING


async def test_watch_of_an_unknown_service_says_so_and_goes_on(health):
    async with aclosing(health.watch(request("other"))) as watch:
        assert status(await anext(watch)) == HealthCheckResponse.SERVICE_UNKNOWN


async def test_watches_are_bounded(serve):
    served = await serve()
    watches = 16
    async with RawClient.connect(served.address) as client:
        streams = [client.call(WATCH, message(request(""))) for _ in range(watches)]
        await until(lambda: all(client.responses[stream].messages for stream in streams))
        refused = await client.ask(WATCH, message(request("")))
        assert refused.grpc_status == StatusCode.RESOURCE_EXHAUSTED
        client.reset(streams[0])
        await until_accepted(client)


async def until_accepted(client: RawClient) -> None:
    """A watch that ended made room for another."""
    async with asyncio.timeout(10):
        while True:
            response = client.responses[client.call(WATCH, message(request("")))]
            while not response.ended.is_set():
                if response.messages:
                    return
                await asyncio.sleep(0.005)


async def test_watches_end_when_the_server_drains(serve):
    served = await serve()
    async with RawClient.connect(served.address) as client:
        stream = client.call(WATCH, message(request("ratelimit")))
        await until(lambda: client.responses[stream].messages)
        await served.transport.aclose()
        response = await client.response(stream)
    assert response.grpc_status == StatusCode.UNAVAILABLE


async def test_watch_after_the_server_began_to_drain_is_refused(health):
    watches = Watches(health, 1)
    watches.close()
    with pytest.raises(Aborted) as raised:
        await anext(watches.stream(request("")))
    assert raised.value.code is StatusCode.UNAVAILABLE


async def test_health_is_told_over_grpc_as_it_changes(serve):
    served = await serve()
    async with RawClient.connect(served.address) as client:
        stream = client.call(WATCH, message(request("ratelimit")))
        await until(lambda: len(client.responses[stream].messages) == 1)
        served.health.set(serving=False)
        await until(lambda: len(client.responses[stream].messages) == 2)
        served.health.set(serving=True)
        await until(lambda: len(client.responses[stream].messages) == 3)
        told = [status(response) for response in client.responses[stream].messages]
    assert told == [HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING, HealthCheckResponse.SERVING]
