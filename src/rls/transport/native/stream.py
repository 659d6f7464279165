"""One streaming call of the native transport: a task, and flow control in both directions."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

from rls.transport.grpc_framing import PREFIX
from rls.transport.handler import StreamHandler, StreamingCall
from rls.transport.http2 import Receiver, Request, Responder
from rls.transport.native.call import NativeCall
from rls.transport.permits import StreamPermits
from rls.transport.status import Aborted, StatusCode, status_of

if TYPE_CHECKING:
    from rls.transport.native.stream_calls import StreamCalls

_LOG = logging.getLogger(__name__)

MESSAGE_SECONDS = 5.0
"""For the request of a server-streaming call to begin; then `http2.ConnectionLimits.message_seconds` holds."""
_PIECE = 32_768
"""Bytes of a message that are written in one turn of the loop."""
_IN_A_ROW = 64
"""Messages that a handler receives or sends before other tasks have their turn."""


class _State(Enum):
    """RECEIVING: more messages may come. HALF_CLOSED: the caller has sent all. OVER: nobody waits for an answer."""

    RECEIVING = auto()
    HALF_CLOSED = auto()
    OVER = auto()


class Stream(Receiver):
    """One streaming call: the connection tells it what comes, the handler's task takes it.

    Args:
        owner: All calls of the server.
        handler: Answers it.
        permits: Of its method.
        one_message: Whether the request is one message, without which the handler is not begun.
    """

    def __init__(
        self,
        owner: StreamCalls,
        handler: StreamHandler,
        permits: StreamPermits,
        connection: Responder,
        stream_id: int,
        request: Request,
        now: float,
        *,
        one_message: bool,
    ) -> None:
        self.connection = connection
        self._owner = owner
        self._handler = handler
        self._permits = permits
        self._stream_id = stream_id
        self._one_message = one_message
        self._state = _State.RECEIVING
        self._task: asyncio.Task[None] | None = None
        self._messages = deque[bytes]()
        self._kept = 0
        self._in_a_row = 0
        self._sending = asyncio.Lock()
        self._received: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        timeout = request.head.timeout
        deadline = None if timeout is None else now - owner.turn.waited + timeout
        self._call = _NativeStreamingCall(self, connection, request, b"", deadline)
        self._timers: list[asyncio.TimerHandle] = []
        if deadline is not None:
            left = max(0.0, deadline - owner.clock())
            late = (StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
            self._timers.append(loop.call_later(left, self.end_with, *late))
        if one_message:
            self._timers.append(loop.call_later(MESSAGE_SECONDS, self._no_message))

    def begin(self) -> None:
        """Begin the handler, if there is a permit for it."""
        try:
            self._owner.check_open()
            self._permits.acquire(self.connection)
        except Aborted as error:
            self.end_with(error.code, error.text)
            return
        self._owner.add(self)
        self._task = asyncio.get_running_loop().create_task(self._run())
        # Not in `_run`: a task that is cancelled before its first step runs nothing of it.
        self._task.add_done_callback(self._ended)

    # Receiver

    def message(self, message: bytes, now: float) -> None:
        """See `Receiver`."""
        if not self._one_message:
            self._keep(len(message) + PREFIX.size)
            if self._kept > self._owner.max_kept:  # compressed ones take little of a window
                self.end_with(StatusCode.RESOURCE_EXHAUSTED, "messages come faster than they are handled")
                return
            self._messages.append(message)
            _wake(self._received)
        elif self._task is None:
            self._call.message = message
            self.begin()
        else:
            self.end_with(StatusCode.UNIMPLEMENTED, "the call carries more than one message")

    def end(self, now: float) -> None:
        """See `Receiver`."""
        if self._state is _State.RECEIVING:
            self._state = _State.HALF_CLOSED
        if self._one_message and self._task is None:
            self.end_with(StatusCode.UNIMPLEMENTED, "the call carries no message")
        _wake(self._received)

    def sendable(self) -> None:
        """See `Receiver`."""
        _wake(self._room)

    def lost(self) -> None:
        """See `Receiver`."""
        self._state = _State.OVER
        for timer in self._timers:
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
        # Tasks of the handler's own may wait for messages, or for room.
        _wake(self._received)
        _wake(self._room)

    def end_with(self, code: StatusCode, text: str) -> None:
        """End the call, whatever its handler does."""
        self.connection.fail(self._stream_id, code, text)
        self.lost()

    # StreamingCall

    async def receive(self) -> bytes | None:
        """See `StreamingCall`."""
        while not self._messages:
            if self._state is not _State.RECEIVING:
                break
            self._in_a_row = 0
            self._received = asyncio.get_running_loop().create_future()
            await self._received
        if self._state is _State.OVER:
            raise _over()
        if not self._messages:
            return None
        await self._take_turns()
        message = self._messages.popleft()
        self._keep(-len(message) - PREFIX.size)
        return message

    async def send(self, message: bytes) -> None:
        """See `StreamingCall`."""
        async with self._sending:
            rest = memoryview(PREFIX.pack(0, len(message)) + message)
            while rest:
                await self._take_turns()
                while self.connection in self._owner.stalled and self._state is not _State.OVER:
                    await self._wait_for_room()
                piece = rest[:_PIECE]
                sent = -1 if self._state is _State.OVER else self.connection.send_part(self._stream_id, piece)
                if sent < 0:
                    raise _over()
                rest = rest[sent:]
                if sent < len(piece):
                    await self._wait_for_room()
                elif rest:
                    await asyncio.sleep(0)

    async def _wait_for_room(self) -> None:
        self._in_a_row = 0
        self._room = asyncio.get_running_loop().create_future()
        await self._room

    async def _take_turns(self) -> None:
        """Let others have their turn, from time to time."""
        self._in_a_row += 1
        if self._in_a_row >= _IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)

    def _keep(self, change: int) -> None:
        self._kept += change
        self.connection.keep(self._stream_id, change)

    async def _run(self) -> None:
        try:
            await self._handler(self._call)
        except BaseException as error:
            code, text = status_of(error)
            self.connection.fail(self._stream_id, code, text)  # nothing, where the call is over already
            if code is StatusCode.INTERNAL and not isinstance(error, Aborted):
                _LOG.error("internal error: a call failed (please report)", exc_info=error)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
        else:
            self.connection.finish(self._stream_id)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._permits.release(self.connection)
        self._owner.remove(self)
        self._state = _State.OVER
        for timer in self._timers:
            timer.cancel()

    def _no_message(self) -> None:
        if self._task is None:
            self.end_with(StatusCode.DEADLINE_EXCEEDED, "the message did not come in time")


class _NativeStreamingCall(NativeCall, StreamingCall):
    """See `StreamingCall`."""

    __slots__ = ("_stream",)

    def __init__(
        self, stream: Stream, connection: Responder, request: Request, message: bytes, deadline: float | None
    ) -> None:
        super().__init__(connection, request, message, deadline)
        self._stream = stream

    async def receive(self) -> bytes | None:
        """See `StreamingCall`."""
        return await self._stream.receive()

    async def send(self, message: bytes) -> None:
        """See `StreamingCall`."""
        await self._stream.send(message)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


def _over() -> Aborted:
    return Aborted(StatusCode.CANCELLED, "the call is over")
