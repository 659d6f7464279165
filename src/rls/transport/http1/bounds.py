"""What requests of HTTP may cost: the size of a body, and how many of a kind are answered at one time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from starlette.responses import PlainTextResponse, Response

from rls.printable import printable
from rls.transport.base import Closed
from rls.transport.http1.connection import Connection

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Refuse: TypeAlias = Callable[[int, str, Mapping[str, str]], Response]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_THROWN_AWAY = 1 << 20
"""Bytes of a body that are read although it is too large: most clients look for an answer only behind it."""
_SHOWN = 100
_RETRY_AFTER = {"Retry-After": "1"}


class Share:
    """How many requests of one kind are answered at one time; those whose clients leave their answers unread give way."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._inside: dict[Connection, None] = {}

    def enter(self, connection: Connection) -> bool:
        """Take a permit for the request of *connection*; False if all are taken."""
        if len(self._inside) >= self._at_most:
            stalled = next((one for one in self._inside if one.stalled), None)
            if stalled is None:
                return False
            stalled.give_up(Closed.SLOW_READER)
            self.leave(stalled)
        self._inside[connection] = None
        return True

    def leave(self, connection: Connection) -> None:
        """Give the permit back. Idempotent."""
        self._inside.pop(connection, None)


class Bounded:
    """*app*, which gets whole requests only.

    Args:
        app: Answers requests.
        max_body_bytes: What has more is answered with 413.
        shares: By kind: how many are answered at one time; others are answered with 503. Kinds that are not among them
            must be answered at once.
        kind: Of a path, the path itself by default.
        refuse: The answer of a status to what is refused: what is wrong, and more headers; plain text by default.
    """

    def __init__(
        self,
        app: App,
        *,
        max_body_bytes: int,
        shares: Mapping[str, int],
        kind: Callable[[str], str] = lambda path: path,
        refuse: Refuse = lambda status, text, headers: PlainTextResponse(f"{text}\n", status, headers),
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._kind = kind
        self._max_body_bytes = max_body_bytes
        self._shares = {one: Share(at_most) for one, at_most in shares.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._body(scope, receive)
        if body is None:  # the client is gone
            return
        if isinstance(body, Response):
            await body(scope, receive, send)
            return
        whole = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_whole() -> Message:
            return whole.pop() if whole else await receive()

        share = self._shares.get(self._kind(scope["path"]))
        if share is None:
            await self._app(scope, receive_whole, send)
            return
        connection = scope["state"]["connection"]
        if not share.enter(connection):
            text = f"too many requests for {printable(scope['path'][:_SHOWN])} are being answered"
            await self._refuse(503, text, _RETRY_AFTER)(scope, receive, send)
            return
        try:
            await self._app(scope, receive_whole, send)
        finally:
            share.leave(connection)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | Response | None:
        """The whole body; what to answer where it is too large; None where it did not come."""
        headers = dict(scope["headers"])
        length = int(headers.get(b"content-length", b"0"))
        too_large = length > self._max_body_bytes
        body = bytearray()
        size = 0
        # A client that asks whether to go on has not sent it yet.
        ends = length > _THROWN_AWAY or (too_large and b"expect" in headers)
        while not ends:
            message = await receive()
            if message["type"] != "http.request":
                return None
            size += len(message["body"])
            too_large = too_large or size > self._max_body_bytes
            if not too_large:
                body += message["body"]
            ends = not message["more_body"] or (too_large and not length) or size > _THROWN_AWAY
        if not too_large:
            return bytes(body)
        return self._refuse(413, f"the body has more than {self._max_body_bytes} bytes", {})
