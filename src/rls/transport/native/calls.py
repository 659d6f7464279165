"""What the native transport serves: handlers of HTTP/2 requests, made of `Calls`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from rls.transport.base import AnyHandler, AnyUnaryHandler, Calls, Dropped, Shed, Turn
from rls.transport.health import CHECK, WATCH, Health
from rls.transport.http2 import Connection, Request, Responder, Routes, Streaming, Unary, UnaryHandler
from rls.transport.native.permits import Gate
from rls.transport.native.watches import NativeWatches
from rls.transport.permits import TOO_LATE
from rls.transport.status import Aborted, StatusCode, status_of

_LOG = logging.getLogger(__name__)

_LOOK_AFTER = 8
"""Calls begun between two looks at the clock, or of one connection before it is the turn of the next."""
_Start: TypeAlias = tuple[UnaryHandler, int, Request, bytes, float]


class Starts:
    """Begins calls once all that was read with them has been seen, connections taking turns.

    A caller that gave up has sent its reset by then, which lies behind the call: where a server stood still, all of its
    calls may be like that. They are not begun, so they are not charged.

    Args:
        turn: Of the loop.
        on_drop: Called with CANCELLED for each call that is not begun.
        clock: The one that connections are given the time of.

    Attributes:
        until: When calls that were read in this turn of the loop are to wait for the next.
        begun: Calls so far.
    """

    def __init__(
        self, turn: Turn, on_drop: Callable[[Dropped], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.until = float("inf")
        self.begun = 0
        self._turn = turn
        self._on_drop = on_drop
        self._clock = clock
        self._read: list[_Start] = []
        # By connection, in the order of their turns: how long each call had waited when it was read.
        self._waiting: dict[Connection, deque[tuple[_Start, float]]] = {}

    @property
    def is_late(self) -> bool:
        """Whether calls wait for their turn."""
        return bool(self._waiting)

    def defer(self, handler: UnaryHandler) -> UnaryHandler:
        """*handler*, called by `begin` or `go_on`."""
        add = self._read.append

        def remember(connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
            add((handler, stream_id, request, message, now))

        return remember

    def begin(self, connection: Connection) -> None:
        """Begin what *connection* has read, as far as there is time for it."""
        read = self._read
        if not read:
            return
        if not self._waiting:
            begun = 0
            for start in read:
                if not begun % _LOOK_AFTER and self._clock() > self.until:
                    break
                begun += 1
                self._begin(connection, start)
            self.begun += begun
            if begun == len(read):
                read.clear()
                return
            del read[:begun]
        waited = self._turn.waited
        self._waiting.setdefault(connection, deque()).extend((start, waited) for start in read)
        read.clear()

    def go_on(self, until: float) -> None:
        """Begin calls that wait, until then."""
        waiting = self._waiting
        while waiting and self._clock() < until:
            connection, starts = next(iter(waiting.items()))
            del waiting[connection]
            for _ in range(min(len(starts), _LOOK_AFTER)):
                start, self._turn.waited = starts.popleft()
                self.begun += 1
                self._begin(connection, start)
            if starts:
                waiting[connection] = starts

    def _begin(self, connection: Connection, start: _Start) -> None:
        handler, stream_id, request, message, now = start
        if stream_id in connection.calls or connection.is_live(stream_id):
            try:
                handler(connection, stream_id, request, message, now)
            except Exception:  # noqa: BLE001 - it ends one call
                _LOG.exception("a handler failed")
                connection.fail(stream_id, StatusCode.INTERNAL, "internal error")
        else:
            self._on_drop(Dropped.CANCELLED)


def make_routes(
    calls: Calls, tasks: TaskCalls, watches: NativeWatches, gate: Gate, turn: Turn, starts: Starts
) -> Routes:
    """Handlers by path. Health answers whatever else is under way: it costs little, and its calls never wait."""
    handlers = {path.encode(): tasks.handler(handler) for path, handler in calls.unary.items()}
    handlers |= {path: starts.defer(make(turn)) for path, make in calls.direct.items()}
    routes: dict[bytes, Unary | Streaming] = {path: Unary(gate.gate(handler)) for path, handler in handlers.items()}
    routes[CHECK.encode()] = Unary(_health_check(calls.health))
    routes[WATCH.encode()] = Streaming(watches.begin)
    return routes


def refuse_all(routes: Routes) -> Routes:
    """The same paths for a client whose certificate holds no name that is allowed."""
    return dict.fromkeys(routes, Unary(_deny))


def _deny(connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
    text = "the client's certificate holds no name that is allowed"
    connection.fail(stream_id, StatusCode.PERMISSION_DENIED, text)


def _health_check(health: Health) -> UnaryHandler:
    def check(connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
        try:
            connection.respond(stream_id, health.answer(message))
        except Aborted as error:
            connection.fail(stream_id, error.code, error.text)

    return check


class _Drop(Exception):
    """A call that is not to be answered."""

    def __init__(self, why: Dropped) -> None:
        super().__init__(why)
        self.why = why


class TaskCalls:
    """Serves coroutines: a task a call, cancelled when its caller is gone.

    Args:
        turn: Of the loop.
        clock: The one that connections are given the time of.

    Attributes:
        running: Tasks by connection and stream.
    """

    def __init__(self, calls: Calls, turn: Turn, clock: Callable[[], float] = time.monotonic) -> None:
        self._caller_timeout = calls.caller_timeout
        self._unhurried = calls.unhurried
        self._on_drop = calls.on_drop
        self._shed_answer = calls.shed_answer
        self._turn = turn
        self._clock = clock
        self._turn_began = 0.0
        self.running: dict[Responder, dict[int, asyncio.Task[None]]] = {}

    def handler(self, answer: AnyHandler) -> AnyUnaryHandler:
        """Serve calls by *answer*; see `Turn.in_task`."""

        def begin(connection: Responder, stream_id: int, request: Request, message: Any, now: float) -> None:
            timeout = request.head.timeout
            limit = self._caller_timeout if timeout is None else timeout
            began = connection.began(stream_id)
            if not limit or (began is not None and now - began > limit):
                self._fail(connection, stream_id, _Drop(Dropped.EXPIRED))
                return
            call = self._call(answer, connection, stream_id, message, timeout, now, self._turn.waited)
            task = asyncio.get_running_loop().create_task(call)
            self.running.setdefault(connection, {})[stream_id] = task

        return begin

    def sweep(self, connection: Connection) -> None:
        """Cancel the calls of *connection* whose callers are gone."""
        tasks = self.running.get(connection)
        if tasks is None:
            return
        for stream_id in tasks.keys() - connection.calls.keys():
            if not connection.is_live(stream_id):
                tasks[stream_id].cancel()
                self._over(connection, stream_id)
                self._on_drop(Dropped.CANCELLED)

    async def _call(
        self,
        answer: AnyHandler,
        connection: Responder,
        stream_id: int,
        message: Any,
        timeout: float | None,
        now: float,
        waited: float,
    ) -> None:
        arrived = now - waited
        try:
            limit = self._caller_timeout if timeout is None else timeout
            # Only what was spent on other calls counts: a call that is alone may come late, but is not one too many.
            if waited + self._since_turn_began() > limit * TOO_LATE:
                raise Shed("too many calls are waiting", Dropped.QUEUED)  # noqa: TRY301
            if timeout is None or timeout >= self._unhurried:
                answered = await answer(message)
            else:
                answered = await self._in_time(answer, message, arrived + timeout)
            if timeout is not None and self._clock() - arrived > timeout:
                raise _Drop(Dropped.LATE)  # noqa: TRY301
        except BaseException as error:
            # Of a call that was swept, this does nothing.
            if self._over(connection, stream_id):
                self._fail(connection, stream_id, error)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
        else:
            if self._over(connection, stream_id) and not connection.respond(stream_id, answered):
                self._on_drop(Dropped.CANCELLED)

    def _since_turn_began(self) -> float:
        """Seconds since the first of the tasks that begin in this turn of the loop has begun."""
        now = self._clock()
        if not self._turn_began:
            self._turn_began = now
            asyncio.get_running_loop().call_soon(self._end_turn)
        return now - self._turn_began

    def _end_turn(self) -> None:
        self._turn_began = 0.0

    async def _in_time(self, answer: AnyHandler, message: Any, deadline: float) -> bytes:
        """An answer that may take longer than its caller waits."""
        try:
            async with asyncio.timeout(deadline - self._clock()):
                return await answer(message)
        except TimeoutError:
            raise _Drop(Dropped.LATE) from None

    def _over(self, connection: Responder, stream_id: int) -> bool:
        """Forget a call; False where it has been forgotten."""
        tasks = self.running.get(connection, {})
        if tasks.pop(stream_id, None) is None:
            return False
        if not tasks:
            del self.running[connection]
        return True

    def _fail(self, connection: Responder, stream_id: int, error: BaseException) -> None:
        """End a call by the status that names the cause."""
        if isinstance(error, Shed):
            self._on_drop(error.why)
            if self._shed_answer is None:
                connection.fail(stream_id, error.code, error.text)
            else:
                connection.respond(stream_id, self._shed_answer)
        elif isinstance(error, _Drop):
            self._on_drop(error.why)
            connection.fail(stream_id, StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
        elif isinstance(error, asyncio.CancelledError):
            connection.fail(stream_id, StatusCode.UNAVAILABLE, "the call was cancelled")
        elif isinstance(error, Aborted):
            connection.fail(stream_id, error.code, error.text)
        else:
            code, text = status_of(error)
            if code == StatusCode.INTERNAL:
                _LOG.error("a call failed, which is a bug", exc_info=error)
            connection.fail(stream_id, StatusCode(code), text)
