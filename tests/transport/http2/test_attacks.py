"""The published families of attacks, by name: each costs its client the connection or the call, and us little memory."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from benches.frames import frame
from rls.transport.http2 import ConnectionLimits, Rate
from rls.transport.http2.errors import ErrorCode
from rls.transport.status import StatusCode
from tests.transport.http2.peer import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LATER,
    PADDED,
    PING,
    PRIORITY,
    SETTINGS,
    STREAM,
    UNARY,
    Peer,
    block,
    call,
    data,
    fields,
    headers,
    message,
    number,
    rst_stream,
    settings,
    window_update,
)

CALM = ErrorCode.ENHANCE_YOUR_CALM
HEAD = block(fields(LATER))


def opened(stream: int) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, HEAD)


def flood(peer: Peer, *frames: bytes, at_most: int = 100_000) -> int:
    """Send *frames* over and over until the connection ends; how often that was."""
    for i in range(at_most):
        peer.send(*frames)
        if peer.connection.is_closed:
            return i + 1
    return at_most


# Rapid reset (CVE-2023-44487)


@pytest.mark.parametrize("whole", [True, False])
def test_rapid_reset(whole):
    peer = Peer()

    for i in range(3_000):
        stream = 1 + 2 * i
        peer.send(opened(stream), data(stream, message()) if whole else b"", rst_stream(stream))
        if peer.connection.is_closed:
            break

    assert peer.code == CALM
    assert len(peer.responses) <= 1_001
    assert peer.connection.error == (CALM, "too many calls reset")


def test_resets_at_a_rate_that_proxies_pass_on_are_no_attack():
    peer = Peer()

    for i in range(5_000):
        peer.now += 0.01
        peer.send(call(1 + 2 * i, LATER), rst_stream(1 + 2 * i))

    assert peer.goaways == []


def test_mass_timeouts_close_no_connection():
    """Three times the capacity: all callers give up, some before we have read of them."""
    peer = Peer()
    stream = -1
    for timeout in (0.02, 0.006) * 20:
        batch = range(stream + 2, stream + 202, 2)
        stream += 200
        peer.send(*(call(one, LATER) for one in batch))
        peer.now += timeout
        peer.send(*(rst_stream(one) for one in batch))
        late = range(stream + 2, stream + 202, 2)
        stream += 200
        peer.send(*(call(one, LATER) for one in late), *(rst_stream(one) for one in late), waited=timeout)

    assert peer.goaways == []
    assert not peer.connection.calls


def test_resets_of_calls_that_were_shed_or_answered_are_free():
    peer = Peer()

    for i in range(5_000):
        stream = 1 + 2 * i
        peer.send(call(stream, LATER))
        peer.connection.fail(stream, StatusCode.RESOURCE_EXHAUSTED, "too many calls")
        peer.send(rst_stream(stream))

    assert peer.goaways == []


# MadeYouReset, which is CVE-2025-8671


@pytest.mark.parametrize(
    "wrong",
    [
        lambda stream: window_update(stream, 0),
        lambda stream: window_update(stream, 2**31 - 1),
        lambda stream: frame(PRIORITY, 0, stream, bytes(4)),
        lambda stream: data(stream, b"after the end"),
        lambda stream: headers(stream, [("x", "y")], END_STREAM),
    ],
    ids=["WINDOW_UPDATE of 0", "window overflow", "PRIORITY of 4 bytes", "DATA after the end", "HEADERS after the end"],
)
def test_made_you_reset(wrong):
    peer = Peer()

    for i in range(500):
        peer.send(call(1 + 2 * i, LATER), wrong(1 + 2 * i))
        if peer.connection.is_closed:
            break

    assert peer.code == CALM
    assert len(peer.responses) <= 101


@pytest.mark.parametrize(
    "begin",
    [
        lambda stream: headers(stream, [("x", "y")]),
        lambda stream: headers(stream, fields(content_length="1"), END_STREAM),
        lambda stream: headers(stream, fields(connection="close")),
    ],
    ids=["no pseudo-header fields", "wrong content-length", "connection"],
)
def test_malformed_requests_without_end(begin):
    peer = Peer()

    for i in range(500):
        peer.send(begin(1 + 2 * i))
        if peer.connection.is_closed:
            break

    assert peer.code == CALM


# CONTINUATION flood (CVE-2024-27316 and others)


@pytest.mark.parametrize("payload", [b"", b"\x82", bytes(16_384)], ids=["empty", "a byte", "large"])
def test_continuation_flood(payload):
    peer = Peer()
    peer.send(frame(HEADERS, 0, 1, HEAD))

    count = flood(peer, frame(CONTINUATION, 0, 1, payload))

    assert peer.code == CALM
    assert count <= 17
    assert peer.connection._block is None or len(peer.connection._block.data) <= 65_536


# Floods of SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty frames (CVE-2019-9512, -9515, -9513, -9518)


@pytest.mark.parametrize(
    "flooding",
    [
        pytest.param(frame(PING, 0, 0, bytes(8)), id="PING"),
        pytest.param(frame(PING, ACK, 0, bytes(8)), id="PING acknowledged"),
        pytest.param(settings(), id="empty SETTINGS"),
        pytest.param(settings((4, 1), (4, 65_535)), id="SETTINGS"),
        pytest.param(frame(SETTINGS, ACK, 0), id="SETTINGS acknowledged"),
        pytest.param(frame(PRIORITY, 0, 9, bytes(5)), id="PRIORITY"),
        pytest.param(window_update(0, 1), id="WINDOW_UPDATE"),
        pytest.param(window_update(1, 1), id="WINDOW_UPDATE of a stream"),
        pytest.param(data(1, b"", 0), id="empty DATA"),
        pytest.param(frame(0, PADDED, 1, b"\xff" + bytes(255)), id="DATA of padding only"),
        pytest.param(frame(0x2A, 0, 0, b"?"), id="unknown frames"),
        pytest.param(frame(7, 0, 0, bytes(8)), id="GOAWAY"),
        pytest.param(rst_stream(3), id="RST_STREAM of a closed stream"),
    ],
)
def test_floods(flooding):
    peer = Peer()
    peer.send(call(3), headers(5, fields("/echo/Watch")))
    flooding = flooding.replace(b"\0\0\0\1", b"\0\0\0\5") if flooding[3] == 0 else flooding

    count = flood(peer, flooding)

    assert peer.code == CALM
    assert count <= 10_100


def test_settings_with_many_values_cost_more():
    peer = Peer()

    assert flood(peer, settings(*[(4, i) for i in range(2_700)])) <= 4
    assert peer.code == CALM


def test_trailing_headers_of_streams_that_are_gone_are_paid_for():
    peer = Peer()
    peer.send(headers(1, fields("/no/such")))

    assert flood(peer, headers(1, [("x", "y")], END_STREAM)) <= 10_100
    assert peer.code == CALM


@pytest.mark.parametrize("together", [True, False])
def test_what_clients_send_for_their_calls_is_no_flood(together):
    peer = Peer()

    for i in range(6_000):
        stream = 1 + 2 * i
        if together:
            peer.send(call(stream))
        else:
            peer.send(opened(stream))
            peer.send(data(stream, message()))
        peer.connection.respond(stream, b"hello")
        peer.send(window_update(stream, 5), window_update(0, 5), rst_stream(stream))

    assert peer.goaways == []


# Data dribble (CVE-2019-9511)


def test_a_message_that_dribbles_in_ends_its_call():
    peer = Peer()
    peer.send(opened(1), data(1, b"\0" + number(1_000_000), 0))

    for _ in range(12):
        peer.tick(0.5)
        peer.send(data(1, bytes(10), 0))

    assert peer.response(1).status == str(int(StatusCode.DEADLINE_EXCEEDED))
    assert peer.connection._held == 0
    assert peer.works(3)


def test_a_message_in_tiny_frames_ends_the_connection():
    peer = Peer()
    peer.send(opened(1), data(1, b"\0" + number(1_000_000), 0))

    assert flood(peer, data(1, b"x", 0)) <= 10_100
    assert peer.code == CALM


def test_headers_that_dribble_in():
    for sent in (HEAD[:1], frame(HEADERS, 0, 1, HEAD), opened(1)[:-1]):
        peer = Peer()
        peer.send(sent if sent != HEAD[:1] else opened(1)[:3])

        peer.tick(4.9)
        assert peer.goaways == []
        peer.tick(0.2)

        assert peer.code == CALM


def test_a_frame_that_grows_byte_by_byte_has_no_more_time():
    peer = Peer()
    sent = opened(1)

    for i in range(8):
        peer.tick(0.9)
        peer.send(sent[i : i + 1])

    assert peer.code == CALM


# HPACK bomb: see test_blocks


# Zero windows and slow readers (CVE-2019-9517)


def test_answers_to_a_client_with_shut_windows_are_bounded():
    peer = Peer(values={4: 0})

    peer.send(*(call(1 + 2 * i, UNARY, bytes(900)) for i in range(1_000)))

    assert peer.connection._waiting_bytes <= 262_144
    assert len(peer.connection.streams) <= 256
    peer.tick(6)
    assert not peer.connection.streams
    assert peer.connection._waiting_bytes == 0


def test_windows_that_open_by_one_byte_are_paid_for():
    peer = Peer(values={4: 0})
    peer.send(call(1, LATER))
    peer.connection.respond(1, bytes(100_000))

    assert flood(peer, window_update(1, 1)) <= 10_100
    assert peer.code == CALM


# Half-sent calls, large prefixes, gzip bombs, more streams than allowed


def test_half_sent_calls_are_bounded_and_end():
    peer = Peer()

    peer.send(*(opened(1 + 2 * i) + data(1 + 2 * i, b"\0" + number(1_000_000) + bytes(900), 0) for i in range(1_000)))

    assert len(peer.connection.streams) == 1_000
    assert peer.connection._held <= ConnectionLimits().connection_window
    peer.tick(5.1)
    assert not peer.connection.streams
    assert peer.connection._held == 0
    assert peer.works(2_001)


def test_a_prefix_of_4_gib_reserves_nothing():
    peer = Peer()
    tracemalloc.start()
    try:
        peer.send(*(opened(1 + 2 * i) + data(1 + 2 * i, b"\0\xff\xff\xff\xff" + bytes(100), 0) for i in range(500)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 5_000_000
    assert all(peer.response(1 + 2 * i).status == str(int(StatusCode.RESOURCE_EXHAUSTED)) for i in range(500))


@pytest.mark.parametrize("path", [UNARY, STREAM])
def test_gzip_bomb(path):
    peer = Peer(ConnectionLimits(max_message_bytes=100_000))
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        body = message(bomb, 1)
        peer.send(headers(1, fields(path, grpc_encoding="gzip")))
        peer.send(*(data(1, body[at : at + 16_384], 0) for at in range(0, len(body), 16_384)), data(1, b""))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peer.response(1).status == str(int(StatusCode.RESOURCE_EXHAUSTED))
    assert peak < 2_000_000


def test_messages_that_inflate_cost_a_turn_more():
    peer = Peer()
    large = message(gzip.compress(bytes(1_000_000)), 1)
    peer.send(headers(1, fields("/echo/Watch", grpc_encoding="gzip")))

    assert peer.connection.receive(b"".join(data(1, large, 0) for _ in range(20)), 0)
    assert len(peer.streams[1].messages) < 5


@pytest.mark.parametrize("acknowledge", [True, False])
def test_streams_past_the_limit(acknowledge):
    peer = Peer(ConnectionLimits(max_concurrent_streams=10), acknowledge=acknowledge)

    for i in range(20_000):
        peer.send(opened(1 + 2 * i))
        if peer.connection.is_closed:
            break

    assert peer.code == CALM
    refused = [one for one in peer.responses.values() if one.reset == ErrorCode.REFUSED_STREAM]
    assert len(refused) == (101 if acknowledge else 2_500)


def test_streams_that_we_remember_are_bounded():
    peer = Peer(ConnectionLimits(remembered_streams=10, faults=Rate(1_000, 1_000)))

    for i in range(100):
        peer.send(headers(1 + 2 * i, fields("/no/such")))

    assert len(peer.connection._ignored) == 10
    peer.send(data(199, b"late"))
    assert peer.response(199).reset == 0
    peer.responses.clear()
    peer.send(data(1, b"very late"))
    assert peer.response(1).reset == ErrorCode.STREAM_CLOSED
    assert peer.works(301)


# Turns


def test_a_turn_is_bounded():
    peer = Peer()
    peer.send(*(opened(1 + 2 * i) + data(1 + 2 * i, message()) for i in range(3)))
    peer.calls.clear()

    turns = [0]
    more = peer.connection.receive(b"".join(opened(7 + 2 * i) + data(7 + 2 * i, message()) for i in range(300)), 0)
    turns.append(len(peer.calls))
    while more:
        more = peer.connection.receive(b"", 0)
        turns.append(len(peer.calls))

    assert turns == [0, 64, 128, 192, 256, 300]


def test_what_a_turn_leaves_is_taken_up_where_it_was_cut():
    peer = Peer()
    sent = b"".join(call(1 + 2 * i) for i in range(301))

    more = peer.connection.receive(sent[:-7], 0)
    while more:
        more = peer.connection.receive(b"", 0)
    peer.send(sent[-7:])

    assert [stream for stream, *_ in peer.calls] == list(range(1, 603, 2))


def test_settings_that_touch_many_streams_cost_a_turn_more():
    peer = Peer()
    peer.send(*(opened(1 + 2 * i) for i in range(400)))

    assert peer.connection.receive(settings((4, 1), (4, 2)) * 20, 0)

    acknowledged = peer.connection.data_to_send().count(b"\0\0\0\x04\x01")
    assert 2 <= acknowledged <= 4


def test_a_turn_is_shorter_where_blocks_are_to_be_decoded():
    peer = Peer()
    calls = b"".join(
        headers(1 + 2 * i, fields(LATER, **{f"x-{i}": "a b"})) + data(1 + 2 * i, message()) for i in range(20)
    )

    assert peer.connection.receive(calls, 0)

    assert 1 <= len(peer.calls) <= 6


def test_a_handler_may_end_the_turn():
    peer = Peer()
    peer.send(*(call(1 + 2 * i, LATER) for i in range(3)))
    peer.calls.clear()
    handled = peer.connection._blocks.known
    assert handled

    for request in handled.values():
        served = request.head.unary
        assert served is not None

        def handler(connection, *rest, served=served):
            served(connection, *rest)
            connection.end_turn()

        request.head.unary = handler
    more = peer.connection.receive(b"".join(call(7 + 2 * i, LATER) for i in range(3)), 0)

    assert more
    assert len(peer.calls) == 1
    peer.send(turns=1)
    assert len(peer.calls) == 2
