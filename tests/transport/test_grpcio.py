import asyncio

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.transport.raw import RawClient, message
from tests.transport.test_lifecycle import ECHO, HELLO, echo

pytestmark = pytest.mark.parametrize("kind", ["grpcio"], indirect=True)


def look_up(address: str) -> tuple[list[str], str]:
    """The services that reflection lists, and the type that ShouldRateLimit takes."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        service = DescriptorPool(database).FindServiceByName("envoy.service.ratelimit.v3.RateLimitService")
        return sorted(database.get_services()), service.methods_by_name["ShouldRateLimit"].input_type.full_name


async def test_reflection_knows_what_is_served(serve):
    served = await serve(options={"reflection": True})
    services, request = await asyncio.to_thread(look_up, served.address)
    assert services == [
        "envoy.service.ratelimit.v3.RateLimitService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    assert request == "envoy.service.ratelimit.v3.RateLimitRequest"


async def test_reflection_can_be_left_out(serve):
    served = await serve(options={"reflection": False})
    async with RawClient.connect(served.address) as client:
        path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        assert (await client.ask(path, message(b""))).grpc_status == grpc.StatusCode.UNIMPLEMENTED.value[0]


async def test_connection_of_age_is_told_to_go_away_and_served_until_then(serve):
    served = await serve({ECHO: echo}, options={"max_connection_age": 0.2, "max_connection_age_grace": 0.2})
    async with RawClient.connect(served.address) as client:
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]
        await asyncio.wait_for(client.closed.wait(), 10)
        assert client.goaway is not None
        assert client.goaway.error_code == 0
    async with RawClient.connect(served.address) as client:
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]
