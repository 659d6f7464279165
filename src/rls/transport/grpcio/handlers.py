"""What the grpcio transport serves: grpc's handlers, made of a `ServiceDefinition`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from rls.transport.base import Dropped, ServerLimits, ServerPolicy, ServerReports, Shed
from rls.transport.client_names import SanAllowlist
from rls.transport.drain_gate import DrainGate
from rls.transport.grpcio.call import Context, GrpcioCall, GrpcioStreamingCall, names_of, seconds_left
from rls.transport.grpcio.permits import Gate
from rls.transport.handler import Bidirectional, ServerStreaming, ServiceDefinition, Unary
from rls.transport.incomplete_requests import IncompleteRequests
from rls.transport.permits import StreamPermits
from rls.transport.status import Aborted, StatusCode, status_of

_LOG = logging.getLogger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}
Behaviour: TypeAlias = Callable[[object, Context], Awaitable[Any]]
"""What grpc calls for a call."""


class Handlers:
    """Handlers of grpc by path; messages stay bytes.

    Calls are taken for streams of messages, of which the first is read: for a unary call grpc would wait for its message
    without end, and count it among those in flight.

    Args:
        drain_gate: Holds answers back when the server drains.
        client_san: See `Tls`.
    """

    def __init__(
        self,
        service: ServiceDefinition,
        policy: ServerPolicy,
        limits: ServerLimits,
        reports: ServerReports,
        drain_gate: DrainGate,
        client_san: tuple[str, ...],
    ) -> None:
        self._on_drop = reports.on_drop
        self._incomplete = IncompleteRequests(limits.max_concurrency // 4 or 1024, on_drop=reports.on_drop)
        self._gate = Gate(
            policy.default_deadline, limits.max_concurrency, lambda: self._incomplete.count, reports.on_limit
        )
        reports.calls.in_progress = lambda: self._gate.in_progress
        self._drain_gate = drain_gate
        self._client_names = SanAllowlist(client_san) if client_san else None
        self._streaming: set[asyncio.Task[object]] = set()
        self._closed = False
        self.methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for path, method in service.handlers.items():
            if isinstance(method, Unary):
                self.methods[path] = grpc.stream_unary_rpc_method_handler(self._unary(path, method))
            else:
                self.methods[path] = grpc.stream_stream_rpc_method_handler(self._stream(path, method))

    def close(self) -> None:
        """End all streaming calls, and all to come: the server drains."""
        self._closed = True
        for task in self._streaming:
            task.cancel()

    def _unary(self, path: str, method: Unary) -> Behaviour:
        async def unary(_: object, context: Context) -> bytes:
            failure, answer = None, b""
            try:
                client = context.peer()
                if method.needs_permit and not self._gate.is_open:
                    self._gate.check(client, seconds_left(context))
                with self._gate.hold(client):
                    message = await self._message(context)
                    self._in_time(context, Dropped.EXPIRED)
                    answer = await method.handler(GrpcioCall(path, message, context))
                if self._drain_gate.closed is not None:
                    await asyncio.shield(self._drain_gate.closed)
                self._in_time(context, Dropped.LATE)
            except BaseException as error:
                # What left here would be UNKNOWN, whose cause has a better name.
                if _was_cancelled(error):
                    self._on_drop(Dropped.CANCELLED)
                    raise
                if isinstance(error, Shed):
                    self._on_drop(error.why)
                    if method.shed_answer is not None:
                        return method.shed_answer
                failure = _failure(error)
            if failure is not None:
                await context.abort(*failure)
            return answer

        return unary

    def _stream(self, path: str, method: ServerStreaming | Bidirectional) -> Behaviour:
        permits = StreamPermits(method.max_calls, lambda: self._on_drop(Dropped.STREAM))

        async def stream(_: object, context: Context) -> None:
            failure = None
            try:
                self._authorize(context)
                message = await self._message(context) if isinstance(method, ServerStreaming) else b""
                client = context.peer()
                self._check_open()
                permits.acquire(client)
                try:
                    await self._until_closed(method.handler(GrpcioStreamingCall(path, message, context)))
                finally:
                    permits.release(client)
            except BaseException as error:
                if _was_cancelled(error):
                    raise
                failure = _failure(error)
            if failure is not None:
                await context.abort(*failure)

        return stream

    async def _until_closed(self, work: Awaitable[None]) -> None:
        """Do *work* in the task of its call.

        Raises:
            Aborted: UNAVAILABLE when the server drains.
        """
        task = asyncio.current_task()
        assert task is not None
        self._streaming.add(task)
        try:
            await work
        except asyncio.CancelledError:
            if self._closed and task.uncancel() == 0:
                self._check_open()
            raise
        finally:
            self._streaming.discard(task)

    def _check_open(self) -> None:
        if self._closed:
            raise Aborted(StatusCode.UNAVAILABLE, "the server is shutting down")

    async def _message(self, context: Context) -> bytes:
        """The first message of a call, which must be allowed to its client."""
        self._authorize(context)
        message = await self._incomplete.wait(context.peer(), context.read())
        if not isinstance(message, bytes):
            raise Aborted(StatusCode.UNIMPLEMENTED, "the call carries no message")
        return message

    def _authorize(self, context: Context) -> None:
        if self._client_names is not None and not self._client_names.allow(names_of(context)):
            raise Aborted(StatusCode.PERMISSION_DENIED, "the client's certificate holds no name that is allowed")

    def _in_time(self, context: Context, why: Dropped) -> None:
        left = seconds_left(context)
        if left is not None and left <= 0:
            self._on_drop(why)
            raise Aborted(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")


def _was_cancelled(error: BaseException) -> bool:
    """Whether the call itself was, rather than something that it awaited."""
    task = asyncio.current_task()
    return task is not None and isinstance(error, asyncio.CancelledError) and task.cancelling() > 0


def _failure(error: BaseException) -> tuple[grpc.StatusCode, str]:
    code, text = status_of(error)
    if code is StatusCode.INTERNAL and not isinstance(error, Aborted):
        _LOG.error("internal error: a call failed (please report)", exc_info=error)
    return _CODES[code], text
