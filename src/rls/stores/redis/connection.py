"""One connection to one Redis node: bytes out, replies in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import hiredis

from rls.errors import BackendError


class NodeConnection(asyncio.Protocol):
    """A connection that is open. One write is under way at a time.

    Args:
        address: Where it leads, for messages.

    Attributes:
        has_answered: Whether there has been a reply, of whatever kind.
        on_lost: Called once, with the reason, when the connection is gone.
        on_refused: Called when whoever is at its end turns out to be of no use; see `leave`.
    """

    def __init__(self, address: str) -> None:
        self.on_lost: Callable[[BackendError], None] | None = None
        self.on_refused: Callable[[], None] = lambda: None
        self.has_answered = False
        self._lost: BackendError | None = None
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

    async def ask(self, commands: bytes, expected: int) -> list[Any]:
        """The replies to packed *commands*, an error reply as an exception; for a connection that nobody else uses yet.

        Raises:
            BackendError: The connection is gone.
        """
        replies: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def lost(error: BackendError) -> None:
            if not replies.done():
                replies.set_exception(error)

        def landed(found: list[Any]) -> None:
            if not replies.done():
                replies.set_result(found)

        self.on_lost = lost
        if self._lost is not None:
            raise self._lost
        self.send(commands, expected, landed)
        return await replies

    def hand_over(self, on_lost: Callable[[BackendError], None]) -> None:
        """From now on *on_lost* is called when it is gone.

        Raises:
            BackendError: It is gone already.
        """
        if self._lost is not None:
            raise self._lost
        self.on_lost = on_lost

    def leave(self, reason: str) -> None:
        """Give the connection up for *reason*: the next one is to lead elsewhere, where its name has other addresses."""
        self.on_refused()
        self.lose(reason)

    def lose(self, reason: str) -> None:
        """Give the connection up."""
        on_lost, self.on_lost = self.on_lost, None
        self._on_replies = None
        if self._transport is not None:
            self._transport.abort()
        if self._lost is None:
            self._lost = BackendError(f"Redis at {self._address}: {reason}")
        if on_lost is not None:
            on_lost(self._lost)

    def close(self) -> None:
        """Close the connection; nothing is called any more."""
        self.on_lost = self._on_replies = None
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
            self.lose(f"sent what is not RESP: {error}")
            return
        self.has_answered = self.has_answered or bool(replies)
        if len(replies) >= self._expected and self._on_replies is not None:
            on_replies, self._on_replies = self._on_replies, None
            self._replies = []
            on_replies(replies)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        said = next((f": {reply}" for reply in self._replies if isinstance(reply, Exception)), "")
        self.lose((f"connection lost: {error}" if error else "connection closed by the server") + said)
