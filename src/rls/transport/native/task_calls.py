"""Calls of the native transport that are served by coroutines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from rls.transport.base import Dropped, Shed
from rls.transport.handler import Turn, Unary
from rls.transport.http2 import Connection, Request, Responder, UnaryHandler
from rls.transport.native.call import NativeCall
from rls.transport.permits import TOO_LATE
from rls.transport.status import Aborted, StatusCode, status_of

_LOG = logging.getLogger(__name__)


class _Drop(Aborted):
    """Ends a call whose deadline has passed."""

    def __init__(self, why: Dropped) -> None:
        super().__init__(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
        self.why = why


class _Method(NamedTuple):
    """What calls are answered with; see `Unary`."""

    answer: Callable[[Any], Awaitable[bytes]]
    shed_answer: bytes | None
    needs_permit: bool


class _Times(NamedTuple):
    """Of one call: its grpc-timeout, when it arrived, and how long it had waited when it was read; in seconds."""

    timeout: float | None
    arrived: float
    waited: float


class TaskCalls:
    """Serves coroutines: a task a call, cancelled when its caller is gone.

    Args:
        turn: Of the loop; knows how long callers wait.
        clock: The one that connections are given the time of.

    Attributes:
        running: Tasks by connection and stream.
    """

    def __init__(self, turn: Turn, clock: Callable[[], float] = time.monotonic) -> None:
        self._default_deadline = turn.policy.default_deadline
        self._max_service_time = turn.policy.max_service_time
        self._on_drop = turn.on_drop
        self._turn = turn
        self._clock = clock
        self._turn_began = 0.0
        self.running: dict[Responder, dict[int, asyncio.Task[None]]] = {}

    def unary(self, method: Unary) -> UnaryHandler:
        """Serve calls of *method*."""
        begin = self.handler(method.handler, method.shed_answer, needs_permit=method.needs_permit)

        def begin_call(connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
            timeout = request.head.timeout
            deadline = None if timeout is None else now - self._turn.waited + timeout
            begin(connection, stream_id, request, NativeCall(connection, request, message, deadline), now)

        return begin_call

    def handler(
        self, answer: Callable[[Any], Awaitable[bytes]], shed_answer: bytes | None, *, needs_permit: bool = True
    ) -> Callable[[Responder, int, Request, Any, float], None]:
        """Serve calls by *answer*; see `Turn.in_task`, and `Unary` for the others."""
        method = _Method(answer, shed_answer, needs_permit)

        def begin(connection: Responder, stream_id: int, request: Request, asked: Any, now: float) -> None:
            timeout = request.head.timeout
            limit = self._default_deadline if timeout is None else timeout
            began = connection.began(stream_id)
            if needs_permit and (not limit or (began is not None and now - began > limit)):
                self._fail(connection, stream_id, _Drop(Dropped.EXPIRED), shed_answer)
                return
            waited = self._turn.waited
            call = self._call(method, connection, stream_id, asked, _Times(timeout, now - waited, waited))
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
        method: _Method,
        connection: Responder,
        stream_id: int,
        asked: Any,
        times: _Times,
    ) -> None:
        try:
            if method.needs_permit:
                answered = await self._in_time(method, asked, times)
            else:
                answered = await method.answer(asked)
        except BaseException as error:
            # Of a call that was swept, this does nothing.
            if self._over(connection, stream_id):
                self._fail(connection, stream_id, error, method.shed_answer)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
        else:
            if self._over(connection, stream_id) and not connection.respond(stream_id, answered):
                self._on_drop(Dropped.CANCELLED)

    async def _in_time(self, method: _Method, asked: Any, times: _Times) -> bytes:
        """The answer, where there is time for it.

        Raises:
            Shed: Most of the time was spent on other calls.
            _Drop: The answer is late.
        """
        timeout, arrived, waited = times
        limit = self._default_deadline if timeout is None else timeout
        # Only what was spent on other calls counts: a call that is alone may come late, but is not one too many.
        if waited + self._since_turn_began() > limit * TOO_LATE:
            raise Shed("too many calls are waiting", Dropped.QUEUED)
        if timeout is None:
            return await method.answer(asked)
        if timeout >= self._max_service_time:
            answered = await method.answer(asked)
        else:
            timer = asyncio.timeout(arrived + timeout - self._clock())
            try:
                async with timer:
                    answered = await method.answer(asked)
            except TimeoutError:
                if not timer.expired():
                    raise
                raise _Drop(Dropped.LATE) from None
        if self._clock() - arrived > timeout:
            raise _Drop(Dropped.LATE)
        return answered

    def _since_turn_began(self) -> float:
        """Seconds since the first of the tasks that begin in this turn of the loop has begun."""
        now = self._clock()
        if not self._turn_began:
            self._turn_began = now
            asyncio.get_running_loop().call_soon(self._end_turn)
        return now - self._turn_began

    def _end_turn(self) -> None:
        self._turn_began = 0.0

    def _over(self, connection: Responder, stream_id: int) -> bool:
        """Forget a call; False where it has been forgotten."""
        tasks = self.running.get(connection, {})
        if tasks.pop(stream_id, None) is None:
            return False
        if not tasks:
            del self.running[connection]
        return True

    def _fail(self, connection: Responder, stream_id: int, error: BaseException, shed_answer: bytes | None) -> None:
        """End a call by the status that names the cause."""
        if isinstance(error, Shed | _Drop):
            self._on_drop(error.why)
            if isinstance(error, Shed) and shed_answer is not None:
                connection.respond(stream_id, shed_answer)
                return
        code, text = status_of(error)
        if code is StatusCode.INTERNAL and not isinstance(error, Aborted):
            _LOG.error("internal error: a call failed (please report)", exc_info=error)
        connection.fail(stream_id, code, text)
