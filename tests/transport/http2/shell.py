"""The least that it takes to serve with the core: for tests against other implementations."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import cast

from rls.transport.http2 import Connection, ConnectionLimits, Request, Responder, Routes, Streaming, Unary
from tests.transport.http2.peer import Sender


def echo(connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
    connection.respond(stream_id, message)


class Echo(Sender):
    """Answers every message of a streaming call with itself."""

    def __init__(self, connection: Responder, stream_id: int, request: Request, now: float) -> None:
        super().__init__(connection, stream_id)

    def message(self, message: bytes, now: float) -> None:
        self.send(message)

    def end(self, now: float) -> None:
        self.finish()


ROUTES: Routes = {b"/echo/Unary": Unary(echo), b"/echo/Stream": Streaming(Echo)}


@contextlib.asynccontextmanager
async def serving(limits: ConnectionLimits | None = None) -> AsyncIterator[int]:
    """A server; its port."""
    shells: list[Shell] = []

    def begin() -> Shell:
        shells.append(Shell(ROUTES, limits))
        return shells[-1]

    server = await asyncio.get_running_loop().create_server(begin, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for shell in shells:
            shell.transport.abort()
        await server.wait_closed()


class Shell(asyncio.Protocol):
    """One connection on asyncio; keepalive and deadlines are left out."""

    def __init__(self, routes: Routes = ROUTES, limits: ConnectionLimits | None = None) -> None:
        self.connection = Connection(routes, limits or ConnectionLimits(), time.monotonic())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.flush()

    def data_received(self, data: bytes) -> None:
        while self.connection.receive(data, time.monotonic()):
            data = b""
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.lost()

    def flush(self) -> None:
        self.transport.write(self.connection.data_to_send())
        if self.connection.is_drained:
            self.transport.close()
