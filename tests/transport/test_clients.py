"""Clients that others wrote get the same answers from both transports."""

import asyncio
import gzip
import shutil
import subprocess

import grpc
import pytest
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError

from rls.api.health import CHECK, WATCH
from rls.errors import RequestError
from rls.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from rls.transport.handler import Call
from tests.redis_server import missing
from tests.transport.raw import message

ECHO, FAIL = "/t/echo", "/t/fail"


async def echo(call: Call) -> bytes:
    return call.message


async def fail(call: Call) -> bytes:
    raise RequestError("100 % falsch: ü")


UNARY = {ECHO: echo, FAIL: fail}


class Bytes(CodecBase):
    """grpclib's codec for messages that stay bytes."""

    __content_subtype__ = "proto"

    def encode(self, message, message_type):
        return message

    def decode(self, data, message_type):
        return data


@pytest.fixture
async def grpclib_channel(serve):
    served = await serve(UNARY)
    host, _, port = served.address.rpartition(":")
    async with Channel(host, int(port), codec=Bytes()) as channel:
        yield channel


@pytest.fixture
async def grpcio_channel(serve):
    served = await serve(UNARY)
    async with grpc.aio.insecure_channel(served.address) as channel:
        yield channel


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(1_048_576)], ids=["empty", "small", "as long as allowed"])
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip], ids=["plain", "gzip"])
async def test_grpcio_calls(grpcio_channel, payload, compression):
    call = grpcio_channel.unary_unary(ECHO)
    assert await call(payload, timeout=10, compression=compression) == payload


async def test_grpcio_sends_metadata(grpcio_channel):
    call = grpcio_channel.unary_unary(ECHO)
    metadata = (("x-text", "value"), ("x-data-bin", bytes(range(256))))
    assert await call(b"hello", timeout=10, metadata=metadata) == b"hello"


@pytest.mark.parametrize(
    ("path", "payload", "code"),
    [
        (FAIL, b"", grpc.StatusCode.INVALID_ARGUMENT),
        ("/t/other", b"", grpc.StatusCode.UNIMPLEMENTED),
        (ECHO, bytes(1_048_577), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (ECHO, bytes(3_000_000), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["error", "unknown method", "too long", "far too long"],
)
async def test_grpcio_is_told_the_status(grpcio_channel, path, payload, code):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await grpcio_channel.unary_unary(path)(payload, timeout=10)
    assert raised.value.code() is code


async def test_grpcio_is_told_the_text(grpcio_channel):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await grpcio_channel.unary_unary(FAIL)(b"", timeout=10)
    assert raised.value.details() == "100 % falsch: ü"


async def test_grpcio_calls_at_once(grpcio_channel):
    """More than a connection takes at a time: the others wait for their turn."""
    call = grpcio_channel.unary_unary(ECHO)
    await call(b"", timeout=10)  # by now the client knows how many that are
    payloads = [b"%d" % i for i in range(500)]
    assert await asyncio.gather(*(call(payload, timeout=20) for payload in payloads)) == payloads


async def test_grpcio_watches_health(grpcio_channel):
    request = HealthCheckRequest(service="ratelimit").SerializeToString()
    watch = grpcio_channel.unary_stream(WATCH)(request, timeout=10)
    assert HealthCheckResponse.FromString(await watch.read()).status == HealthCheckResponse.SERVING
    watch.cancel()


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(1_048_576)], ids=["empty", "small", "as long as allowed"])
async def test_grpclib_calls(grpclib_channel, payload):
    assert await UnaryUnaryMethod(grpclib_channel, ECHO, bytes, bytes)(payload, timeout=10) == payload


async def test_grpclib_sends_metadata(grpclib_channel):
    call = UnaryUnaryMethod(grpclib_channel, ECHO, bytes, bytes)
    metadata: list[tuple[str, str | bytes]] = [("x-text", "value"), ("x-data-bin", bytes(range(256)))]
    assert await call(b"hello", timeout=10, metadata=metadata) == b"hello"


async def test_grpclib_is_told_status_and_text(grpclib_channel):
    with pytest.raises(GRPCError) as raised:
        await UnaryUnaryMethod(grpclib_channel, FAIL, bytes, bytes)(b"", timeout=10)
    assert (raised.value.status, raised.value.message) == (Status.INVALID_ARGUMENT, "100 % falsch: ü")


async def test_grpclib_calls_at_once(grpclib_channel):
    """More than a connection takes at a time: the others wait for their turn."""
    call = UnaryUnaryMethod(grpclib_channel, ECHO, bytes, bytes)
    await call(b"", timeout=10)  # by now the client knows how many that are
    payloads = [b"%d" % i for i in range(300)]
    assert await asyncio.gather(*(call(payload, timeout=20) for payload in payloads)) == payloads


async def test_grpclib_checks_health(grpclib_channel):
    request = HealthCheckRequest(service="").SerializeToString()
    response = await UnaryUnaryMethod(grpclib_channel, CHECK, bytes, bytes)(request, timeout=10)
    assert HealthCheckResponse.FromString(response).status == HealthCheckResponse.SERVING


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_curl_calls(serve, tmp_path, encoding):
    body = message(gzip.compress(b"hello"), 1) if encoding == "gzip" else message(b"hello")
    headers, answer = await curl(serve, tmp_path, ECHO, body, "te: trailers", f"grpc-encoding: {encoding}")
    assert headers.startswith("HTTP/2 200")
    assert "\ngrpc-status: 0\r\n" in headers
    assert answer == message(b"hello")


async def test_curl_is_told_the_status(serve, tmp_path):
    headers, answer = await curl(serve, tmp_path, FAIL, message(b""), "te: trailers")
    assert headers.startswith("HTTP/2 200")
    assert "\ngrpc-status: 3\r\n" in headers
    assert "\ngrpc-message: 100 %25 falsch: %C3%BC\r\n" in headers
    assert answer == b""


async def curl(serve, folder, path: str, body: bytes, *headers: str) -> tuple[str, bytes]:
    """POST *body* by HTTP/2; all headers, those after the body too, and the body that came back."""
    program = shutil.which("curl") or missing("needs curl")
    served = await serve(UNARY)
    (folder / "body").write_bytes(body)
    command = [program, "--silent", "--show-error", "--max-time", "10", "--http2-prior-knowledge"]
    command += ["--data-binary", f"@{folder / 'body'}", "--dump-header", folder / "headers", "--output", folder / "out"]
    for header in ("content-type: application/grpc", *headers):
        command += ["--header", header]
    (folder / "out").touch()
    await asyncio.to_thread(subprocess.run, [*command, f"http://{served.address}{path}"], check=True)
    return (folder / "headers").read_bytes().decode(), (folder / "out").read_bytes()
