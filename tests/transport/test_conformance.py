"""What all transports make of calls, down to the byte; where they differ, each one's way stands in the case."""

import asyncio
import gzip
import zlib
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from rls.errors import BackendError, RequestError
from rls.transport.base import ServerLimits
from rls.transport.handler import Call
from tests.transport.raw import PREFIX, RawClient, call_headers, message

ECHO = "/t/echo"
HELLO = message(b"hello")
MAX_BYTES = 50_000
OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED = 0, 3, 4
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 12, 13, 14
UNANSWERED = "unanswered"
RESET = "reset"


async def echo(call: Call) -> bytes:
    return call.message


class Case(NamedTuple):
    """A call that is not quite right, and what it ends with: a gRPC status, or one of several, "HTTP 415", or not at all."""

    name: str
    chunks: tuple[bytes, ...]
    headers: dict[str, Any]
    native: int | str
    grpcio: int | str | tuple[int, ...]


def case(
    name: str,
    *chunks: bytes,
    native: int | str,
    grpcio: int | str | tuple[int, ...] | None = None,
    **headers: Any,
) -> Case:
    return Case(name, chunks or (HELLO,), headers, native, native if grpcio is None else grpcio)


MALFORMED = [
    case("no message", b"", native=UNIMPLEMENTED, grpcio=UNIMPLEMENTED),
    case("end within the prefix", b"\0\0", native=INTERNAL, grpcio=UNIMPLEMENTED),
    case("end within the message", PREFIX.pack(0, 50) + b"hello", native=INTERNAL, grpcio=UNIMPLEMENTED),
    case("more than the prefix says", PREFIX.pack(0, 2) + b"hello", native=UNIMPLEMENTED, grpcio=OK),
    case("two messages", HELLO + HELLO, native=UNIMPLEMENTED, grpcio=OK),
    case("two messages in two frames", HELLO, HELLO, native=UNIMPLEMENTED, grpcio=OK),
    case("a thousand messages", HELLO * 1000, native=UNIMPLEMENTED, grpcio=OK),
    # grpc reads such a message, but for once in a while, when it sees the end of the call first.
    case("flag 2", message(b"hello", 2), native=INTERNAL, grpcio=(OK, UNIMPLEMENTED)),
    case("flag 255", message(b"hello", 255), native=INTERNAL, grpcio=(OK, UNIMPLEMENTED)),
    case("too long by one", message(b"x" * (MAX_BYTES + 1)), native=RESOURCE_EXHAUSTED),
    case("4 GiB by its prefix", PREFIX.pack(0, 2**32 - 1) + b"x", native=RESOURCE_EXHAUSTED),
    case("compressed by nothing", message(b"hello", 1), native=INTERNAL),
    case("compressed by identity", message(b"hello", 1), grpc_encoding="identity", native=INTERNAL),
    case("compressed by br", message(b"hello", 1), grpc_encoding="br", native=UNIMPLEMENTED, grpcio=INTERNAL),
    case("deflated", message(zlib.compress(b"hello"), 1), grpc_encoding="deflate", native=UNIMPLEMENTED, grpcio=OK),
    case("not gzip", message(b"hello", 1), grpc_encoding="gzip", native=INTERNAL),
    case("gzip cut short", message(gzip.compress(b"hello")[:-9], 1), grpc_encoding="gzip", native=INTERNAL),
    case("gzip and more", message(gzip.compress(b"hello") + b"x", 1), grpc_encoding="gzip", native=INTERNAL),
    case(
        "gzip of one byte too many",
        message(gzip.compress(bytes(MAX_BYTES + 1)), 1),
        grpc_encoding="gzip",
        native=RESOURCE_EXHAUSTED,
    ),
    case("gzip of 16 MiB", message(gzip.compress(bytes(1 << 24)), 1), grpc_encoding="gzip", native=RESOURCE_EXHAUSTED),
    case("no unit of time", grpc_timeout="1", native=INTERNAL),
    case("no time", grpc_timeout="m", native=INTERNAL),
    case("unknown unit of time", grpc_timeout="1x", native=INTERNAL),
    case("nine digits of time", grpc_timeout="123456789m", native=INTERNAL, grpcio=OK),
    case("negative time", grpc_timeout="-1m", native=INTERNAL),
    case("no time left", grpc_timeout="0m", native=DEADLINE_EXCEEDED),
    case("metadata that is not base64", x_bin="!!!", native=OK, grpcio=INTERNAL),
    case("JSON", content_type="application/json", native="HTTP 415", grpcio=OK),
    case("gRPC-Web", content_type="application/grpc-web", native="HTTP 415", grpcio=OK),
    case("gRPC of JSON", content_type="application/grpc+json", native="HTTP 415", grpcio=OK),
    case("no content type", content_type=None, native="HTTP 415", grpcio=OK),
    case("GET", method="GET", native="HTTP 405", grpcio=RESET),
    case("no trailers", te=None, native="HTTP 400", grpcio=RESET),
]


