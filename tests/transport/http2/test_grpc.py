"""gRPC's mapping (PROTOCOL-HTTP2.md): which requests are served, and what the others are answered with."""

from __future__ import annotations

import gzip
import logging
from urllib.parse import unquote

import pytest

from rls.transport.http2 import ConnectionLimits, ErrorCode
from rls.transport.status import StatusCode
from tests.transport.http2.peer import (
    BOOM,
    END_STREAM,
    LATER,
    STREAM,
    WATCH,
    Peer,
    call,
    data,
    fields,
    headers,
    message,
    rst_stream,
    window_update,
)

MAX = 70_000
GZIPPED = gzip.compress(b"x", mtime=0)


def test_a_call_is_answered_with_headers_a_message_and_trailers():
    peer = Peer()

    peer.send(call(1, payload=b"hello"))

    assert peer.calls == [(1, b"/echo/Unary", b"hello")]
    assert peer.response(1).blocks == [{":status": "200", "content-type": "application/grpc"}, {"grpc-status": "0"}]
    assert peer.response(1).messages == [b"hello"]
    assert peer.response(1).ended
    assert peer.response(1).reset is None


@pytest.mark.parametrize("size", [0, 1, 1_023, 1_024, 1_025, 16_384, 50_000])
def test_messages_of_any_size_are_echoed(size):
    peer = Peer()
    payload = bytes(i % 251 for i in range(size))
    body = message(payload)

    peer.send(headers(1), *(data(1, body[at : at + 16_384], 0) for at in range(0, len(body), 16_384)), data(1, b""))

    assert peer.response(1).messages == [payload]
    assert peer.response(1).status == "0"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"content_type": None}, "415"),
        ({"content_type": "application/json"}, "415"),
        ({"content_type": "application/grpc-web"}, "415"),
        ({"method": "GET"}, "405"),
        ({"te": None}, "400"),
        ({"content_type": "text/html", "method": "PUT", "te": None}, "415"),
    ],
)
def test_what_is_not_grpc_gets_an_http_status_when_it_is_whole(changed, status):
    peer = Peer()
    peer.send(headers(1, fields(**changed)), data(1, message(), 0))
    assert peer.response(1).blocks == []

    peer.send(data(1, b""))

    assert peer.response(1).blocks[0][":status"] == status
    assert peer.response(1).blocks[0].get("allow") == ("POST" if status == "405" else None)
    assert b"gRPC" in peer.response(1).data
    assert peer.response(1).ended
    assert peer.calls == []
    assert peer.works(3)


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "application/grpc+proto", "Application/GRPC; charset=utf-8"]
)
def test_content_types_of_grpc(content_type):
    peer = Peer()

    peer.send(call(1, content_type=content_type))

    assert peer.response(1).status == "0"


@pytest.mark.parametrize("path", ["/echo/unary", "/echo/Unary/", "/", "/echo.Unary"])
def test_an_unknown_method_is_unimplemented_before_its_message_has_come(path):
    peer = Peer()

    peer.send(headers(1, fields(path)))

    assert peer.response(1).status == str(int(StatusCode.UNIMPLEMENTED))
    assert peer.response(1).blocks[0]["grpc-accept-encoding"] == "identity,gzip"
    assert peer.response(1).blocks[0][":status"] == "200"
    assert peer.response(1).reset == 0, "NO_ERROR: the client need not send the rest"
    peer.send(data(1, message()))
    assert peer.works(3)


@pytest.mark.parametrize(("timeout", "seconds"), [("20m", 0.02), ("1S", 1.0), (None, None), ("0n", 0.0)])
def test_the_timeout_reaches_the_handler(timeout, seconds):
    peer = Peer()

    peer.send(call(1, grpc_timeout=timeout))

    assert peer.requests[0].head.timeout == seconds


@pytest.mark.parametrize("timeout", ["", "20", "m", "20x", "123456789m", "-1m"])
def test_a_malformed_timeout_is_internal(timeout):
    peer = Peer()

    peer.send(call(1, grpc_timeout=timeout))

    assert peer.response(1).status == str(int(StatusCode.INTERNAL))
    assert peer.response(1).text == "malformed grpc-timeout"


def test_a_message_over_the_bound_is_refused_by_its_prefix():
    peer = Peer(ConnectionLimits(max_message_bytes=MAX))

    peer.send(headers(1), data(1, b"\0" + (MAX + 1).to_bytes(4, "big"), 0))

    assert peer.response(1).status == str(int(StatusCode.RESOURCE_EXHAUSTED))
    assert peer.response(1).reset == 0


