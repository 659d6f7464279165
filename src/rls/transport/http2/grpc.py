"""gRPC over HTTP/2 (PROTOCOL-HTTP2.md): what a request's header fields ask for, and whether it can be served."""

from __future__ import annotations

from collections.abc import Mapping

from rls.transport.grpc_framing import parse_timeout
from rls.transport.http2 import responses
from rls.transport.http2.fields import Fields
from rls.transport.http2.handler import Routes, Unary
from rls.transport.http2.request import Head
from rls.transport.status import Aborted, StatusCode

_CONTENT_TYPES = frozenset({b"application/grpc", b"application/grpc+proto"})

TOO_LARGE = Head(())
"""Stands for a request whose header list is over its bound."""
TOO_LARGE.refusal = responses.trailers_only(StatusCode.RESOURCE_EXHAUSTED, "the header list is too large")


def read_head(fields: Fields, by_name: Mapping[bytes, bytes], routes: Routes) -> Head:
    """The head of a well-formed request: with its handler, or with the refusal that it gets."""
    head = Head(fields)
    head.path = by_name.get(b":path", b"")
    head.encoding = by_name.get(b"grpc-encoding", b"identity")
    if b"content-length" in by_name:
        head.content_length = int(by_name[b"content-length"])
    status = _http_status(by_name)
    if status:
        head.refusal = responses.http_refusal(status)
        head.refusal_body = responses.NOT_GRPC
        return head
    route = routes.get(head.path)
    if route is None:
        head.refusal = responses.trailers_only(StatusCode.UNIMPLEMENTED, "unknown service or method")
        return head
    if b"grpc-timeout" in by_name:
        try:
            head.timeout = parse_timeout(by_name[b"grpc-timeout"])
        except Aborted as error:
            head.refusal = responses.trailers_only(error.code, error.text)
            return head
    if isinstance(route, Unary):
        head.unary = route.handler
    else:
        head.streaming = route.handler
    return head


def _http_status(by_name: Mapping[bytes, bytes]) -> int:
    """The HTTP status to refuse what is not gRPC with; 0 where it is."""
    if by_name.get(b"content-type", b"").partition(b";")[0].strip().lower() not in _CONTENT_TYPES:
        return 415
    if by_name[b":method"] != b"POST":
        return 405
    if b"te" not in by_name:
        # Without `te: trailers` there is no way to tell the status of a call.
        return 400
    return 0