@pytest.mark.parametrize("malformed", MALFORMED, ids=lambda case: case.name)
async def test_malformed_call_ends_with_its_status_and_the_connection_goes_on(serve, kind, malformed):
    served = await serve({ECHO: echo}, limits=ServerLimits(max_message_bytes=MAX_BYTES))
    expected = getattr(malformed, kind)
    async with RawClient.connect(served.address) as client:
        stream = client.call(ECHO, *malformed.chunks, **malformed.headers)
        if expected != UNANSWERED:
            response = await client.response(stream)
            if expected == RESET:
                assert response.reset is not None
            elif isinstance(expected, str):
                assert f"HTTP {response.http_status}" == expected
            else:
                assert response.http_status == 200
                assert response.grpc_status in (expected if isinstance(expected, tuple) else (expected,))
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content_type": "application/grpc+proto"},
        {"content_type": "application/grpc; charset=utf-8"},
        {"content_type": "APPLICATION/GRPC"},
        {"grpc_timeout": "99999999H"},
        {"grpc_timeout": "10M"},
        {"grpc_timeout": "10S"},
        {"grpc_timeout": "10000m"},
        {"grpc_timeout": "10000000u"},
        {"grpc_timeout": "99999999n"},
        {"x_custom": "value", "x_custom_bin": "AAECAw"},
        {"grpc_encoding": "gzip"},
        {f"x_{i}": "v" * 100 for i in range(80)},
    ],
    ids=str,
)
async def test_call_is_served_whatever_of_the_protocol_its_headers_use(serve, headers):
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        response = await client.ask(ECHO, HELLO, **headers)
    assert (response.grpc_status, response.messages) == (OK, [b"hello"])


async def test_answer_is_headers_then_one_message_then_trailers(serve):
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        response = await client.ask(ECHO, HELLO)
    start, trailers = response.blocks
    assert start[":status"] == "200"
    assert start["content-type"] == "application/grpc"
    assert "grpc-status" not in start
    assert response.data == HELLO
    assert trailers["grpc-status"] == "0"
    assert not any(name.startswith(":") for name in trailers)


@pytest.mark.parametrize("at", range(len(HELLO) + 1))
async def test_message_may_be_cut_into_frames_anywhere(serve, at):
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        response = await client.ask(ECHO, HELLO[:at], b"", HELLO[at:], b"")
    assert (response.grpc_status, response.messages) == (OK, [b"hello"])


async def test_message_may_come_byte_by_byte(serve):
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        stream = client.headers(call_headers(ECHO, grpc_timeout="10S"))
        for byte in HELLO:
            client.data(stream, bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        client.data(stream, b"", end=True)
        response = await client.response(stream)
    assert (response.grpc_status, response.messages) == (OK, [b"hello"])


@pytest.mark.parametrize("payload", [b"", b"\0", bytes(MAX_BYTES)], ids=["empty", "one byte", "as long as allowed"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_message_of_any_allowed_length_is_served(serve, payload, encoding):
    served = await serve({ECHO: echo}, limits=ServerLimits(max_message_bytes=MAX_BYTES))
    sent = message(gzip.compress(payload), 1) if encoding == "gzip" else message(payload)
    async with RawClient.connect(served.address) as client:
        response = await client.ask(ECHO, sent, grpc_encoding=encoding)
    assert (response.grpc_status, response.messages) == (OK, [payload])


@pytest.mark.parametrize("path", ["/t/other", "/other/echo", "/", "/t/echo/x", "/grpc.health.v1.Health/Other"])
async def test_unknown_method_is_unimplemented(serve, path):
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        response = await client.ask(path, HELLO)
    assert (response.http_status, response.grpc_status) == (200, UNIMPLEMENTED)


@pytest.mark.parametrize("kind", ["native"], indirect=True)
async def test_unsupported_compression_says_what_is_supported(serve):
    """compression.md: the server will include grpc-accept-encoding. grpcio refuses the header itself."""
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        response = await client.ask(ECHO, message(b"hello", 1), grpc_encoding="br")
    assert response.blocks[-1]["grpc-accept-encoding"] == "identity,gzip"


class OutOfCoffee(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (RequestError("domain is missing"), INVALID_ARGUMENT, "domain is missing"),
        (BackendError("Redis: 100 % böse\nnow"), UNAVAILABLE, "Redis: 100 % böse\nnow"),
        (ValueError("secret"), INTERNAL, "internal error"),
        (OutOfCoffee("secret"), INTERNAL, "internal error"),
        (asyncio.CancelledError(), UNAVAILABLE, "the call was cancelled"),
        (StopAsyncIteration(), INTERNAL, "internal error"),
        (OSError("secret"), INTERNAL, "internal error"),
        (TimeoutError("secret"), INTERNAL, "internal error"),
    ],
    ids=repr,
)
async def test_error_of_the_handler_is_a_status_but_never_unknown(serve, error, status, text):
    """An exception would become an HTTP 500, which is UNKNOWN to gRPC and tells nobody what was wrong."""

    async def fail(call: Call) -> bytes:
        raise error

    served = await serve({"/t/fail": fail, ECHO: echo})
    async with RawClient.connect(served.address) as client:
        response = await client.ask("/t/fail", HELLO)
        assert (response.http_status, response.grpc_status, response.data) == (200, status, b"")
        assert unquote(response.blocks[-1]["grpc-message"]) == text
        assert (await client.ask(ECHO, HELLO)).grpc_status == OK


async def test_errors_come_as_trailers_only(serve):
    async def fail(call: Call) -> bytes:
        raise RequestError("no")

    served = await serve({"/t/fail": fail})
    async with RawClient.connect(served.address) as client:
        response = await client.ask("/t/fail", HELLO)
    assert len(response.blocks) == 1
    assert response.blocks[0]["content-type"] == "application/grpc"


async def test_bug_is_logged_with_its_traceback(serve, caplog):
    async def fail(call: Call) -> bytes:
        raise OutOfCoffee

    served = await serve({"/t/fail": fail})
    async with RawClient.connect(served.address) as client:
        await client.ask("/t/fail", HELLO)
    (record,) = [r for r in caplog.records if r.name.startswith("rls.")]
    assert record.exc_info is not None
    assert record.exc_info[0] is OutOfCoffee
