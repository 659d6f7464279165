"""HTTP/2 for gRPC, the server's side: bytes in, calls out. No socket, no clock, no task."""

from rls.transport.http2.connection import Connection
from rls.transport.http2.errors import ErrorCode
from rls.transport.http2.handler import Receiver, Responder, Routes, StreamHandler, Streaming, Unary, UnaryHandler
from rls.transport.http2.limits import Limits, Rate
from rls.transport.http2.outgoing import ConnectionState
from rls.transport.http2.request import Head, Request

__all__ = [
    "Connection",
    "ConnectionState",
    "ErrorCode",
    "Head",
    "Limits",
    "Rate",
    "Receiver",
    "Request",
    "Responder",
    "Routes",
    "StreamHandler",
    "Streaming",
    "Unary",
    "UnaryHandler",
]
