"""Unary gRPC, and Health.Watch, on ASGI.

What the server below does not check is checked here: it hands over whatever was sent, and turns an exception into HTTP
500, which gRPC reads as UNKNOWN, a status that tells nobody what was wrong. So none may leave a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NoReturn, TypeAlias

from rls.transport.admission import Admission
from rls.transport.base import Calls, Dropped
from rls.transport.certificates import ClientNames
from rls.transport.farewell import Farewell
from rls.transport.half_sent import HalfSent
from rls.transport.health import WATCH, Watches
from rls.transport.service import grpc_status
from rls.transport.wire import (
    ACCEPT_ENCODING,
    PREFIX,
    PREFIXES,
    SHORT,
    Aborted,
    StatusCode,
    check_length,
    encode_message,
    only_message,
    parse_timeout,
)

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Any]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

_LOG = logging.getLogger(__name__)

_GRPC = frozenset({b"application/grpc", b"application/grpc+proto"})
_CONTENT_TYPE = (b"content-type", b"application/grpc")
_TRAILERS = "http.response.trailers"
# What asyncio knows a future by: an event that has come is no such thing.
_FUTURE = "_asyncio_future_blocking"
# Shared by all calls: never written to.
_END: Event = {"type": "http.request"}
_START: Event = {"type": "http.response.start", "status": 200, "headers": [_CONTENT_TYPE], "trailers": True}
_OK: Event = {"type": _TRAILERS, "headers": [(b"grpc-status", b"0")]}
_NO_BODY: Event = {"type": "http.response.body"}


class GrpcApp:
    """The ASGI application that serves *calls*, and Health.Watch by *watches*."""

    def __init__(
        self,
        calls: Calls,
        watches: Watches,
        *,
        client_san: Sequence[str] = (),
        max_half_sent: int = 1024,
        farewell: Farewell | None = None,
        admission: Admission | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client_names = ClientNames(client_san) if client_san else None
        self._unary = calls.unary
        self._watches = watches
        self._half_sent = HalfSent(max_half_sent, on_drop=calls.on_drop)
        self._farewell = farewell or Farewell()
        self._caller_timeout = calls.caller_timeout
        self._unhurried = calls.unhurried
        self._max_bytes = calls.max_message_bytes
        self._on_drop = calls.on_drop
        self._clock = clock
        self._admission = admission or Admission(0)
        self._turn_began = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901 - see below
        # The way of every check: flat, and nothing is made that need not be.
        began = self._clock()
        arrived = self._turn_began or self._begin_turn(began)
        try:
            headers: dict[bytes, bytes] = dict(scope["headers"])
            if (
                headers.get(b"content-type") not in _GRPC
                or scope["method"] != "POST"
                or _TRAILERS not in scope["extensions"]
                or self._client_names is not None
            ) and (status := self._http_status(scope, headers)):
                return await _refuse(status, send)
            path: str = scope["path"]
            unary = self._unary.get(path)
            if unary is None and path != WATCH:
                raise Aborted(StatusCode.UNIMPLEMENTED, "unknown service or method")  # noqa: TRY301
            sent_timeout = headers.get(b"grpc-timeout")
            timeout = self._caller_timeout if sent_timeout is None else parse_timeout(sent_timeout)
            if began - arrived > timeout / 2:
                self._drop(Dropped.QUEUED)
            event: Any = receive()
            waited = hasattr(event, _FUTURE)
            event = await (self._half_sent.wait(event) if waited else event)
            body: bytes = event.get("body", b"")
            if "more_body" in event:
                event = receive()
                if not hasattr(event, _FUTURE):
                    event = await event
                if event != _END:
                    waited = True
                    body = await self._rest(body, event, receive)
            length = len(body) - 5
            if 0 <= length < SHORT and body.startswith(PREFIXES[length]):
                message = body[5:]
            else:
                message = only_message(body, headers, self._max_bytes)
            if unary is None:
                return await self._watch(message, send)
            if (waited or not timeout) and self._clock() - arrived > timeout:
                self._drop(Dropped.EXPIRED)
            if sent_timeout is None or timeout >= self._unhurried:
                answer = await unary(message)
            else:
                answer = await self._in_time(unary(message), arrived + timeout)
            if self._farewell.held is not None:
                await asyncio.shield(self._farewell.held)
            took = self._clock() - arrived
            if took > timeout and sent_timeout is not None:
                self._drop(Dropped.LATE)
        except BaseException as error:  # noqa: BLE001 - see above
            return await self._fail(error, scope, send)
        try:
            length = len(answer)
            prefix = PREFIXES[length] if length < SHORT else PREFIX.pack(0, length)
            send(_START)
            send({"type": "http.response.body", "body": prefix + answer})
            await send(_OK)
            if took > self._admission.slow:
                await self._admission.leave()
        except OSError:
            self._on_drop(Dropped.CANCELLED)

    def _begin_turn(self, now: float) -> float:
        """The first call of a turn of the loop: all that run in it have been here since."""
        self._turn_began = now
        asyncio.get_running_loop().call_soon(self._end_turn)
        return now

    def _end_turn(self) -> None:
        self._turn_began = 0.0

    def _http_status(self, scope: Scope, headers: dict[bytes, bytes]) -> int:
        """The HTTP status to refuse what is not gRPC with; 0 where it is.

        Raises:
            Aborted: PERMISSION_DENIED for a client whose certificate, which the TLS handshake has verified, does not hold
                one of the names that are asked for.
        """
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() not in _GRPC:
            return 415
        if scope["method"] != "POST":
            return 405
        if _TRAILERS not in scope["extensions"]:
            # Without `te: trailers` there is no way to tell the status of a call.
            return 400
        if self._client_names is not None:
            chain = scope["extensions"]["tls"]["client_cert_chain"]
            if not chain or not self._client_names.allow_certificate(chain[0]):
                raise Aborted(StatusCode.PERMISSION_DENIED, "the client's certificate holds no name that is allowed")
        return 0

    async def _rest(self, body: bytes, event: Any, receive: Receive) -> bytes:
        """The whole body, of which *body* came first; *event* is next, or the future of it."""
        chunks = [body]
        size = len(body)
        length = -1
        while True:
            if length < 0 and size >= PREFIX.size:
                chunks = [b"".join(chunks)]
                _, length = PREFIX.unpack_from(chunks[0])
                check_length(length, self._max_bytes)
            if hasattr(event, _FUTURE):
                event = await self._half_sent.wait(event)
            if event["type"] != "http.request":
                self._on_drop(Dropped.CANCELLED)
                raise Aborted(StatusCode.CANCELLED, "the caller is gone")
            chunks.append(event.get("body", b""))
            size += len(chunks[-1])
            if "more_body" not in event or size > PREFIX.size + self._max_bytes:
                return b"".join(chunks)
            event = receive()
            if not hasattr(event, _FUTURE):
                event = await event

    async def _in_time(self, answer: Awaitable[bytes], deadline: float) -> bytes:
        """An answer that may take longer than its caller waits."""
        try:
            async with asyncio.timeout(deadline - self._clock()):
                return await answer
        except TimeoutError:
            self._drop(Dropped.LATE)

    async def _watch(self, message: bytes, send: Send) -> None:
        started = False
        with contextlib.suppress(OSError):
            try:
                async with contextlib.aclosing(self._watches.stream(message)) as responses:
                    async for response in responses:
                        if not started:
                            await send(_START)
                            started = True
                        body = PREFIX.pack(0, len(response)) + response
                        await send({"type": "http.response.body", "body": body, "more_body": True})
            except Aborted as error:
                if not started:
                    raise
                await send(_NO_BODY)
                await send({"type": _TRAILERS, "headers": _status_headers(error.code, error.text)})

    def _drop(self, why: Dropped) -> NoReturn:
        self._on_drop(why)
        self._admission.watch()
        if why is Dropped.QUEUED:
            raise Aborted(StatusCode.RESOURCE_EXHAUSTED, "too many calls are waiting")
        raise Aborted(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")

    async def _fail(self, error: BaseException, scope: Scope, send: Send) -> None:
        """End a call with *error*, by the status that names its cause."""
        cancelled = False
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            cancelled = task is not None and task.cancelling() > 0
            if cancelled and scope["path"] != WATCH:
                self._on_drop(Dropped.CANCELLED)
            code, text = int(StatusCode.UNAVAILABLE), "the call was cancelled"
        elif isinstance(error, Aborted):
            code, text = error.code, error.text
        else:
            code, text = grpc_status(error)
            if code == StatusCode.INTERNAL:
                _LOG.error("a call failed, which is a bug", exc_info=error)
        headers = [_CONTENT_TYPE, *_status_headers(code, text)]
        with contextlib.suppress(OSError):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send(_NO_BODY)
        if self._admission.slow < 0:
            await self._admission.leave()
        if cancelled or not isinstance(error, Exception | asyncio.CancelledError):
            raise error


async def _refuse(status: int, send: Send) -> None:
    headers = [(b"allow", b"POST")] if status == 405 else []
    with contextlib.suppress(OSError):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(_NO_BODY)


def _status_headers(code: int, text: str) -> list[tuple[bytes, bytes]]:
    headers = [(b"grpc-status", b"%d" % code), (b"grpc-message", encode_message(text))]
    if code == StatusCode.UNIMPLEMENTED:
        headers.append((b"grpc-accept-encoding", ACCEPT_ENCODING))
    return headers