def test_a_message_at_the_bound_is_served():
    peer = Peer(ConnectionLimits(max_message_bytes=MAX), values={4: 1_000_000})
    body = message(bytes(MAX))

    peer.send(
        headers(1, fields(LATER)),
        *(data(1, body[at : at + 16_000], 0) for at in range(0, len(body), 16_000)),
        data(1, b""),
    )

    assert len(peer.calls[0][2]) == MAX


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", StatusCode.UNIMPLEMENTED),
        (b"\0\0\0", StatusCode.INTERNAL),
        (message()[:-1], StatusCode.INTERNAL),
        (message(b"x", 2), StatusCode.INTERNAL),
        (message() + message(), StatusCode.UNIMPLEMENTED),
        (message() + b"\0", StatusCode.UNIMPLEMENTED),
        (message(b"x", 1), StatusCode.INTERNAL),
    ],
)
@pytest.mark.parametrize("pieces", [1, 2, 20])
def test_what_is_not_exactly_one_message(body, status, pieces):
    peer = Peer()
    step = -(-len(body) // pieces) or 1

    peer.send(headers(1), *(data(1, body[at : at + step], 0) for at in range(0, len(body), step)), data(1, b""))

    assert peer.response(1).status == str(int(status))
    assert peer.calls == []
    assert peer.works(3)


def test_a_request_that_ends_with_its_headers_has_no_message():
    peer = Peer()

    peer.send(headers(1, flags=END_STREAM))

    assert peer.response(1).status == str(int(StatusCode.UNIMPLEMENTED))
    assert peer.response(1).reset is None


def test_gzip_is_inflated():
    peer = Peer()

    peer.send(headers(1, fields(grpc_encoding="gzip")), data(1, message(gzip.compress(b"hello"), 1)))
    peer.send(headers(3, fields(grpc_encoding="gzip")), data(3, message(b"as it is")))

    assert [payload for *_, payload in peer.calls] == [b"hello", b"as it is"]


@pytest.mark.parametrize(
    ("encoding", "payload", "status"),
    [
        ("identity", GZIPPED, StatusCode.INTERNAL),
        (None, GZIPPED, StatusCode.INTERNAL),
        ("br", b"x", StatusCode.UNIMPLEMENTED),
        ("gzip", b"x", StatusCode.INTERNAL),
        ("gzip", GZIPPED[:-1], StatusCode.INTERNAL),
        ("gzip", gzip.compress(bytes(MAX + 1), mtime=0), StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["identity", "no encoding", "another encoding", "not gzip", "cut off", "too large"],
)
@pytest.mark.parametrize("path", ["/echo/Unary", STREAM])
def test_a_message_that_cannot_be_inflated(encoding, payload, status, path):
    peer = Peer(ConnectionLimits(max_message_bytes=MAX))

    peer.send(headers(1, fields(path, grpc_encoding=encoding)), data(1, message(payload, 1)))

    assert peer.response(1).status == str(int(status))
    assert peer.works(3)


@pytest.mark.parametrize("text", ["plain", "100 %", "naïve\n", "\U0001f600", ""])
def test_status_and_message_of_a_failure(text):
    peer = Peer()
    peer.send(call(1, LATER))

    assert peer.connection.fail(1, StatusCode.UNAVAILABLE, text)
    peer.read()

    assert peer.response(1).status == str(int(StatusCode.UNAVAILABLE))
    assert unquote(peer.response(1).text or "") == text
    assert len(peer.response(1).blocks) == 1
    assert peer.response(1).blocks[0][":status"] == "200"


def test_a_long_message_is_cut():
    peer = Peer()
    peer.send(call(1, LATER))

    peer.connection.fail(1, StatusCode.UNAVAILABLE, "ü" * 100_000)
    peer.read()

    assert set(unquote(peer.response(1).text or "")) == {"ü"}
    assert len(peer.response(1).text or "") <= 4_096


@pytest.mark.parametrize("way", ["flat", "whole", "in two reads"])
def test_an_exception_in_a_handler_ends_its_call_only(way, caplog):
    peer = Peer()
    with caplog.at_level(logging.CRITICAL):
        stream = peer.warm(BOOM) if way == "flat" else 1
        begin, rest = headers(stream, fields(BOOM)), data(stream, message())
        if way == "in two reads":
            peer.send(begin)
            begin = b""
        peer.send(begin, rest, call(stream + 2))

    assert peer.response(stream).status == str(int(StatusCode.INTERNAL))
    assert peer.response(stream + 2).status == "0"
    assert peer.goaways == []


@pytest.mark.parametrize("flat", [True, False])
def test_a_call_is_answered_later_and_only_once(flat):
    peer = Peer()
    one = peer.warm() if flat else 1
    three = one + 2
    peer.send(call(one, LATER), call(three, LATER))
    assert set(peer.connection.calls) == ({one, three} if flat else set())
    assert peer.connection.is_live(one)

    assert peer.connection.respond(three, b"third")
    assert peer.connection.respond(one, b"first")
    assert not peer.connection.respond(one, b"again")
    assert not peer.connection.fail(one, StatusCode.INTERNAL, "again")
    peer.read()

    assert (peer.response(one).messages, peer.response(three).messages) == ([b"first"], [b"third"])
    assert peer.response(one).status == peer.response(three).status == "0"
    assert not peer.connection.is_live(one)
    assert peer.wakes == 1, "one write for all that a turn answers"
    assert not peer.connection.fail(three, StatusCode.INTERNAL, "again")
    peer.send(call(three + 2))
    assert peer.wakes == 1, "whoever feeds a connection writes"


@pytest.mark.parametrize("flat", [True, False])
def test_whoever_is_gone_is_not_answered(flat):
    peer = Peer()
    one = peer.warm() if flat else 1
    peer.send(call(one, LATER), call(one + 2, LATER), rst_stream(one))

    assert not peer.connection.is_live(one)
    assert not peer.connection.respond(one, b"first")
    assert not peer.connection.fail(one, StatusCode.UNAVAILABLE, "")
    assert not peer.connection.reset(one)
    assert peer.connection.respond(one + 2, b"third")
    peer.read()
    assert peer.response(one).blocks == []
    assert peer.response(one + 2).messages == [b"third"]


@pytest.mark.parametrize("size", [0, 1, 1_022, 1_023, 1_024, 20_000, 65_530, 65_531, 70_000])
def test_answers_of_any_size_are_the_same_on_the_flat_path(size):
    answers = []
    for flat in (True, False):
        peer = Peer()
        one = peer.warm() if flat else 1
        peer.send(call(one, LATER))
        assert peer.connection.respond(one, bytes(size))
        peer.read()
        peer.send(window_update(0, 10_000), window_update(one, 10_000))
        answers.append(peer.response(one))

    assert answers[0] == answers[1]
    assert answers[0].messages == [bytes(size)]
    assert answers[0].ended


@pytest.mark.parametrize("size", [0, 1, 1_023, 1_024, 1_025])
def test_requests_of_any_size_are_the_same_on_the_flat_path(size):
    peer = Peer()
    one = peer.warm()

    peer.send(call(one, LATER, bytes(size)))

    assert peer.calls == [(one, b"/echo/Later", bytes(size))]
    assert (one in peer.connection.calls) == (size < 1_024)


@pytest.mark.parametrize("promised", [8, 9, 10])
def test_a_length_that_is_promised_holds_on_the_flat_path(promised):
    """h2load promises one, and sends the HEADERS of several calls before their DATA."""
    peer = Peer()
    block = fields(LATER, content_length=str(promised))
    peer.send(*(headers(stream, block) + rst_stream(stream) for stream in (1, 3, 5)))
    assert peer.connection._blocks.known

    peer.send(headers(7, block), headers(9, block), data(7, message(b"abcd")), data(9, message(b"efgh")))

    if promised == 9:
        assert peer.calls == [(7, b"/echo/Later", b"abcd"), (9, b"/echo/Later", b"efgh")]
        assert {7, 9} == set(peer.connection.calls)
    else:
        assert peer.calls == []
        assert [peer.response(stream).reset for stream in (7, 9)] == [ErrorCode.PROTOCOL_ERROR] * 2


def test_an_exception_at_the_beginning_of_a_stream_ends_its_call_only(caplog):
    peer = Peer()
    peer.begin_fails = True

    with caplog.at_level(logging.CRITICAL):
        peer.send(headers(1, fields(STREAM)), data(1, message()))

    assert peer.response(1).status == str(int(StatusCode.INTERNAL))
    assert peer.works(3)


def test_a_receiver_that_fails_when_its_call_is_lost_hurts_nobody(caplog):
    peer = Peer()
    peer.send(headers(1, fields(WATCH)))
    peer.streams[1].lost = lambda: 1 / 0  # type: ignore[method-assign,assignment]

    with caplog.at_level(logging.CRITICAL):
        peer.send(rst_stream(1))

    assert peer.works(3)


def test_a_mistake_of_ours_ends_the_connection_and_raises_nothing(caplog, monkeypatch):
    peer = Peer()
    peer.send(call(1, LATER))
    monkeypatch.setattr(peer.connection, "_on_ping", lambda flags, stream, payload: 1 / 0)

    with caplog.at_level(logging.CRITICAL):
        peer.send(b"\0\0\x08\x06\0\0\0\0\0" + bytes(8))

    assert peer.code == 2
    assert not peer.connection.respond(1, b"")


def test_a_lost_transport_loses_all_calls():
    peer = Peer()
    peer.send(call(1, LATER), headers(3, fields(WATCH)))

    peer.connection.lost()

    assert not peer.connection.respond(1, b"")
    assert peer.streams[3].was_lost == 1
    assert peer.connection.send_part(3, message()) == -1
    assert peer.connection.data_to_send() == b""
    assert not peer.connection.receive(call(5), 0)


def test_a_call_may_be_reset_by_its_handler():
    peer = Peer()
    peer.send(call(1, LATER))

    assert peer.connection.reset(1)
    peer.read()

    assert peer.response(1).reset == 8
    assert peer.works(3)


def test_metadata_is_there_for_the_asking():
    peer = Peer()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    peer.send(call(1, traceparent=trace, x_data_bin="AAEC"))

    request = peer.requests[0]
    assert request.value(b"traceparent") == trace.encode()
    assert request.value(b"x-data-bin") == b"AAEC"
    assert request.value(b"nothing") is None
    assert dict(request.fields)[b":path"] == b"/echo/Unary"


# Streaming


def test_messages_of_a_streaming_call_are_answered_as_they_come():
    peer = Peer()
    peer.send(headers(1, fields(STREAM)), data(1, message(b"one"), 0))
    assert peer.response(1).messages == [b"one"]
    half = message(b"three")

    peer.send(data(1, message(b"two") + half[:6], 0))
    assert peer.response(1).messages == [b"one", b"two"]
    peer.send(data(1, half[6:]))

    assert peer.response(1).messages == [b"one", b"two", b"three"]
    assert peer.response(1).blocks == [{":status": "200", "content-type": "application/grpc"}, {"grpc-status": "0"}]
    assert peer.streams[1].was_lost == 0


def test_a_watch_sends_long_after_the_request_has_ended():
    peer = Peer()
    peer.send(headers(1, fields(WATCH)), data(1, message(b"watch")))
    assert peer.response(1).blocks == []

    for update in (b"up", b"down"):
        assert peer.connection.send_part(1, message(update)) == len(message(update))
        peer.tick(100)
        peer.connection.receive(b"\0\0\0\x2a\0\0\0\0\0", peer.now)

    assert peer.response(1).messages == [b"up", b"down"]
    assert peer.connection.fail(1, StatusCode.UNAVAILABLE, "the server stops")
    peer.read()
    assert peer.response(1).blocks[1:] == [{"grpc-status": "14", "grpc-message": "the server stops"}]
    assert peer.connection.send_part(1, message(b"late")) == -1


def test_a_watch_that_is_answered_while_its_client_still_sends():
    peer = Peer()
    peer.send(headers(1, fields(WATCH)), data(1, message(b"watch"), 0))

    assert peer.connection.finish(1)
    peer.read()

    assert peer.response(1).status == "0"
    assert peer.response(1).reset == 0
    peer.send(data(1, message(b"more")))
    assert peer.works(3)


@pytest.mark.parametrize("how", ["reset", "exception", "bad message", "connection error"])
def test_a_receiver_is_told_once_when_its_call_is_lost(how):
    peer = Peer()
    peer.send(headers(1, fields(STREAM)), data(1, message(b"one"), 0))

    peer.send(
        {
            "reset": rst_stream(1),
            "exception": data(1, message(b"boom") + message(b"two"), 0),
            "bad message": data(1, message(b"", 7), 0),
            "connection error": data(0, b""),
        }[how]
    )

    assert peer.streams[1].was_lost == 1
    assert peer.connection.send_part(1, message(b"more")) == -1
    if how in ("exception", "bad message"):
        assert peer.response(1).status == str(int(StatusCode.INTERNAL))
    peer.connection.lost()
    assert peer.streams[1].was_lost == 1


def test_a_streaming_call_may_be_as_long_as_it_likes():
    peer = Peer(ConnectionLimits(max_message_bytes=65_530))
    body = message(bytes(10_000))

    peer.send(headers(1, fields(WATCH)))
    for _ in range(100):
        peer.send(data(1, body, 0))

    assert len(peer.streams[1].messages) == 100
    assert peer.goaways == []
    assert peer.response(1).reset is None
