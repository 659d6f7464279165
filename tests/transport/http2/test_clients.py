"""Other implementations of gRPC and HTTP/2 as clients of the core, on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase

from tests.transport.http2.shell import serving

LARGE = bytes(i % 256 for i in range(300_000))


@contextlib.asynccontextmanager
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    async with serving() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


@pytest.mark.parametrize("size", [0, 1, 1_024, 70_000, 300_000])
async def test_grpcio_unary(size):
    async with channel() as connected:
        call: Any = connected.unary_unary("/echo/Unary")

        assert await call(LARGE[:size], timeout=20) == LARGE[:size]


async def test_grpcio_many_at_once_with_metadata_that_differs():
    async with channel() as connected:
        call: Any = connected.unary_unary("/echo/Unary")
        payloads = [b"%d" % i for i in range(2_000)]

        answers = await asyncio.gather(
            *(
                call(one, timeout=20 + i / 1_000, metadata=[("x-request-id", f"{i:032x}")])
                for i, one in enumerate(payloads)
            )
        )

        assert answers == payloads


async def test_grpcio_streaming():
    async with channel() as connected:
        call: Any = connected.stream_stream("/echo/Stream")(timeout=20)
        answers = []

        for size in (10, 100_000, 0, 300_000):
            await call.write(LARGE[:size])
            answers.append(len(await call.read()))
        await call.done_writing()

        assert answers == [10, 100_000, 0, 300_000]
        assert await call.read() == grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK


async def test_grpcio_gzip():
    async with channel() as connected:
        call: Any = connected.unary_unary("/echo/Unary")

        assert await call(LARGE, timeout=20, compression=grpc.Compression.Gzip) == LARGE


@pytest.mark.parametrize("kind", ["unary_unary", "stream_stream"])
async def test_grpcio_is_told_what_is_unimplemented(kind):
    async with channel() as connected:
        call: Any = getattr(connected, kind)("/no/Such")(*([b"x"] if kind == "unary_unary" else []), timeout=20)

        assert await call.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_grpcio_metadata_too_large_ends_the_call_only():
    async with channel() as connected:
        call: Any = connected.unary_unary("/echo/Unary")

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"x", timeout=20, metadata=[(f"x-{i}", "v" * 1_000) for i in range(20)])
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(b"x", timeout=20) == b"x"


async def test_grpclib():
    async with serving() as port:
        channel = Channel("127.0.0.1", port, codec=Bytes())
        try:
            call = UnaryUnaryMethod(channel, "/echo/Unary", bytes, bytes)
            for _ in range(20):
                assert await call(LARGE[:100_000], timeout=20) == LARGE[:100_000]
        finally:
            channel.close()


class Bytes(CodecBase):
    """grpclib's codec of messages that are bytes already."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


async def test_curl_is_told_that_this_is_grpc():
    async with serving() as port:
        curl = shutil.which("curl")
        assert curl is not None

        ran = await asyncio.to_thread(
            subprocess.run,
            [curl, "--silent", "--http2-prior-knowledge", "--write-out", "%{http_code}", f"http://127.0.0.1:{port}/"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )

        assert ran.stdout.endswith("415")
        assert "gRPC" in ran.stdout


@pytest.mark.parametrize(
    ("size", "count", "options"), [(5, 5_000, ["-c", "4", "-m", "100"]), (1_048_576, 128, ["-c", "1", "-m", "64"])]
)
async def test_h2load(tmp_path, size, count, options):
    async with serving() as port:
        h2load = shutil.which("h2load")
        if h2load is None:
            pytest.skip("h2load is not installed")

        body = tmp_path / "body"
        body.write_bytes(b"\0" + size.to_bytes(4, "big") + bytes(size))
        arguments = ["-n", str(count), *options, "-H", "content-type: application/grpc", "-H", "te: trailers"]
        ran = await asyncio.to_thread(
            subprocess.run,
            [h2load, *arguments, "-d", str(body), f"http://127.0.0.1:{port}/echo/Unary"],
            capture_output=True,
            timeout=60,
            check=True,
        )

        assert f"{count} succeeded, 0 failed".encode() in ran.stdout, ran.stdout
        # Of a call that is shed, or late, nothing comes back but a status.
        traffic = re.search(rb"\((\d+)\) data", ran.stdout)
        assert traffic is not None
        assert int(traffic[1]) == count * (size + 5), ran.stdout
