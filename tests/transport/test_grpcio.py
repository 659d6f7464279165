import asyncio

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from rls.api.service import SHOULD_RATE_LIMIT
from rls.transport.base import ServerLimits
from tests.transport.conftest import until
from tests.transport.raw import RawClient, call_headers, message
from tests.transport.test_lifecycle import ECHO, HELLO, WAIT, Waiting, echo

pytestmark = pytest.mark.parametrize("kind", ["grpcio"], indirect=True)


def look_up(address: str) -> tuple[list[str], str]:
    """The services that reflection lists, and the type that ShouldRateLimit takes."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        service = DescriptorPool(database).FindServiceByName("envoy.service.ratelimit.v3.RateLimitService")
        return sorted(database.get_services()), service.methods_by_name["ShouldRateLimit"].input_type.full_name


async def test_reflection_knows_what_is_served(serve):
    served = await serve({SHOULD_RATE_LIMIT: echo}, options={"reflection": True})
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
    served = await serve({ECHO: echo}, max_connection_age=0.2, max_connection_age_grace=0.2)
    async with RawClient.connect(served.address) as client:
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]
        await asyncio.wait_for(client.closed.wait(), 10)
        assert client.goaway is not None
        assert client.goaway.error_code == 0
    async with RawClient.connect(served.address) as client:
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]


def call_headers_of(path: bytes, **others: bytes) -> list[tuple[bytes, bytes]]:
    headers = [(name.encode(), value.encode()) for name, value in call_headers("/") if name != ":path"]
    return [
        *headers[:2],
        (b":path", path),
        *headers[2:],
        *((k.replace("_", "-").encode(), v) for k, v in others.items()),
    ]


@pytest.mark.parametrize(
    "path",
    [b"/t/\xff", b"\xff", b"/t/echo\xff", b"/t/\xc3\xa9", b"/\x80/" + b"\xf0" * 1000, b"/" + b"a" * 60_000, b"", b"*"],
)
async def test_path_that_names_no_method_ends_its_call_only(serve, path):
    """One that is not UTF-8 ended the server."""
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client, RawClient.connect(served.address) as other:
        for _ in range(10):
            stream = client.headers(call_headers_of(path))  # type: ignore[arg-type]
            client.data(stream, HELLO, end=True)
            response = await client.response(stream)
            assert response.grpc_status in (None, grpc.StatusCode.UNIMPLEMENTED.value[0])
            assert response.grpc_status is not None or response.reset or response.http_status >= 400
        assert (await other.ask(ECHO, HELLO)).messages == [b"hello"]
    async with RawClient.connect(served.address) as client:
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]


@pytest.mark.parametrize(
    "others",
    [
        {"x_user": b"bob\xff"},
        {"x_bin": b"\xff\xfe%%%"},
        {"x_bin": b"a" * 50_000},
        {"grpc_timeout": b"\xff"},
        {"grpc_encoding": b"\xff"},
        {"user_agent": b"\xff" * 100},
        {"content_type": b"application/grpc\xff"},
        {"grpc_trace_bin": b"*"},
    ],
)
async def test_header_that_is_not_utf8_ends_its_call_at_most(serve, others):
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        stream = client.headers(call_headers_of(ECHO.encode(), **others))  # type: ignore[arg-type]
        client.data(stream, HELLO, end=True)
        await client.response(stream)
    async with RawClient.connect(served.address) as client:
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]
    ended = asyncio.create_task(served.transport.ended())
    await asyncio.sleep(0.01)
    assert not ended.done()
    ended.cancel()


@pytest.mark.parametrize("seen", [96, 95, 60, 1])
async def test_calls_that_it_has_taken_are_answered_when_it_stops(serve, seen):
    """Those that Python did not know of yet were cancelled."""
    for _ in range(10):
        assert await statuses_at_the_end(serve, seen) == [0] * 96


async def statuses_at_the_end(serve, seen):
    """Of 96 calls, of which *seen* have come to the handler when the server is stopped."""
    handler = Waiting()
    served = await serve({WAIT: handler}, limits=ServerLimits(max_concurrent_streams=1000), drain_timeout=10)
    async with RawClient.connect(served.address) as client:
        streams = [client.call(WAIT, HELLO, grpc_timeout="10S") for _ in range(96)]
        await until(lambda: handler.calls >= seen, 60)
        closing = asyncio.create_task(served.transport.aclose())
        await until(lambda: client.goaway)
        handler.go.set()
        statuses = [(await client.response(stream)).grpc_status for stream in streams]
        await closing
    return statuses
