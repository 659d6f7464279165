"""HTTP/1.1 on an address: probes are answered whatever other clients do.

uvicorn alone cannot promise that: it waits for the rest of a request without end, and sheds probes with all others. So
connections are accepted here, and there is always room for one more: the oldest that waits for its client gives way. What
the connections of all clients may cost in one turn of the loop is bounded, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from rls.transport.base import Closed, Connections
from rls.transport.http1.connection import SECONDS_IDLE, Connection, Phase
from rls.transport.listen import LOST, NO_FILES, NO_FILES_SECONDS, address_of, close_listener, keep_listening, listen

CONNECTIONS = 64
KEPT = 8
"""Of the connections, so many are kept for what comes new: while they are taken, each is closed after its answer."""

_LOG = logging.getLogger(__name__)
_REASONS = (Closed.TOO_MANY, Closed.SLOW_READER, Closed.TIMEOUT, Closed.CLIENT_ERROR)
_SLICE_SECONDS = 0.0005
_FINISH_SECONDS = 1.0
_LEAST_AGE = 0.02
"""Seconds that a client has to send something before its connection may be given to another."""

# It warns of each request that is none: a client could fill the log.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class HttpListener:
    """Serves the ASGI application *app*.

    Args:
        app: Finds its `Connection` in the state of its scope.
        address: See `listen`.
        name: In the name of its task.
        connections: At one time.
        counted: Where they are counted.
    """

    def __init__(
        self,
        app: Any,
        address: str,
        *,
        name: str = "http",
        connections: int = CONNECTIONS,
        counted: Connections | None = None,
    ) -> None:
        self.address = address
        """Where it listens; after `start` with the port that the kernel gave."""
        self._config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(SECONDS_IDLE),
        )
        self._state = ServerState()
        self._name = name
        self._most = connections
        self._connections: dict[Connection, None] = {}
        self._counted = counted or Connections()
        self._counted.begin(lambda: len(self._connections), connections, _REASONS)
        self._left = asyncio.Event()
        self._unfed: deque[Connection] = deque()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            SettingsError: The address is taken or unusable.
        """
        self._listener = listen(self.address)
        self.address = address_of(self._listener)
        self._accepting = asyncio.create_task(self._accept(self._listener), name=f"{self._name} accepts")

    async def ended(self) -> None:
        """Return when it accepts no more.

        Raises:
            OSError: The socket cannot be listened on any more.
        """
        assert self._accepting is not None
        await asyncio.wait([self._accepting])
        if not self._accepting.cancelled():
            self._accepting.result()

    async def listening(self) -> None:
        """Check every second whether clients can connect, until cancelled.

        Raises:
            OSError: Nobody listens any more.
        """
        assert self._listener is not None
        await keep_listening(self._listener)

    async def aclose(self) -> None:
        """Stop accepting, let what is in flight finish, close. Idempotent."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._listener is not None:
            close_listener(self._listener)
        for connection in list(self._connections):
            connection.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FINISH_SECONDS):
                while self._connections:
                    self._left.clear()
                    await self._left.wait()
        for connection in list(self._connections):
            connection.abort()
            self.closed(connection)
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=_FINISH_SECONDS)
            for task in late:
                task.cancel()

    def opened(self, connection: Connection) -> None:
        """See `Owner`."""
        self._connections[connection] = None

    def closed(self, connection: Connection) -> None:
        """See `Owner`."""
        self._connections.pop(connection, None)
        self._left.set()

    def gave_up(self, why: Closed) -> None:
        """See `Owner`."""
        self._counted.closed[why] += 1

    def feed_soon(self, connection: Connection) -> None:
        """See `Owner`."""
        if not self._unfed:
            asyncio.get_running_loop().call_soon(self._feed)
        if connection not in self._unfed:
            self._unfed.append(connection)

    def _feed(self) -> None:
        """Let connections work through what they got: in each turn of the loop one request, or half a millisecond."""
        end = time.monotonic() + _SLICE_SECONDS
        while self._unfed:
            connection = self._unfed[0]
            more = self._fed(connection)
            self._unfed.popleft()
            if more:
                self._unfed.append(connection)
            if time.monotonic() > end or connection.phase is Phase.ANSWER:
                break
        if self._unfed:
            asyncio.get_running_loop().call_soon(self._feed)

    def _fed(self, connection: Connection) -> bool:
        try:
            return connection.feed()
        except Exception:  # noqa: BLE001 - one must not take the others with it
            _LOG.exception("internal error: a connection failed (please report)")
            connection.abort()
            return False

    @property
    def crowded(self) -> bool:
        """See `Owner`."""
        return len(self._connections) > self._most - KEPT

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            accepted = await self._next(listener)
            try:
                while len(self._connections) >= self._most and not self._make_room():
                    self._left.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LEAST_AGE / 2):
                            await self._left.wait()
            except BaseException:
                accepted.close()
                raise
            # Where it is cancelled, uvloop closes a connection without a word to it.
            self._connecting = asyncio.create_task(self._connect(accepted))
            await asyncio.shield(self._connecting)

    async def _connect(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Connection(self, self._config, self._state, loop), accepted)
        except OSError:  # it is gone again
            accepted.close()

    async def _next(self, listener: socket.socket) -> socket.socket:
        """The next connection.

        Raises:
            OSError: There will be no next one.
        """
        while True:
            try:
                return (await asyncio.get_running_loop().sock_accept(listener))[0]
            except OSError as error:
                if error.errno in LOST:
                    raise
                if error.errno in NO_FILES:
                    self._counted.no_files(self.address, error)
                    self._make_room()
                await asyncio.sleep(NO_FILES_SECONDS if error.errno in NO_FILES else 0)

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its client, if there is one that waits."""
        now = asyncio.get_running_loop().time()
        waiting = [
            one
            for one in self._connections
            if one.phase is Phase.CLOSING
            or (
                now - one.since > _LEAST_AGE
                and one not in self._unfed
                and (one.phase is not Phase.ANSWER or one.stalled)
            )
        ]
        if not waiting:
            return False
        victim = min(waiting, key=lambda one: (one.phase is not Phase.CLOSING, one.phase is Phase.ANSWER, one.since))
        victim.give_up(Closed.TOO_MANY)
        self.closed(victim)
        return True
