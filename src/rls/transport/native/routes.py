"""What the native transport serves: handlers of HTTP/2 requests, made of a `ServiceDefinition`."""

from __future__ import annotations

from rls.transport import http2
from rls.transport.handler import ServiceDefinition, Turn, Unary
from rls.transport.http2 import Request, Responder
from rls.transport.native.permits import Gate
from rls.transport.native.starts import Starts
from rls.transport.native.stream_calls import StreamCalls
from rls.transport.native.task_calls import TaskCalls
from rls.transport.status import StatusCode


def make_routes(
    service: ServiceDefinition, tasks: TaskCalls, streams: StreamCalls, gate: Gate, turn: Turn, starts: Starts
) -> http2.Routes:
    """Handlers by path."""
    routes: dict[bytes, http2.Unary | http2.Streaming] = {}
    for path, method in service.handlers.items():
        if not isinstance(method, Unary):
            routes[path.encode()] = http2.Streaming(streams.handler(method))
            continue
        handler = tasks.unary(method) if method.direct is None else method.direct(turn)
        if method.needs_permit:
            handler = gate.gate(handler, method.shed_answer, starts.read)
        routes[path.encode()] = http2.Unary(handler)
    return routes


def refuse_all(routes: http2.Routes) -> http2.Routes:
    """The same paths for a client whose certificate holds no name that is allowed."""
    return dict.fromkeys(routes, http2.Unary(_deny))


def _deny(connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
    text = "the client's certificate holds no name that is allowed"
    connection.fail(stream_id, StatusCode.PERMISSION_DENIED, text)
