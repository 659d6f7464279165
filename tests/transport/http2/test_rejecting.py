"""Calls that are rejected: the rest of a field block like one that was rejected is not read."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from random import Random

from benches.frames import frame
from rls.transport.http2 import ErrorCode, Request, Responder
from rls.transport.status import StatusCode
from tests.transport.http2.peer import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LATER,
    PING,
    UNARY,
    Peer,
    block,
    call,
    data,
    fields,
    headers,
    message,
    rst_stream,
    settings,
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
    unread = frame(HEADERS, END_HEADERS, stream, start.start + b"\xff\xff\xff") + data(stream, message())
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
    assert known.connection.alike.start in block(fields(LATER, grpc_timeout="20m", x_request_id="id 9"))


def test_a_deadline_after_the_start_is_seen():
    """As of a client some of whose calls have a deadline, which it sends behind its other fields."""
    for own in ({}, {"x_request_id": "another"}):
        for many, huffman in ((None, True), (reject_many, True), (reject_many, False)):
            peer = Peer()
            for stream in (1, 3, 5, 7):
                other = dict.fromkeys(own, f"id {stream}")
                peer.send(headers_of(stream, fields(LATER, **other), huffman=huffman) + data(stream, message()))
            peer.connection.reject_alike(peer.requests[-1], reject, many)
            timed, untimed = fields(LATER, **own, grpc_timeout="5S"), fields(LATER, **own)
            peer.send(
                b"".join(
                    headers_of(stream, timed if stream in (11, 13) else untimed, huffman=huffman)
                    + data(stream, message())
                    for stream in (9, 11, 13, 15)
                )
            )
            assert statuses(peer) == {9: REJECTED, 15: REJECTED}
            assert [request.head.timeout for request in peer.requests[-2:]] == [5.0, 5.0]


def headers_of(stream: int, list_of_fields: list[tuple[str, str]], *, huffman: bool) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, block(list_of_fields, huffman=huffman))


def reject_many(connection: Responder, stream_ids: Sequence[int]) -> None:
    connection.fail_all(stream_ids, StatusCode.RESOURCE_EXHAUSTED, "too many calls")


def test_equal_blocks_are_alike():
    """As of a client whose header values are always the same."""
    peer = Peer()
    peer.send(*(call(stream, LATER) for stream in (1, 3, 5, 7)))
    peer.connection.reject_alike(peer.requests[-1], reject)
    assert peer.connection.alike is not None
    assert peer.connection.alike.start == block(fields(LATER))
    peer.send(call(9, LATER), call(11, UNARY))
    assert statuses(peer) == {9: REJECTED, 11: "0"}


def test_whole_calls_are_rejected_many_at_a_time():
    peer, stream, request = learned()
    found: list[Sequence[int]] = []

    def many(connection: Responder, stream_ids: Sequence[int]) -> None:
        found.append(stream_ids)
        reject_many(connection, stream_ids)

    peer.connection.reject_alike(request, reject, many)
    calls = [call(stream + 2 * i, LATER, x_request_id=f"number {i}") for i in range(5)]
    peer.send(b"".join([*calls, call(stream + 10, UNARY), call(stream + 12, LATER, x_request_id="last")]))
    assert found == [[stream + 2 * i for i in range(5)], [stream + 12]]
    assert statuses(peer) == {**{stream + 2 * i: REJECTED for i in range(5)}, stream + 10: "0", stream + 12: REJECTED}
    assert not any(peer.connection.is_live(answered) for answered in statuses(peer))


def test_a_turn_rejects_no_more_calls_than_it_would_begin():
    peer, stream, request = learned()
    sizes: list[int] = []

    def many(connection: Responder, stream_ids: Sequence[int]) -> None:
        sizes.append(len(stream_ids))
        reject_many(connection, stream_ids)

    peer.connection.reject_alike(request, reject, many)
    sent = b"".join(call(stream + 2 * i, LATER, x_request_id=f"number {i}") for i in range(200))
    assert peer.connection.receive(sent, 0.0)
    assert sizes == [64]
    while peer.connection.receive(b"", 0.0):
        pass
    assert sum(sizes) == 200


def test_what_the_client_must_not_send_is_an_error_all_the_same():
    for wrong, code in (
        (lambda stream, start: frame(HEADERS, END_HEADERS, stream, start + bytes(16_384)), ErrorCode.FRAME_SIZE_ERROR),
        (lambda stream, start: frame(HEADERS, END_HEADERS, stream - 1, start), ErrorCode.PROTOCOL_ERROR),
    ):
        for many in (None, reject_many):
            peer, stream, request = learned()
            peer.connection.reject_alike(request, reject, many)
            assert peer.connection.alike is not None
            peer.send(wrong(stream, peer.connection.alike.start) + data(stream, message()))
            assert peer.connection.error is not None
            assert peer.connection.error[0] is code


def test_a_promised_length_is_checked():
    peer = Peer()
    length = str(len(message(b"hello")))
    for stream in (1, 3, 5, 7):
        peer.send(call(stream, LATER, content_length=length, x_request_id=f"id {stream}"))
    peer.connection.reject_alike(peer.requests[-1], reject, reject_many)
    peer.send(call(9, LATER, b"hello", content_length=length, x_request_id="id 9"))
    peer.send(call(11, LATER, b"too long", content_length=length, x_request_id="id 11"))
    assert peer.responses[9].status == REJECTED
    assert peer.responses[11].reset == ErrorCode.PROTOCOL_ERROR


def test_a_length_after_the_start_is_read():
    """It is that of one call; the next may promise another."""
    peer = Peer()
    for stream in (1, 3, 5, 7):
        peer.send(call(stream, LATER, b"hello", x_request_id=f"id {stream}", content_length="10"))
    peer.connection.reject_alike(peer.requests[-1], reject)
    peer.send(call(9, LATER, b"hello, hello", x_request_id="id 9", content_length="17"))
    assert peer.responses == {}
    assert [stream for stream, _, _ in peer.calls] == [1, 3, 5, 7, 9]


def test_an_encoding_after_the_start_is_seen():
    """As of a client some of whose calls are compressed: they are not to be taken for malformed."""
    for huffman in (True, False):
        peer = Peer()
        for stream in (1, 3, 5, 7):
            peer.send(headers_of(stream, fields(LATER), huffman=huffman) + data(stream, message()))
        peer.connection.reject_alike(peer.requests[-1], reject, reject_many)
        zipped = headers_of(9, fields(LATER, grpc_encoding="gzip"), huffman=huffman)
        peer.send(zipped + data(9, message(gzip.compress(b"zipped"), flag=1)))
        assert statuses(peer) == {}
        assert peer.calls[-1] == (9, LATER.encode(), b"zipped")


def test_one_by_one_and_many_at_a_time_come_to_the_same():
    """Of random frames: calls alike and others, wrong ones, in random pieces, and for a client that changes its table."""
    for seed in range(300):
        answers = []
        for many in (None, reject_many):
            random = Random(seed)
            peer, stream, request = learned()
            peer.connection.reject_alike(request, reject, many)
            sent = b"".join(some_frames(random, stream))
            while sent and peer.connection.error is None:
                size = random.choice((1, 9, 60, 200, 1_000))
                peer.send(sent[:size])
                sent = sent[size:]
            answers.append((peer.responses, peer.connection.error, peer.connection._receive_window))
        assert answers[0] == answers[1], seed


def some_frames(random: Random, stream: int) -> Iterator[bytes]:
    for _ in range(random.randrange(1, 40)):
        like, own = fields(LATER, x_request_id=f"id {stream}"), fields(UNARY, x_request_id=f"id {stream}")
        yield random.choices(
            (
                headers(stream, like) + data(stream, message(bytes(random.choice((0, 5, 900, 1_100))))),
                headers(stream, own) + data(stream, message()),
                headers(stream, like) + data(stream, message(flag=1)),
                headers(stream, like, END_STREAM),
                headers(stream, like) + data(stream, message()[:3], 0) + data(stream, message()[3:]),
                headers(stream, like) + data(stream, message() + b"more"),
                headers(stream, like) + rst_stream(stream),
                frame(PING, 0, 0, bytes(8)) + settings((1, random.choice((0, 100, 4_096)))),
                headers(stream + 2, like) + data(stream, message()),
            ),
            (40, 8, 2, 2, 4, 2, 4, 4, 1),
        )[0]
        stream += 2
