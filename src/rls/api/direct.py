"""ShouldRateLimit, and the way of nearly all of its calls: without a task for each (see `DirectHandler`)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from rls.api.decode import Message
from rls.api.encode import encode
from rls.api.service import SHOULD_RATE_LIMIT, Service
from rls.core.decide import Decision
from rls.engine.events import RequestContext
from rls.engine.pending_check import PendingCheck
from rls.transport.base import Dropped
from rls.transport.handler import Call, Handler, Peer, Turn, Unary
from rls.transport.http2 import Request, Responder
from rls.transport.native.call import NativeCall, text_of
from rls.transport.permits import TOO_LATE
from rls.transport.status import StatusCode, status_of

_LOG = logging.getLogger(__name__)


def rate_limit_handlers(service: Service, shed_answer: bytes | None = None) -> dict[str, Handler]:
    """The methods of RateLimitService by path; see `RateLimitHandler`."""

    async def answer(call: Call) -> bytes:
        return await service.answer(call.message, _CallContext(call))

    def direct(turn: Turn) -> RateLimitHandler:
        return RateLimitHandler(turn, service, shed_answer)

    return {SHOULD_RATE_LIMIT: Unary(answer, direct, shed_answer=shed_answer)}


class _CallContext(RequestContext):
    """The request of a call that has a task."""

    __slots__ = ("_arrived", "_call")

    def __init__(self, call: Call, arrived: float | None = None) -> None:
        self._call = call
        self._arrived = time.monotonic() if arrived is None else arrived

    def metadata(self, name: str) -> str | None:
        """See `RequestContext`."""
        return self._call.metadata.get(name)

    @property
    def may_be_sampled(self) -> bool:
        """See `RequestContext`."""
        return True

    @property
    def arrived(self) -> float:
        """See `RequestContext`."""
        return self._arrived

    @property
    def peer(self) -> str:
        """See `RequestContext`."""
        return self._call.peer.address

    @property
    def expired(self) -> bool:
        """See `RequestContext`."""
        deadline = self._call.deadline
        return deadline is not None and time.monotonic() > deadline


class RateLimitHandler:
    """Answers the calls of a server with *service*.

    Args:
        turn: The present turn of the loop.
        service: Knows what messages come to.
        shed_answer: What answers a call that has waited too long; None for an error.
        clock: Seconds, the same as those of the connections.
    """

    def __init__(
        self,
        turn: Turn,
        service: Service,
        shed_answer: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self.on_drop = turn.on_drop
        self.clock = clock
        self._turn = turn
        self._default_deadline = turn.policy.default_deadline
        self._max_service_time = turn.policy.max_service_time
        self._shed_answer = shed_answer
        self._many = turn.in_task(self._answer_many, shed_answer)

    def __call__(self, connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
        """See `DirectHandler`."""
        service = self.service
        timeout = request.head.timeout
        arrived = now - self._turn.waited
        limit = self._default_deadline if timeout is None else timeout
        if self.clock() - arrived > limit * TOO_LATE:
            self._refuse(connection, stream_id, limit)
            return
        try:
            found = service.look_up(message)
        except Exception as error:  # noqa: BLE001 - it ends this call only
            self.fail(connection, stream_id, error)
            return
        if not isinstance(found, tuple):
            call = NativeCall(connection, request, message, None if timeout is None else arrived + timeout)
            self._many(connection, stream_id, request, (found, _CallContext(call, arrived)), now)
            return
        check = _Check()
        check.limiter = limiter = service.limiter
        check.prepared, check.prefixes = found
        check.at_once = False
        check.handler = self
        check.connection = connection
        check.stream_id = stream_id
        check.request = request
        check.message = message
        if timeout is None:
            check.deadline = _NEVER
        else:
            check.deadline = arrived + timeout
            if timeout < self._max_service_time:
                asyncio.get_running_loop().call_later(timeout, check.expire)
        limiter.start(check)

    async def _answer_many(self, asked: tuple[Message, RequestContext]) -> bytes:
        return await self.service.answer_many(*asked)

    def fail(self, connection: Responder, stream_id: int, error: Exception) -> None:
        """End a call with what *error* means."""
        self.service.count_unanswered(error)
        code, text = status_of(error)
        if code is StatusCode.INTERNAL:
            _LOG.error("internal error: a call failed (please report)", exc_info=error)
        connection.fail(stream_id, code, text)

    def _refuse(self, connection: Responder, stream_id: int, limit: float) -> None:
        """Most of a call's time is over, spent on other calls; or it never had any."""
        if limit:
            self.on_drop(Dropped.QUEUED)
            if self._shed_answer is None:
                connection.fail(stream_id, StatusCode.RESOURCE_EXHAUSTED, "too many calls are waiting")
            else:
                connection.respond(stream_id, self._shed_answer)
        else:
            self.on_drop(Dropped.EXPIRED)
            connection.fail(stream_id, StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")


_NEVER = float("inf")
_COUNTED = float("-inf")
"""Stands for a deadline that has passed, and whose call is counted."""


class _Check(PendingCheck):
    """One call. The handler and `Limiter.start` set its attributes: a constructor would cost as much as a decision."""

    __slots__ = ("connection", "deadline", "handler", "message", "prefixes", "request", "stream_id")
    __init__ = object.__init__

    connection: Responder
    deadline: float
    handler: RateLimitHandler
    message: bytes
    prefixes: Sequence[bytes]
    request: Request
    stream_id: int

    def metadata(self, name: str) -> str | None:
        """See `RequestContext`."""
        value = self.request.value(name.encode())
        return None if value is None else text_of(value)

    @property
    def may_be_sampled(self) -> bool:
        """See `RequestContext`."""
        return self.request.may_be_sampled

    @property
    def arrived(self) -> float | None:
        """See `RequestContext`."""
        timeout = self.request.head.timeout
        return None if timeout is None or self.deadline == _COUNTED else self.deadline - timeout

    @property
    def peer(self) -> str:
        """See `RequestContext`."""
        peer = self.connection.peer
        return peer.address if isinstance(peer, Peer) else ""

    @property
    def expired(self) -> bool:
        """See `RequestContext`."""
        return self.handler.clock() > self.deadline

    def decided(self, decision: Decision) -> None:
        """See `PendingCheck`."""
        handler = self.handler
        if self.deadline < _NEVER and not self.at_once and handler.clock() > self.deadline:
            if not self.expire() and self.deadline != _COUNTED:
                handler.on_drop(Dropped.LATE)  # its caller has gone: mostly for the same deadline
            return
        service = handler.service
        modes = self.limiter.modes
        if decision.lone_refusal:
            answer = service.refused_answers.answer(self.prepared, decision, self.prefixes, modes, self.began)
        else:
            answer = encode(decision, self.prefixes, service.answers, modes)
        if not self.connection.respond(self.stream_id, answer):
            handler.on_drop(Dropped.CANCELLED)

    def expire(self) -> bool:
        """The deadline has passed. False where nobody waits for an answer: it was given, or the caller is gone."""
        if not self.connection.fail(self.stream_id, StatusCode.DEADLINE_EXCEEDED, "the deadline has passed"):
            return False
        self.deadline = _COUNTED
        self.handler.on_drop(Dropped.LATE)
        return True

    def undecided(self, error: Exception) -> None:
        """See `PendingCheck`."""
        self.handler.fail(self.connection, self.stream_id, error)
