"""One connection to one Redis node: bytes out, replies in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import hiredis

from rls.errors import BackendError


class NodeConnection(asyncio.Protocol):
    """A connection. One write is under way at a time.

    Args:
        address: Where it leads, for messages.

    Attributes:
        has_answered: Whether there has been a reply, of whatever kind.
        on_disconnect: Called once, with the reason, when the connection is gone.
        on_abandon: Called when the node at its end is of no use; see `abandon`.
    """

    def __init__(self, address: str) -> None:
        self.on_disconnect: Callable[[BackendError], None] | None = None
        self.on_abandon: Callable[[], None] = lambda: None
        self.has_answered = False
        self._error: BackendError | None = None  # why it is gone
        self._address = address
        self._transport: asyncio.WriteTransport | None = None
        self._reader = hiredis.Reader()
        self._replies: list[Any] = []
        self._expected = 0
        self._on_replies: Callable[[list[Any]], None] | None = None

    def send(self, commands: bytes, expected: int, on_replies: Callable[[list[Any]], None]) -> None:
        """Write *commands*; *on_replies* is called with their *expected* ≥ 1 replies once all of them are there."""
        self._expected = expected
        self._on_replies = on_replies
        assert self._transport is not None
        self._transport.write(commands)

    async def query(self, commands: bytes, expected: int) -> list[Any]:
        """The replies to packed *commands*, an error reply as an exception; for a connection that nobody else uses yet.

        Raises:
            BackendError: The connection is gone.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def on_disconnect(error: BackendError) -> None:
            if not future.done():
                future.set_exception(error)

        def on_replies(replies: list[Any]) -> None:
            if not future.done():
                future.set_result(replies)

        self.hand_over(on_disconnect)
        self.send(commands, expected, on_replies)
        return await future

    def hand_over(self, on_disconnect: Callable[[BackendError], None]) -> None:
        """From now on *on_disconnect* is called when the connection is gone.

        Raises:
            BackendError: It is gone already.
        """
        if self._error is not None:
            raise self._error
        self.on_disconnect = on_disconnect

    def abandon(self, reason: str) -> None:
        """Disconnect for *reason*, and let the next connection lead elsewhere, if the name has other addresses."""
        self.on_abandon()
        self.disconnect(reason)

    def disconnect(self, reason: str) -> None:
        """Close the connection for *reason*."""
        on_disconnect, self.on_disconnect = self.on_disconnect, None
        self._on_replies = None
        if self._transport is not None:
            self._transport.abort()
        if self._error is None:
            self._error = BackendError(f"Redis at {self._address}: {reason}")
        if on_disconnect is not None:
            on_disconnect(self._error)

    def close(self) -> None:
        """Close the connection; nothing is called any more."""
        self.on_disconnect = self._on_replies = None
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect replies; see `asyncio.Protocol`."""
        reader = self._reader
        replies = self._replies
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError as error:
            self.disconnect(f"sent what is not RESP: {error}")
            return
        self.has_answered = self.has_answered or bool(replies)
        if len(replies) >= self._expected and self._on_replies is not None:
            on_replies, self._on_replies = self._on_replies, None
            self._replies = []
            on_replies(replies)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        said = next((f": {reply}" for reply in self._replies if isinstance(reply, Exception)), "")
        self.disconnect((f"connection lost: {error}" if error else "connection closed by the server") + said)
