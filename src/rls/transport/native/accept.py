"""Connections as they come: accepted, counted, and for TLS begun one by one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from rls.addresses import join_address
from rls.transport.base import Closed, Connections
from rls.transport.handshakes import why
from rls.transport.listen import LOST, NO_FILES, NO_FILES_SECONDS, address_of
from rls.transport.native.connection import NativeConnection, clock

HANDSHAKES_A_TURN = 1
"""Handshakes begun in one turn of the loop: each costs 0.5 to 1.5 ms of CPU, for which calls wait."""
OLD_HANDSHAKES_A_TURN = 4
"""The same, of those that have waited for `_OLD_SECONDS`: turns are long."""
_OLD_SECONDS = 1.0
HANDSHAKE_SECONDS = 10.0
_ACCEPTS_A_TURN = 16
"""Connections accepted in one turn of the loop, for which calls wait."""
_SHUTDOWN_SECONDS = 1.0


class Acceptor:
    """Accepts connections on *listener* until closed.

    Args:
        make: Makes a connection, of the context that it begins with.
        failed: Called with a connection that has been made, but will not be.
        context: Says with which one; None to serve without TLS.
        opened: Says how many connections have been made and are open.
        bound: How many may be open, and what sets that bound.
        connections: Where they are counted.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[ssl.SSLContext | None], NativeConnection],
        failed: Callable[[NativeConnection], None],
        context: Callable[[], ssl.SSLContext] | None,
        opened: Callable[[], int],
        bound: tuple[int, str],
        connections: Connections,
    ) -> None:
        self._listener = listener
        self._make = make
        self._failed = failed
        self._context = context
        self._opened = opened
        self._most, self._bound_by = bound
        self._connections = connections
        self._closed = connections.closed
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._pause: asyncio.TimerHandle | None = None
        # Clients that have said nothing yet, which costs no CPU: until when each may be silent.
        self._silent: dict[socket.socket, asyncio.TimerHandle] = {}
        self._ready: deque[tuple[socket.socket, float]] = deque()
        self._beginning: set[asyncio.Task[None]] = set()
        self._fd = listener.fileno()
        self._loop.add_reader(self._fd, self._accept)

    async def ended(self) -> None:
        """Return when closed.

        Raises:
            OSError: The socket cannot be listened on any more.
        """
        await asyncio.shield(self._ended)

    async def aclose(self) -> None:
        """Accept what has come, then no more. Idempotent."""
        if self._ended.done():
            return
        self._accept_all()
        self._stop(None)
        for client in list(self._silent):
            self._end_silence(client)
            client.close()
        while self._ready:
            self._ready.popleft()[0].close()
        if self._beginning:
            _, late = await asyncio.wait(self._beginning, timeout=_SHUTDOWN_SECONDS)
            for task in late:
                task.cancel()

    def count(self) -> int:
        """Connections that are open, those that have not been made yet included."""
        return self._opened() + len(self._silent) + len(self._ready)

    def _stop(self, error: OSError | None) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._fd)
        if not self._ended.done():
            if error is None:
                self._ended.set_result(None)
            else:
                self._ended.set_exception(error)
                self._ended.exception()  # whoever asks is told

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if not self._accept_one():
                return

    def _accept_all(self) -> None:
        while self._accept_one():
            pass

    def _accept_one(self) -> bool:
        """Accept one connection; False where there is none, or must be none now."""
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in LOST:
                self._stop(error)
                return False
            if error.errno in NO_FILES:
                self._connections.no_files(address_of(self._listener), error)
                self._loop.remove_reader(self._fd)
                self._pause = self._loop.call_later(NO_FILES_SECONDS, self._go_on)
                return False
            return True  # it is gone again
        if self.count() >= self._most:
            client.close()
            self._refuse()
            return True
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            self._begin(client)
        else:
            self._silent[client] = self._loop.call_later(HANDSHAKE_SECONDS, self._drop_silent, client)
            self._loop.add_reader(client.fileno(), self._heard, client)
        return True

    def _go_on(self) -> None:
        self._pause = None
        if not self._ended.done():
            self._loop.add_reader(self._fd, self._accept)

    def _refuse(self) -> None:
        self._closed[Closed.TOO_MANY] += 1
        self._connections.on_refused(
            f"{self._most} connections are open, as many as {self._bound_by} allows; new ones are closed"
        )

    def _end_silence(self, client: socket.socket) -> None:
        self._silent.pop(client).cancel()
        self._loop.remove_reader(client.fileno())

    def _drop_silent(self, client: socket.socket) -> None:
        self._end_silence(client)
        self._give_up(client, f"the client sent nothing for {HANDSHAKE_SECONDS:g} s")

    def _give_up(self, client: socket.socket, reason: str) -> None:
        """Close a connection whose handshake was not begun."""
        address = _address_of(client)
        client.close()
        self._connections.handshake_failed(address, reason)

    def _heard(self, client: socket.socket) -> None:
        """The first bytes of a handshake are there, or the client is gone, as a probe of the port is."""
        self._end_silence(client)
        if _is_gone(client):
            client.close()
            return
        if not self._ready:
            self._loop.call_soon(self._shake_hands)
        self._ready.append((client, clock() + HANDSHAKE_SECONDS))

    def _shake_hands(self) -> None:
        """Begin a handshake or a few. Those that have waited too long are given up: their clients will have been."""
        now = clock()
        begun = 0
        while self._ready and begun < OLD_HANDSHAKES_A_TURN:
            client, until = self._ready[0]
            if begun >= HANDSHAKES_A_TURN and now < until - HANDSHAKE_SECONDS + _OLD_SECONDS:
                break
            self._ready.popleft()
            if now > until:
                self._give_up(client, f"it did not begin within {HANDSHAKE_SECONDS:g} s: this process is too busy")
            else:
                begun += 1
                self._begin(client)
        if self._ready:
            self._loop.call_soon(self._shake_hands)

    def _begin(self, client: socket.socket) -> None:
        context = None if self._context is None else self._context()
        task = self._loop.create_task(self._serve(client, context, self._make(context)))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _serve(self, client: socket.socket, context: ssl.SSLContext | None, made: NativeConnection) -> None:
        options: dict[str, Any] = {}
        address = "" if context is None else _address_of(client)
        if context is not None:
            options = {
                "ssl": context,
                "ssl_handshake_timeout": HANDSHAKE_SECONDS,
                "ssl_shutdown_timeout": _SHUTDOWN_SECONDS,
            }
        try:
            await self._loop.connect_accepted_socket(lambda: made, client, **options)
        except BaseException as error:
            self._failed(made)
            client.close()
            if not isinstance(error, OSError):
                raise
            if context is not None:
                self._connections.handshake_failed(address, why(error))


def _is_gone(client: socket.socket) -> bool:
    """Whether *client* was closed before it sent a byte."""
    try:
        return not client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _address_of(client: socket.socket) -> str:
    """`HOST:PORT` of *client*; "unknown" where it is gone."""
    try:
        return join_address(*client.getpeername()[:2])
    except OSError:
        return "unknown"
