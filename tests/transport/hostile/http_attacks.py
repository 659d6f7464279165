"""What hostile clients do to the HTTP addresses, each for about *SECONDS*; they come back when they are cut off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator

from tests.transport.hostile.attacks import Attack, connection_churn, half_sent, persist
from tests.transport.raw import PREFACE

SECONDS = 0.7
CHECK = b"POST /json HTTP/1.1\r\nhost: rls\r\n"
TINY = b'{"domain":"hostile","descriptors":[%b]}'
BODIES = {
    "empty descriptors": TINY % b",".join([b"{}"] * 5_400),
    "tiny descriptors": TINY % b",".join([b'{"entries":[{"key":"a"}]}'] * 620),
    "tiny entries": TINY % (b'{"entries":[%b]}' % b",".join([b"{}"] * 5_400)),
    "deep": b"[" * 16_000,
    "names that are twice": b"{" + b",".join([b'"a":1'] * 2_700) + b"}",
    "a number of 16,000 digits": TINY % (b"9" * 16_000),
}


def post(body: bytes) -> bytes:
    return CHECK + b"content-length: %d\r\n\r\n" % len(body) + body


@contextlib.asynccontextmanager
async def connected(address: str, *, read: bool = True) -> AsyncIterator[socket.socket]:
    """A connection; what comes back is thrown away, or left unread in a small buffer."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        if not read:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.wait_for(loop.sock_connect(client, (host, int(port))), SECONDS)
        reading = asyncio.create_task(_throw_away(client)) if read else None
        try:
            yield client
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.wait([reading])


async def _throw_away(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(client, 1 << 16):
            pass


async def send(client: socket.socket, data: bytes) -> None:
    """Send *data*; waits where the server does not read, but not longer than the attack."""
    await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(client, data), SECONDS)


def sending(data: bytes, *, connections: int, again: bool = False, pause: float = 0.05, read: bool = True) -> Attack:
    """Sends *data* on each of *connections* connections, once or *again* and again, and holds them."""

    async def attack(address: str) -> None:
        async def once(end: float) -> None:
            async with connected(address, read=read) as client:
                await send(client, data)
                while time.monotonic() < end:
                    await asyncio.sleep(pause)
                    if again:
                        await send(client, data)

        await asyncio.gather(*(persist(once) for _ in range(connections)))

    return attack


def dribbling(data: bytes, *, connections: int) -> Attack:
    """Sends *data* byte by byte."""

    async def attack(address: str) -> None:
        async def once(end: float) -> None:
            async with connected(address) as client:
                for byte in data:
                    if time.monotonic() > end:
                        return
                    await send(client, bytes([byte]))
                    await asyncio.sleep(0.005)

        await asyncio.gather(*(persist(once) for _ in range(connections)))

    return attack


async def slow_readers(address: str, path: bytes) -> None:
    """Many ask for something long, and read a little of it now and then."""

    async def once(end: float) -> None:
        async with connected(address, read=False) as client:
            await send(client, b"GET %b HTTP/1.1\r\nhost: rls\r\n\r\n" % path)
            while time.monotonic() < end:
                await asyncio.sleep(0.1)
                await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 100), SECONDS)

    await asyncio.gather(*(persist(once) for _ in range(100)))


async def reset_while_answered(address: str) -> None:
    """A client that is gone when its answer comes."""
    linger = struct.pack("ii", 1, 0)

    async def once(_: float) -> None:
        async with connected(address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await send(client, b"GET /metrics HTTP/1.1\r\nhost: rls\r\n\r\n" + post(BODIES["tiny descriptors"]))

    await asyncio.gather(*(persist(once) for _ in range(20)))


GET = b"GET /%b HTTP/1.1\r\nhost: rls\r\n"
CHUNKED = CHECK + b"transfer-encoding: chunked\r\n\r\n"
ATTACKS: dict[str, Attack] = {
    "half-sent bodies": sending(CHECK + b"content-length: 9\r\n\r\n{", connections=64),
    "half-sent bodies on 300 connections": sending(CHECK + b"content-length: 9\r\n\r\n{", connections=300),
    "half-sent heads": sending(CHECK, connections=300),
    "heads, byte by byte": dribbling(CHECK + b"x: y\r\n" * 200, connections=100),
    "bodies, byte by byte": dribbling(CHECK + b"content-length: 999\r\n\r\n" + b" " * 999, connections=100),
    "idle connections": sending(b"", connections=300),
    "connection churn": connection_churn,
    "resets while answered": reset_while_answered,
    **{f"/json: {name}": sending(post(body), connections=16, again=True) for name, body in BODIES.items()},
    "bodies of 600 KB": sending(post(b" " * 600_000), connections=16, again=True),
    "bodies of 1 MB": sending(post(b" " * 1_000_000), connections=8, again=True),
    "bodies of 1 GB": sending(
        CHECK + b"content-length: 1000000000\r\n\r\n" + b" " * 100_000, connections=16, again=True
    ),
    "one-byte chunks": sending(CHUNKED + b"1\r\n \r\n" * 20_000, connections=16),
    "chunks without end": sending(CHUNKED + b"400\r\n%b\r\n" % (b" " * 1024) * 100, connections=16, again=True),
    "chunks that are none": sending(CHUNKED + b"zz\r\n", connections=64),
    "continuation that does not come": sending(
        CHECK + b"content-length: 9\r\nexpect: 100-continue\r\n\r\n", connections=100
    ),
    "bodies longer than they say": sending(
        CHECK + b"content-length: 2\r\n\r\n{}" + b"x" * 1000, connections=64, again=True
    ),
    "two lengths": sending(CHECK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", connections=64),
    "request line of 1 MB": sending(GET % (b"x" * 1_000_000) + b"\r\n", connections=8),
    "10,000 header lines": sending(GET % b"healthz" + b"a:\r\n" * 10_000 + b"\r\n", connections=16),
    "4,000 header lines, many times": sending((GET % b"healthz" + b"a:\r\n" * 4_000 + b"\r\n") * 20, connections=16),
    "pipelined": sending((GET % b"nothing" + b"\r\n") * 1_000, connections=16, again=True),
    "pipelined, never read": sending((GET % b"readyz" + b"\r\n") * 1_000, connections=64, again=True, read=False),
    "HTTP/1.0": sending(b"GET /healthz HTTP/1.0\r\n\r\n" * 100, connections=64, again=True),
    "metrics never read": sending(GET % b"metrics" + b"\r\n", connections=100, read=False),
    "metrics read slowly": lambda address: slow_readers(address, b"/metrics"),
    "metrics by many": sending(GET % b"metrics" + b"\r\n", connections=64, again=True, pause=0),
    "upgrades": sending(
        GET % b"healthz" + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n\r\n",
        connections=64,
        again=True,
    ),
    "half-sent calls of HTTP/2": sending(PREFACE + b"".join(map(half_sent, range(1, 129, 2))), connections=4),
    "TLS": sending(bytes.fromhex("16030100c8010000c40303") + bytes(192), connections=64),
    "garbage": sending(os.urandom(1000), connections=64),
}
ADMIN_ATTACKS: dict[str, Attack] = {
    "rules never read": sending(GET % b"rlconfig" + b"\r\n", connections=100, read=False),
    "rules read slowly": lambda address: slow_readers(address, b"/rlconfig?format=json"),
    "rules by many": sending(GET % b"rlconfig?format=json" + b"\r\n", connections=64, again=True, pause=0),
    "half-sent heads": ATTACKS["half-sent heads"],
}
