"""Health over all transports."""

import asyncio

from rls.api.health import WATCH
from rls.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from rls.transport.status import StatusCode
from tests.transport.conftest import until
from tests.transport.raw import RawClient, message


def request(service: str) -> bytes:
    return HealthCheckRequest(service=service).SerializeToString()


def status(response: bytes) -> HealthCheckResponse.ServingStatus:
    return HealthCheckResponse.FromString(response).status


async def test_watches_are_bounded(serve):
    served = await serve()
    watches = 16
    async with RawClient.connect(served.address) as client, RawClient.connect(served.address) as other:
        streams = [client.call(WATCH, message(request(""))) for _ in range(watches)]
        await until(lambda: all(client.responses[stream].messages for stream in streams))
        refused = await client.ask(WATCH, message(request("")))
        assert refused.grpc_status == StatusCode.RESOURCE_EXHAUSTED
        client.reset(streams[0])
        await until_accepted(client)
        await until_accepted(other)  # there is room for those who have less


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
