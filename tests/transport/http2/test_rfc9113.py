"""What RFC 9113 demands of a server, section by section: each row is a demand, what the client does, and what must come of it.

The name of a row is its section. What no row can show has a test of its own below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hpack import NeverIndexedHeaderTuple

from benches.frames import frame
from rls.transport.http2 import ConnectionLimits
from rls.transport.http2.errors import ErrorCode
from tests.transport.http2.peer import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LATER,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM,
    WATCH,
    WINDOW_UPDATE,
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

MAX = 2**31 - 1
Outcome = Callable[[Peer], None]


@dataclass(frozen=True)
class Row:
    section: str
    demand: str
    sent: bytes
    outcome: Outcome


def connection_error(code: ErrorCode) -> Outcome:
    def check(peer: Peer) -> None:
        assert peer.code == code, (peer.goaways, peer.responses)
        assert peer.connection.is_closed
        assert peer.connection.is_drained

    return check


def stream_error(code: ErrorCode, stream: int = 1) -> Outcome:
    """RST_STREAM with *code*; the connection goes on."""

    def check(peer: Peer) -> None:
        assert peer.response(stream).reset == code, (peer.goaways, peer.responses)
        assert peer.works(101)

    return check


def served(stream: int = 1, messages: tuple[bytes, ...] = (b"hello",)) -> Outcome:
    def check(peer: Peer) -> None:
        assert peer.goaways == []
        assert tuple(peer.response(stream).messages) == messages
        assert peer.response(stream).status == "0"
        assert peer.works(101)

    return check


def ignored(peer: Peer) -> None:
    assert peer.goaways == []
    assert not any(response.reset for response in peer.responses.values())
    assert peer.works(101)


PROTOCOL = connection_error(ErrorCode.PROTOCOL_ERROR)
FRAME_SIZE = connection_error(ErrorCode.FRAME_SIZE_ERROR)
FLOW_CONTROL = connection_error(ErrorCode.FLOW_CONTROL_ERROR)
COMPRESSION = connection_error(ErrorCode.COMPRESSION_ERROR)
MALFORMED = stream_error(ErrorCode.PROTOCOL_ERROR)


def request(*changed: tuple[str | bytes, str | bytes], without: str = "") -> bytes:
    """A call whose list ends with *changed*."""
    kept = [pair for pair in fields() if pair[0] != without]
    return headers(1, [*kept, *changed]) + data(1, message())


def first(*leading: tuple[str | bytes, str | bytes], without: str = "") -> bytes:
    """A call whose list begins with *leading*."""
    kept = [pair for pair in fields() if pair[0] != without]
    return headers(1, [*leading, *kept]) + data(1, message())


def unfinished(flags: int = 0, path: str = LATER) -> bytes:
    return headers(1, fields(path), flags)


BLOCK = block(fields())
HALF, REST = BLOCK[:9], BLOCK[9:]
TRAILERS = [("x-checksum", "1")]

ROWS = [
    # 4 Frames
    Row("4.1", "a frame of an unknown type is ignored", frame(0x2A, 0xFF, 7, b"?") + call(1), served()),
    Row("4.1", "flags that have no meaning are ignored", frame(PING, 0xF0, 0, b"12345678") + call(1), served()),
    Row("4.1", "the reserved bit is ignored", frame(HEADERS, END_HEADERS, 1 | 1 << 31, BLOCK) + data(1, message()), served()),
    Row("4.2", "a frame above the largest size", frame(DATA, 0, 1, bytes(16_385)), FRAME_SIZE),
    Row("4.2", "as soon as its header says so", unfinished() + frame(DATA, 0, 1, bytes(16_385))[:9], FRAME_SIZE),
    Row("4.2", "one of the largest size is taken", unfinished(0, STREAM) + data(1, message(bytes(16_379)), 0), ignored),
    Row("4.3", "a field block that cannot be decoded", frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), COMPRESSION),
    Row("4.3", "a field that ends too soon", frame(HEADERS, END_HEADERS, 1, BLOCK[:-3]), COMPRESSION),
    Row("4.3", "index 0", frame(HEADERS, END_HEADERS, 1, b"\x80"), COMPRESSION),
    Row("4.3", "an index beyond the tables", frame(HEADERS, END_HEADERS, 1, b"\xbe"), COMPRESSION),
    Row("4.3", "a Huffman code with EOS in it", frame(HEADERS, END_HEADERS, 1, b"\x00\x01a\x84\xff\xff\xff\xff"), COMPRESSION),
    Row("4.3", "padding of a Huffman code that is not ones", frame(HEADERS, END_HEADERS, 1, b"\x00\x01a\x81\x18"), COMPRESSION),
    Row("4.3", "a field block of a stream that we have reset is decoded", call(1)[:-1] and unfinished() + data(1, b"\2", 0)
        + frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xbe"), COMPRESSION),
    Row("4.3", "a field block is followed by CONTINUATION", frame(HEADERS, 0, 1, HALF) + frame(PING, 0, 0, bytes(8)), PROTOCOL),
    Row("4.3", "of the same stream", frame(HEADERS, 0, 1, HALF) + frame(CONTINUATION, END_HEADERS, 3, REST), PROTOCOL),
    Row("4.3", "and by no frame of an unknown type", frame(HEADERS, 0, 1, HALF) + frame(0x2A, 0, 0), PROTOCOL),
    Row("4.3.1", "a size update above our limit", frame(HEADERS, END_HEADERS, 1, b"\x3f\xe2\x1f" + BLOCK), COMPRESSION),
    Row("4.3.1", "a size update after a field", frame(HEADERS, END_HEADERS, 1, BLOCK + b"\x20"), COMPRESSION),
    Row("4.3.1", "a size update in front", frame(HEADERS, END_HEADERS, 1, b"\x20" + BLOCK) + data(1, message()), served()),
    # 5.1 Stream states
    Row("5.1", "idle: DATA", data(1, b"", 0), PROTOCOL),
    Row("5.1", "idle: RST_STREAM", rst_stream(1), PROTOCOL),
    Row("5.1", "idle: WINDOW_UPDATE", window_update(1, 1), PROTOCOL),
    Row("5.1", "idle: CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, BLOCK), PROTOCOL),
    Row("5.1", "idle: PRIORITY is allowed", frame(PRIORITY, 0, 1, bytes(5)) + call(1), served()),
    Row("5.1", "half-closed (remote): DATA", call(1, LATER) + data(1, message()), stream_error(ErrorCode.STREAM_CLOSED)),
    Row("5.1", "half-closed (remote): HEADERS", call(1, LATER) + headers(1, TRAILERS, END_STREAM),
        stream_error(ErrorCode.STREAM_CLOSED)),
    Row("5.1", "half-closed (remote): WINDOW_UPDATE and PRIORITY are allowed",
        call(1, LATER) + window_update(1, 1) + frame(PRIORITY, 0, 1, bytes(5)), ignored),
    Row("5.1", "half-closed (remote), waiting for a window: DATA",
        settings((4, 0)) + call(1) + data(1, message()) + settings((4, 65_535)), stream_error(ErrorCode.STREAM_CLOSED)),
    Row("5.1", "closed by both: DATA", call(1) + data(1, message()), stream_error(ErrorCode.STREAM_CLOSED)),
    Row("5.1", "closed by both: HEADERS", call(1) + headers(1), connection_error(ErrorCode.STREAM_CLOSED)),
    Row("5.1", "closed by both: WINDOW_UPDATE, RST_STREAM and PRIORITY are allowed",
        call(1) + window_update(1, 1) + rst_stream(1) + frame(PRIORITY, 0, 1, bytes(5)), ignored),
    Row("5.1", "closed by the client's RST_STREAM: DATA", unfinished() + rst_stream(1) + data(1, message()),
        stream_error(ErrorCode.STREAM_CLOSED)),
    Row("5.1", "closed by the client's RST_STREAM: HEADERS", unfinished() + rst_stream(1) + headers(1),
        connection_error(ErrorCode.STREAM_CLOSED)),
    Row("5.1", "closed by our early answer: whatever was on its way is ignored",
        unfinished() + data(1, b"\2" + bytes(9), 0) + data(1, b"more", 0) + window_update(1, 1)
        + headers(1, TRAILERS, END_STREAM) + rst_stream(1), ignored),
    Row("5.1", "closed by our RST_STREAM: whatever was on its way is ignored",
        headers(1, fields(content_length="3")) + data(1, message(), 0) + data(1, b"more") + headers(1, TRAILERS, END_STREAM)
        + call(3), served(3)),
    Row("5.1.1", "a stream with an even number", headers(2), PROTOCOL),
    Row("5.1.1", "stream 0", headers(0), PROTOCOL),
    Row("5.1.1", "a number lower than the last, never used", call(5) + call(3), PROTOCOL),
    Row("5.1.1", "a number lower than the last, used", call(1) + call(3) + call(1), connection_error(ErrorCode.STREAM_CLOSED)),
    Row("5.1.1", "numbers may be passed over, which closes them", call(5) + window_update(3, 1) + rst_stream(3), ignored),
    Row("5.1.2", "more streams than we allow", b"".join(call(1 + 2 * i, LATER) for i in range(11)) + rst_stream(1),
        stream_error(ErrorCode.REFUSED_STREAM, 21)),
    Row("5.4.2", "no RST_STREAM in answer to one", unfinished() + rst_stream(1, 5), ignored),
    Row("5.4.2", "no second RST_STREAM for a stream",
        headers(1, fields(content_length="3")) + data(1, message()) + frame(PRIORITY, 0, 1, bytes(4)) + data(1, message()), MALFORMED),
    Row("5.5", "an unknown setting is ignored", settings((0xF0F0, 7)) + call(1), served()),
    # 6.1 DATA
    Row("6.1", "DATA on stream 0", data(0, b"", 0), PROTOCOL),
    Row("6.1", "padding is taken off", headers(1) + frame(DATA, PADDED | END_STREAM, 1, b"\3" + message() + bytes(3)), served()),
    Row("6.1", "padding as long as the payload", headers(1) + frame(DATA, PADDED | END_STREAM, 1, b"\4abc"), PROTOCOL),
    Row("6.1", "no room for the length of the padding", headers(1) + frame(DATA, PADDED | END_STREAM, 1), FRAME_SIZE),
    # 6.2 HEADERS
    Row("6.2", "padding and priority are taken off",
        frame(HEADERS, END_HEADERS | PADDED | PRIORITY_FLAG, 1, b"\2" + bytes(5) + BLOCK + bytes(2)) + data(1, message()), served()),
    Row("6.2", "padding as long as the payload", frame(HEADERS, END_HEADERS | PADDED, 1, b"\6" + BLOCK[:5]), PROTOCOL),
    Row("6.2", "no room for the priority", frame(HEADERS, END_HEADERS | PRIORITY_FLAG, 1, bytes(4)), FRAME_SIZE),
    # 6.3 PRIORITY
    Row("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    Row("6.3", "a length that is not 5", call(1, LATER) + frame(PRIORITY, 0, 1, bytes(4)), stream_error(ErrorCode.FRAME_SIZE_ERROR)),
    Row("6.3", "what it says is ignored", frame(PRIORITY, 0, 1, number(1 | 1 << 31) + b"\xff") + call(1), served()),
    # 6.4 RST_STREAM
    Row("6.4", "RST_STREAM on stream 0", rst_stream(0), PROTOCOL),
    Row("6.4", "a length that is not 4", unfinished() + frame(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE),
    Row("6.4", "an error code that has no name", unfinished() + rst_stream(1, 0xDEAD), ignored),
    # 6.5 SETTINGS
    Row("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1), PROTOCOL),
    Row("6.5", "a length that is no multiple of 6", frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE),
    Row("6.5", "an acknowledgement with a payload", frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE),
    Row("6.5.2", "ENABLE_PUSH is neither 0 nor 1", settings((2, 2)), PROTOCOL),
    Row("6.5.2", "INITIAL_WINDOW_SIZE above 2^31-1", settings((4, 2**31)), FLOW_CONTROL),
    Row("6.5.2", "MAX_FRAME_SIZE below 2^14", settings((5, 16_383)), PROTOCOL),
    Row("6.5.2", "MAX_FRAME_SIZE above 2^24-1", settings((5, 2**24)), PROTOCOL),
    Row("6.5.2", "the least and the largest of each",
        settings((2, 0), (2, 1), (3, 0), (4, MAX), (4, 65_535), (5, 2**24 - 1), (5, 16_384), (6, 0), (1, 2**32 - 1)) + call(1),
        served()),
    # 6.6 PUSH_PROMISE
    Row("6.6", "PUSH_PROMISE by a client", frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + BLOCK), PROTOCOL),
    Row("8.4", "PUSH_PROMISE on a stream that is open", unfinished() + frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + BLOCK), PROTOCOL),
    # 6.7 PING
    Row("6.7", "PING on a stream", frame(PING, 0, 1, bytes(8)), PROTOCOL),
    Row("6.7", "a length that is not 8", frame(PING, 0, 0, bytes(7)), FRAME_SIZE),
    Row("6.7", "an acknowledgement of what was never asked is ignored", frame(PING, ACK, 0, bytes(8)) + call(1), served()),
    # 6.8 GOAWAY
    Row("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    Row("6.8", "GOAWAY that is too short", frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE),
    Row("6.8", "calls under way are answered after the client's GOAWAY",
        unfinished(0, STREAM) + frame(GOAWAY, 0, 0, bytes(8) + b"bye") + data(1, message()), served()),
    # 6.9 WINDOW_UPDATE
    Row("6.9", "a length that is not 4", frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE),
    Row("6.9", "an increment of 0 for the connection", window_update(0, 0), PROTOCOL),
    Row("6.9", "an increment of 0 for a stream", call(1, LATER) + window_update(1, 0), MALFORMED),
    Row("6.9", "the reserved bit of the increment is ignored", frame(WINDOW_UPDATE, 0, 0, number(1 | 1 << 31)) + call(1), served()),
    Row("6.9.1", "the connection's window above 2^31-1", window_update(0, MAX), FLOW_CONTROL),
    Row("6.9.1", "a stream's window above 2^31-1", call(1, LATER) + window_update(1, MAX), stream_error(ErrorCode.FLOW_CONTROL_ERROR)),
    Row("6.9.1", "the windows at 2^31-1", window_update(0, MAX - 65_535) + call(1, LATER) + window_update(1, MAX - 65_535), ignored),
    Row("6.9.2", "SETTINGS that makes a stream's window overflow",
        call(1, LATER) + window_update(1, MAX - 65_535) + settings((4, 65_536)), FLOW_CONTROL),
    Row("6.9.2", "though only for a moment",
        call(1, LATER) + window_update(1, MAX - 65_535) + settings((4, 65_536), (4, 1)), FLOW_CONTROL),
    # 6.10 CONTINUATION
    Row("6.10", "a block over several frames",
        frame(HEADERS, 0, 1, HALF) + frame(CONTINUATION, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, REST) + data(1, message()),
        served()),
    Row("6.10", "END_STREAM of HEADERS holds for its CONTINUATION",
        frame(HEADERS, END_STREAM, 1, HALF) + frame(CONTINUATION, END_HEADERS, 1, REST) + data(1, message()),
        stream_error(ErrorCode.STREAM_CLOSED)),
    Row("6.10", "CONTINUATION on stream 0", frame(CONTINUATION, END_HEADERS, 0, BLOCK), PROTOCOL),
    Row("6.10", "CONTINUATION after END_HEADERS", unfinished() + frame(CONTINUATION, END_HEADERS, 1, b""), PROTOCOL),
    # 8.1 Requests
    Row("8.1", "trailers end the stream", headers(1) + data(1, message(), 0) + headers(1, TRAILERS, END_STREAM), served()),
    Row("8.1", "trailers that do not", headers(1) + data(1, message(), 0) + headers(1, TRAILERS), MALFORMED),
    Row("8.1", "trailers with pseudo-header fields", headers(1) + data(1, message(), 0) + headers(1, fields(), END_STREAM), MALFORMED),
    Row("8.1", "trailers with an upper-case name",
        headers(1) + data(1, message(), 0) + headers(1, [("X-A", "1")], END_STREAM), MALFORMED),
    Row("8.1.1", "content-length above the content", headers(1, fields(content_length="11")) + data(1, message()), MALFORMED),
    Row("8.1.1", "content-length below the content", headers(1, fields(content_length="9")) + data(1, message()), MALFORMED),
    Row("8.1.1", "over more than one frame",
        headers(1, fields(content_length="10")) + data(1, message(), 0) + data(1, b"x", 0), MALFORMED),
    Row("8.1.1", "with no content at all", headers(1, fields(content_length="1"), END_STREAM), MALFORMED),
    Row("8.1.1", "with trailers",
        headers(1, fields(content_length="11")) + data(1, message(), 0) + headers(1, TRAILERS, END_STREAM), MALFORMED),
    Row("8.1.1", "content-length that is right, padding aside",
        headers(1, fields(content_length="10")) + frame(DATA, PADDED | END_STREAM, 1, b"\3" + message() + bytes(3)), served()),
    Row("8.1.1", "content-length that is no number", request(("content-length", "1x")), MALFORMED),
    Row("8.1.1", "two lengths", request(("content-length", "10"), ("content-length", "11")), MALFORMED),
    Row("8.1.1", "one length twice", request(("content-length", "10"), ("content-length", "10")), served()),
    # 8.2 Fields
    Row("8.2.1", "an upper-case name", request(("X-A", "1")), MALFORMED),
    Row("8.2.1", "a name with a space", request(("x a", "1")), MALFORMED),
    Row("8.2.1", "a name beyond ASCII", request((b"x\xe9", "1")), MALFORMED),
    Row("8.2.1", "a name with a colon inside", request(("x:a", "1")), MALFORMED),
    Row("8.2.1", "an empty name", request(("", "1")), MALFORMED),
    *(Row("8.2.1", f"a value with {name}", request(("x-a", value)), MALFORMED)
      for name, value in (("NUL", "a\0b"), ("CR", "a\rb"), ("LF", "a\nb"), ("a space first", " a"), ("a space last", "a "),
                          ("a tab first", "\ta"), ("a tab last", "a\t"), ("a space only", " "))),
    Row("8.2.1", "any other value, and none", request(("x-a", b"\x01 \xff\t\x7f"), ("x-b", "")), served()),
    *(Row("8.2.2", f"{name} belongs to HTTP/1.1", request((name, "x")), MALFORMED)
      for name in ("connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade")),
    Row("8.2.2", "te is not trailers", request(("te", "gzip"), without="te"), MALFORMED),
    Row("8.2.2", "te is more than trailers", request(("te", "trailers, gzip"), without="te"), MALFORMED),
    # 8.3 Control data
    Row("8.3", "a pseudo-header field after a field", request((":path", "/"), without=":path"), MALFORMED),
    Row("8.3", "an unknown pseudo-header field", first((":proto", "x")), MALFORMED),
    Row("8.3", "a pseudo-header field of responses", first((":status", "200")), MALFORMED),
    *(Row("8.3.1", f"no {name}", request(without=name), MALFORMED) for name in (":method", ":scheme", ":path")),
    *(Row("8.3.1", f"{name} twice", first((name, dict(fields())[name])), MALFORMED)
      for name in (":method", ":scheme", ":path", ":authority")),
    Row("8.3.1", "an empty :path", first((":path", ""), without=":path"), MALFORMED),
    Row("8.3.1", ":path without a slash", first((":path", "echo/Unary"), without=":path"), MALFORMED),
    Row("8.3.1", ":path is * of a method that is not OPTIONS", first((":path", "*"), without=":path"), MALFORMED),
    Row("8.3.1", ":authority with user information", first((":authority", "me@rls"), without=":authority"), MALFORMED),
    Row("8.3.1", "host differs from :authority", request(("host", "other")), MALFORMED),
    Row("8.3.1", "host is :authority", request(("host", "RLS")), served()),
    Row("8.3.1", "no :authority", request(without=":authority"), served()),
    Row("8.5", "CONNECT with :path", first((":method", "CONNECT"), without=":method"), MALFORMED),
    Row("8.5", "CONNECT that is well-formed is refused as a request",
        headers(1, [(":method", "CONNECT"), (":authority", "rls")], END_STREAM), ignored),
    Row("8.3.1", ":path is * of OPTIONS", headers(1, fields("*", method="OPTIONS"), END_STREAM), ignored),
    Row("8.3.1", "an empty :method", first((":method", ""), without=":method"), MALFORMED),
    Row("8.3.1", "an empty :scheme", first((":scheme", ""), without=":scheme"), MALFORMED),
    Row("8.5", "CONNECT without :authority", headers(1, [(":method", "CONNECT")], END_STREAM), MALFORMED),
]  # fmt: skip


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.section} {row.demand}") for row in ROWS])
def test_demand(row):
    limits = ConnectionLimits(max_concurrent_streams=10, max_message_bytes=65_530)
    whole = Peer(limits)
    whole.send(row.sent)

    row.outcome(whole)

    byte_by_byte = Peer(limits)
    for byte in row.sent:
        byte_by_byte.send(bytes([byte]))
    row.outcome(byte_by_byte)


def test_6_1_data_beyond_the_connection_s_window():
    """Only what comes in one turn can be too much: after it we give back what we do not hold, which is some always."""
    peer = Peer(ConnectionLimits(max_message_bytes=65_530, max_held_bytes=0))
    streams = range(1, 19, 2)

    peer.send(
        *(headers(stream, fields(WATCH)) for stream in streams),
        *(frame(DATA, 0, stream, b"\0" + number(65_000) + bytes(10_000)) for _ in range(6) for stream in streams),
    )

    assert peer.code == ErrorCode.FLOW_CONTROL_ERROR
    assert peer.connection.is_drained


def test_no_two_rows_are_the_same():
    assert len({(row.section, row.demand) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", PREFACE[:-1] + b"X", b"PRI * HTTP/2.1"])
def test_3_4_a_wrong_preface_is_found_at_its_first_wrong_byte(sent):
    peer = Peer(greet=False)

    peer.send(sent)

    assert peer.code == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("sent", [frame(PING, 0, 0, bytes(8)), frame(SETTINGS, ACK, 0), call(1), frame(0x2A, 0, 0)])
def test_3_4_the_preface_ends_with_settings(sent):
    peer = Peer(greet=False)

    peer.send(PREFACE, sent)

    assert peer.code == ErrorCode.PROTOCOL_ERROR


def test_3_4_our_settings_come_first():
    peer = Peer(greet=False)

    peer.read()

    kind, flags, stream, payload = peer.others[0]
    assert (kind, flags, stream) == (SETTINGS, 0, 0)
    values = {
        int.from_bytes(payload[i : i + 2], "big"): int.from_bytes(payload[i + 2 : i + 6], "big")
        for i in range(0, len(payload), 6)
    }
    assert values == {1: 0, 3: 1_000, 6: 16_384}, "and the default window, which clients may use before they read this"


def test_6_5_3_settings_are_acknowledged_each_in_its_turn():
    peer = Peer()

    peer.send(settings((4, 1)), settings(), frame(SETTINGS, ACK, 0))

    assert [other[:2] for other in peer.others if other[0] == SETTINGS] == [(SETTINGS, 0)] + [(SETTINGS, ACK)] * 3


def test_6_7_a_ping_is_answered_with_its_own_payload():
    peer = Peer()

    peer.send(frame(PING, 0, 0, b"whatever"), frame(PING, ACK, 0, b"ignored!"))

    assert [other for other in peer.others if other[0] == PING] == [(PING, ACK, 0, b"whatever")]


def test_6_8_goaway_names_the_last_stream_that_was_taken():
    peer = Peer()

    peer.send(call(1), call(7), frame(PING, 0, 0, b"short"))

    assert peer.goaways == [(7, ErrorCode.FRAME_SIZE_ERROR)]
    assert peer.connection.error == (ErrorCode.FRAME_SIZE_ERROR, "PING of 5 bytes")


def test_5_4_1_nothing_is_read_after_a_connection_error():
    peer = Peer()

    peer.send(frame(PING, 0, 0, b"short"), call(1))
    peer.send(call(3))

    assert peer.calls == []
    assert len(peer.goaways) == 1


def test_4_3_1_a_table_that_holds_something_must_be_given_up_when_the_client_agrees():
    keep = Peer(acknowledge=False)
    keep.send(frame(HEADERS, END_HEADERS, 1, b"\x40\x01a\x01b" + BLOCK))

    keep.send(frame(SETTINGS, ACK, 0), headers(3))

    assert keep.code == ErrorCode.COMPRESSION_ERROR


def test_4_3_1_until_the_client_agrees_it_may_use_the_table_of_old():
    peer = Peer(acknowledge=False)
    path = b"\x44" + bytes([len(LATER)]) + LATER.encode()
    rest = block([NeverIndexedHeaderTuple(*pair) for pair in fields(LATER) if pair[0] not in (":path", ":method")])
    peer.send(frame(HEADERS, END_HEADERS, 1, b"\x83" + path + rest) + data(1, message()))

    peer.send(frame(HEADERS, END_HEADERS, 3, b"\x83\xbe" + rest) + data(3, message()))
    peer.send(
        frame(SETTINGS, ACK, 0), frame(HEADERS, END_HEADERS, 5, b"\x20\x83\x04" + path[1:] + rest) + data(5, message())
    )

    assert [stream for stream, *_ in peer.calls] == [1, 3, 5]
    peer.send(frame(HEADERS, END_HEADERS, 7, b"\x83\xbe" + rest))
    assert peer.code == ErrorCode.COMPRESSION_ERROR


def test_4_3_1_a_client_that_wants_no_table_is_told_that_we_use_none():
    peer = Peer(values={1: 0})
    assert peer.connection.data_to_send() == b""

    peer.connection.receive(call(1) + call(3), 0)
    sent = peer.connection.data_to_send()

    first = sent.index(b"\x88")
    assert sent[first - 1 : first] == b"\x20"
    assert sent.count(b"\x20\x88") == 1
