"""Calls that are rejected: the rest of a field block like one that was rejected is not read."""

from __future__ import annotations

from benches.frames import frame
from rls.transport.http2 import Request, Responder
from rls.transport.status import StatusCode
from tests.transport.http2.peer import (
    END_HEADERS,
    HEADERS,
    LATER,
    UNARY,
    Peer,
    block,
    call,
    data,
    fields,
    message,
)

REJECTED = str(int(StatusCode.RESOURCE_EXHAUSTED))


def learned() -> tuple[Peer, int, Request]:
    """A client whose calls differ in one field, the next stream, and the request of its last call."""
    peer = Peer()
    for stream in (1, 3, 5, 7):
        peer.send(call(stream, LATER, x_request_id=f"id {stream}"))
    assert len(peer.connection._blocks._patterns) == 1
    return peer, 9, peer.requests[-1]


def reject(connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
    connection.fail(stream_id, StatusCode.RESOURCE_EXHAUSTED, "too many calls")


def statuses(peer: Peer) -> dict[int, str | None]:
    return {stream: response.status for stream, response in peer.responses.items()}


def test_calls_alike_are_handed_over_unread():
    peer, stream, request = learned()
    peer.connection.reject_alike(request, reject)
    start = peer.connection.alike
    assert start is not None
    # No field list: whatever follows the common start is not looked at.
    unread = frame(HEADERS, END_HEADERS, stream, start[0] + b"\xff\xff\xff") + data(stream, message())
    peer.send(unread, call(stream + 2, LATER, x_request_id="another"))
    assert statuses(peer) == {stream: REJECTED, stream + 2: REJECTED}
    assert not peer.connection.calls.keys() & {stream, stream + 2}


def test_other_paths_and_what_comes_after_are_not():
    peer, stream, request = learned()
    peer.connection.reject_alike(request, reject)
    peer.send(call(stream, UNARY, x_request_id="id 1"))
    assert statuses(peer) == {stream: "0"}
    peer.connection.rejecting = None
    peer.send(call(stream + 2, LATER, x_request_id="id 2"))
    assert stream + 2 in peer.connection.calls


def test_any_split_of_the_bytes_comes_to_the_same():
    for size in (1, 7, 64):
        peer, stream, request = learned()
        peer.connection.reject_alike(request, reject)
        sent = b"".join(call(stream + 2 * i, LATER, x_request_id=f"number {i}") for i in range(20))
        for at in range(0, len(sent), size):
            peer.send(sent[at : at + size])
        assert statuses(peer) == {stream + 2 * i: REJECTED for i in range(20)}
        assert peer.connection.error is None


def test_requests_without_a_deadline_in_their_start_are_read():
    """Callers with more time may be let in, so the deadline has to be known before a call is rejected."""
    peer = Peer()
    for stream in (1, 3, 5, 7):
        peer.send(call(stream, LATER, x_request_id=f"id {stream}", grpc_timeout="20m"))
    peer.connection.reject_alike(peer.requests[-1], reject)
    assert peer.connection.alike is None
    known = Peer()
    for stream in (1, 3, 5, 7):
        known.send(call(stream, LATER, grpc_timeout="20m", x_request_id=f"id {stream}"))
    known.connection.reject_alike(known.requests[-1], reject)
    assert known.connection.alike is not None
    assert known.connection.alike[0] in block(fields(LATER, grpc_timeout="20m", x_request_id="id 9"))
