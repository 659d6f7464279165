"""Field blocks: what is recognized means the same as what hpack decodes, and nobody makes others be forgotten."""

from __future__ import annotations

import random
import sys

import pytest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import example, given, strategies

from benches.frames import frame
from rls.transport.http2 import ConnectionLimits, Rate, SharedPatterns, responses
from rls.transport.http2.blocks import Blocks
from rls.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from rls.transport.http2.huffman import END, START
from rls.transport.http2.literals import split
from rls.transport.status import StatusCode
from tests.transport.http2.peer import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    SETTINGS,
    Peer,
    block,
    call,
    data,
    fields,
    headers,
    message,
)

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
PLAIN = strategies.binary(max_size=80).map(lambda value: bytes(0x20 + byte % 95 for byte in value).strip())


def agreed(limits: ConnectionLimits | None = None) -> Blocks:
    """Blocks of a client that has agreed to use no dynamic table."""
    blocks = Blocks(limits or ConnectionLimits(), Peer().connection._blocks._routes)
    blocks.agree()
    blocks.request(block(fields()))
    return blocks


def varied(*values: bytes, huffman: bool = True, **others: str) -> bytes:
    more = [(f"x-varied-{i}", value) for i, value in enumerate(values)]
    return block([*fields(**others), *more, ("x-last", "the same")], huffman=huffman)


def learned(*, huffman: bool = True) -> Blocks:
    """Blocks that know one pattern, with two values that vary."""
    blocks = agreed()
    blocks.request(varied(b"one", b"two", huffman=huffman))
    blocks.request(varied(b"three", b"four", huffman=huffman))
    assert len(blocks._patterns) == 1
    return blocks


# The check of Huffman codes


def plain(code: bytes) -> bool:
    row = START
    for byte in code:
        row = row[byte]
    return bool(row[END])


@given(PLAIN)
def test_codes_of_plain_text_are_plain(value):
    assert plain(HUFFMAN.encode(value))


@given(strategies.binary(max_size=40))
@example(b"\xff")
@example(b"\xff\xff\xff\xff")
@example(HUFFMAN.encode(b"a b"))
@example(HUFFMAN.encode(b"a b  c"))
@example(HUFFMAN.encode(b" a"))
@example(HUFFMAN.encode(b"a "))
@example(HUFFMAN.encode(b" "))
def test_what_is_plain_decodes_to_plain_text(code):
    try:
        decoded = bytes(decode_huffman(code))
        expected = all(0x20 <= byte <= 0x7E for byte in decoded) and decoded == decoded.strip(b" ")
    except Exception:  # noqa: BLE001 - whatever hpack raises
        expected = False

    assert plain(code) == expected


# Recognition


@pytest.mark.parametrize("huffman", [True, False])
@given(first=PLAIN, second=PLAIN)
def test_a_block_of_a_known_kind_is_read_as_hpack_reads_it(huffman, first, second):
    blocks = learned(huffman=huffman)
    sent = varied(first, second, huffman=huffman)

    request = blocks.match(sent)

    assert request is not None
    assert list(request.fields) == list(Decoder().decode(sent, raw=True))
    assert request.value(b"x-varied-0") == first
    assert request.value(b"x-varied-1") == second
    assert request.value(b"x-last") == b"the same"
    assert request.head.unary is not None


@given(strategies.data())
def test_a_block_that_is_recognized_is_always_right(drawn):
    """Any bytes changed anywhere: what is recognized is what hpack decodes, and it is well-formed."""
    blocks = learned()
    sent = bytearray(varied(b"00-4bf92f3577b34da6a3ce929d0e0e4736-01", b"9f59-0c6a7d1c2b3d"))
    for _ in range(drawn.draw(strategies.integers(0, 3))):
        at = drawn.draw(strategies.integers(0, len(sent) - 1))
        if drawn.draw(strategies.booleans()):
            sent[at] = drawn.draw(strategies.integers(0, 255))
        else:
            del sent[at]

    request = blocks.match(bytes(sent))

    if request is not None:
        expected = agreed().request(bytes(sent))
        assert list(request.fields) == list(expected.fields)
        assert request.head.path == expected.head.path
        assert request.head.timeout == expected.head.timeout


@pytest.mark.parametrize("size", [0, 1, 62, 125, 126, 127, 128, 200, 254])
@pytest.mark.parametrize("huffman", [True, False])
def test_values_of_any_length_are_recognized_up_to_254_bytes(size, huffman):
    request = learned(huffman=huffman).match(varied(b"a" * size, b"b", huffman=huffman))

    assert request is not None
    assert request.value(b"x-varied-0") == b"a" * size


@pytest.mark.parametrize("end", [b"", b"\x00", b"\x01", b"\x7f", b"\xff", b"\x7f\x80", b"\x7f\x00", b"\x81"])
def test_a_block_that_ends_within_a_value_that_varies(end):
    blocks = agreed()
    for value in (b"one", b"two"):
        blocks.request(block([*fields(), ("x-varied", value)], huffman=False))
    sent = block([*fields(), ("x-varied", b"three")], huffman=False)
    assert blocks.match(sent) is not None

    assert blocks.match(sent[:-6] + end) is None


@pytest.mark.parametrize("value", [b"a" * 255, b" a", b"a ", b"a\tb", b"\xff", b"\t", b"a\0b", b"a" * 400])
def test_what_is_not_plain_is_left_to_hpack(value):
    blocks = learned(huffman=False)

    assert blocks.match(varied(value, b"b", huffman=False)) is None


def test_a_value_that_makes_a_request_malformed_does_so_in_a_known_kind_too():
    blocks = learned(huffman=False)

    with pytest.raises(StreamFault):
        blocks.request(varied(b"a\0b", b"b", huffman=False))


@pytest.mark.parametrize(
    "other",
    [
        {"path": "/echo/Later"},
        {"method": "GET"},
        {"content_type": "text/html"},
        {"te": "gzip"},
        {"grpc_encoding": "gzip"},
        {"content_length": "5"},
        {"host": "other"},
        {"authority": "elsewhere"},
    ],
)
def test_fields_that_mean_something_never_vary(other):
    blocks = agreed()
    base = {"grpc_encoding": "identity", "content_length": "4", "host": "rls", "authority": "rls"}
    last = [("x-varied", "1"), ("x-last", "same")]
    for i in range(4):
        blocks.request(block([*fields(**base), ("x-varied", str(i)), *last]))
    assert blocks.match(block([*fields(**base), ("x-varied", "5"), *last])) is not None

    sent = block([*fields(**(base | other)), ("x-varied", "5"), *last])

    assert blocks.match(sent) is None


def test_a_timeout_that_varies_is_read_each_time():
    blocks = agreed()
    for milliseconds in (20, 19, 18):
        blocks.request(varied(b"%d" % milliseconds, grpc_timeout=f"{milliseconds}m"))

    request = blocks.match(varied(b"x", grpc_timeout="17000u"))

    assert request is not None
    assert request.head.timeout == pytest.approx(0.017)
    assert request.head.unary is not None
    assert blocks.match(varied(b"x", grpc_timeout="17000x")) is None


def test_kinds_are_widened_when_another_field_varies():
    blocks = learned()

    blocks.request(block([*fields(), ("x-varied-0", "1"), ("x-varied-1", "2"), ("x-last", "differs")]))
    request = blocks.match(block([*fields(), ("x-varied-0", "3"), ("x-varied-1", "4"), ("x-last", "again")]))

    assert request is not None
    assert len(blocks._patterns) == 1
    assert [request.value(name) for name in (b"x-varied-0", b"x-varied-1", b"x-last")] == [b"3", b"4", b"again"]


# Bounds


def test_a_block_is_remembered_when_it_comes_again():
    blocks = agreed()
    sent = block(fields("/echo/Later"))

    first = blocks.request(sent)
    assert sent not in blocks.known
    second = blocks.request(sent)

    assert blocks.known[sent] is second
    assert blocks.request(sent) is second
    assert list(first.fields) == list(second.fields)


def test_nothing_is_remembered_before_the_client_has_agreed():
    blocks = Blocks(ConnectionLimits(), {})

    for _ in range(5):
        blocks.request(block(fields()))
        blocks.request(varied(b"1"))
        blocks.request(varied(b"2"))

    assert not blocks.known
    assert not blocks._patterns


def test_blocks_that_never_come_again_push_nothing_out():
    blocks = agreed()
    constant = block(fields("/echo/Later"))
    blocks.request(constant)
    blocks.request(constant)
    drawn = random.Random(1)

    for _ in range(300):
        names = [(f"x-{drawn.random()}", str(drawn.random())) for _ in range(drawn.randrange(1, 6))]
        blocks.request(block([*fields(), *names]))

    assert constant in blocks.known
    assert len(blocks._patterns) <= 4


def test_what_is_remembered_is_bounded():
    blocks = agreed()
    for i in range(500):
        sent = block([*fields(), (f"x-{i}", "v" * (i % 400))])
        blocks.request(sent)
        blocks.request(sent)

    assert len(blocks.known) <= 32
    assert sum(map(len, blocks.known)) <= 16_384
    assert blocks._bytes == sum(map(len, blocks.known))
    assert sum(map(sys.getsizeof, blocks.known)) < 18_432


def test_a_connection_gives_up_to_learn_from_what_never_comes_again(monkeypatch):
    compared: list[bytes] = []
    monkeypatch.setattr("rls.transport.http2.blocks.split", compared.append)
    blocks = agreed()

    for i in range(2_000):
        blocks.request(block([*fields(), (f"x-{i}", "1")]))

    assert 32 <= len(set(compared)) < 100


def test_a_client_makes_no_other_forget():
    good, bad = Peer(), Peer()
    good.send(*(call(1 + 2 * i) for i in range(3)))
    known = dict(good.connection._blocks.known)
    assert known

    for i in range(200):
        bad.send(headers(1 + 2 * i, [*fields(), (f"x-{i}", str(i) * 10)]), data(1 + 2 * i, message()))

    assert good.connection._blocks.known == known


# What connections share


def sharing(count: int) -> list[Blocks]:
    """Connections of one server, whose clients have agreed to use no dynamic table."""
    routes, shared = Peer().connection._blocks._routes, SharedPatterns()
    found = [Blocks(ConnectionLimits(), routes) for _ in range(count)]
    for blocks in found:
        blocks.shared = shared
        blocks.agree()
    return found


def test_of_many_connections_at_once_only_the_first_blocks_are_decoded():
    connections = sharing(100)
    decoded = 0
    for i, blocks in enumerate(connections):
        request = blocks.request(varied(b"%032d" % i, b"%d" % i))
        decoded += blocks.cost > 1
        assert (request.value(b"x-varied-0"), request.value(b"x-varied-1")) == (b"%032d" % i, b"%d" % i)
    assert decoded == 2
    assert all(blocks.match(varied(b"x", b"y")) is not None for blocks in connections[1:])


def test_what_others_learned_never_changes_what_a_block_says():
    connections = sharing(40)
    drawn = random.Random(3)
    for _ in range(4_000):
        timeout = {"grpc_timeout": f"{drawn.randrange(1, 30)}m"} if drawn.random() < 0.5 else {}
        names = [f"x-{drawn.randrange(3)}" for _ in range(drawn.randrange(4))]
        listed = [*fields(**timeout), *((name, str(drawn.randrange(10 ** drawn.randrange(1, 9)))) for name in names)]
        request = drawn.choice(connections).request(block(listed, huffman=drawn.random() < 0.5))
        assert list(request.fields) == [(name.encode(), value.encode()) for name, value in listed]
        expected = pytest.approx(int(timeout["grpc_timeout"][:-1]) / 1000) if timeout else None
        assert request.head.timeout == expected
        assert request.head.unary is not None


def test_a_block_before_its_client_has_agreed_is_decoded_whatever_others_learned():
    known, new = sharing(2)
    known.request(varied(b"1"))
    known.request(varied(b"2"))
    late = Blocks(ConnectionLimits(), known._routes)
    late.shared = known.shared
    late.request(varied(b"3"))
    new.request(varied(b"3"))
    assert late.cost > 1 == new.cost


def test_others_cannot_make_a_connection_forget_what_it_has_learned():
    good, *bad = sharing(10)
    good.request(varied(b"1"))
    good.request(varied(b"2"))
    for i in range(200):
        for value in ("1", "2"):
            bad[i % 9].request(block([*fields(), (f"x-{i}", value)]))
    assert good.match(varied(b"3")) is not None
    assert len(good.shared.latest) <= 4


def test_a_long_block_is_not_compared_with_those_of_others():
    first, second = sharing(2)
    first.request(block([*fields(), ("x-long", "v" * 3_000)]))
    assert first.shared.block is None
    second.request(varied(b"1"))
    assert first.shared.block is not None


# Both directions, against hpack


NAMES = strategies.sampled_from(["x-a", "x-b", "user-agent", "accept", "cookie", "x-long-name-of-a-field"])
VALUES = strategies.text(strategies.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)


@given(
    strategies.lists(strategies.lists(strategies.tuples(NAMES, VALUES), max_size=5), min_size=1, max_size=8),
    strategies.randoms(),
)
def test_any_encoder_is_understood(lists, drawn):
    """Blocks of hpack's encoder, with a dynamic table until our SETTINGS are acknowledged, and without it afterwards."""
    blocks = Blocks(ConnectionLimits(), {})
    encoder = Encoder()
    for i, more in enumerate(lists * 3):
        if i == len(lists):
            encoder.header_table_size = 0
            blocks.agree()
        never = [NeverIndexedHeaderTuple(*pair) if drawn.random() < 0.2 else pair for pair in more]
        expected = [(name.encode(), value.encode()) for name, value in [*fields(), *more]]

        request = blocks.request(encoder.encode([*fields(), *never], huffman=drawn.random() < 0.5))

        assert list(request.fields) == expected


@given(strategies.binary(max_size=200))
def test_any_bytes_are_a_block_or_an_error(sent):
    for blocks in (Blocks(ConnectionLimits(), {}), agreed()):
        try:
            blocks.request(sent)
        except ConnectionFault as fault:
            assert fault.code in (ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM)  # noqa: PT017
        except StreamFault as fault:
            assert fault.code is ErrorCode.PROTOCOL_ERROR  # noqa: PT017


@given(strategies.lists(strategies.tuples(NAMES, VALUES), max_size=8), strategies.booleans())
def test_a_split_block_is_the_block(pairs, huffman):
    sent = block(pairs, huffman=huffman)

    literals = split(sent)

    assert literals is not None
    assert b"".join(literal.start + literal.value for literal in literals) == sent
    assert len(literals) == len(pairs)


@pytest.mark.parametrize("sent", [b"\x20\x82", b"\x7f\x80\x00\x01a", b"\x00\x7f\x80\x01" + bytes(255) + b"\x00"])
def test_what_is_not_plainly_split_is_not_split(sent):
    assert split(sent) is None


@pytest.mark.parametrize("code", StatusCode)
def test_our_blocks_are_understood_without_a_table(code):
    decoder = Decoder()
    decoder.header_table_size = decoder.max_allowed_table_size = 0

    def decode(sent: bytes) -> dict[str, str]:
        return {str(name): str(value) for name, value in decoder.decode(sent)}

    trailers = decode(responses.NO_TABLE + responses.trailers(code, "why: 100 %"))
    only = decode(responses.trailers_only(code, "why"))

    assert trailers["grpc-status"] == only["grpc-status"] == str(int(code))
    assert trailers.get("grpc-message") == (None if code is StatusCode.OK else "why: 100 %25")
    assert only[":status"] == "200"
    assert decode(responses.http_refusal(405))["allow"] == "POST"


# Sizes


def test_a_header_list_over_its_bound_ends_its_call_and_the_decoder_goes_on():
    for acknowledge in (True, False):
        peer = Peer(acknowledge=acknowledge)
        large = [(f"x-{i}", "v" * 100) for i in range(130)]

        peer.send(headers(1, [*fields(), *large]))

        assert peer.response(1).status == str(int(StatusCode.RESOURCE_EXHAUSTED))
        assert peer.works(3)


def test_a_bomb_of_references_ends_the_connection_where_the_table_is_in_use():
    peer = Peer(acknowledge=False)
    peer.send(frame(HEADERS, END_HEADERS, 1, b"\x40\x01a\x7f\xe1\x1d" + b"v" * 3_936 + block(fields())))

    peer.send(frame(HEADERS, END_HEADERS, 3, block(fields()) + b"\xbe" * 10_000))

    assert peer.code == ErrorCode.ENHANCE_YOUR_CALM


def test_a_bomb_of_static_references_ends_its_call():
    peer = Peer()

    peer.send(frame(HEADERS, END_HEADERS, 1, block(fields()) + b"\x90" * 15_000))

    assert peer.response(1).status == str(int(StatusCode.RESOURCE_EXHAUSTED))
    assert peer.works(3)


@pytest.mark.parametrize("count", [400, 15_000])
def test_trailers_over_the_bound_end_their_call(count):
    peer = Peer()
    peer.send(headers(1), data(1, message(), 0))

    peer.send(frame(HEADERS, END_HEADERS | 1, 1, b"\x90" * count))

    assert peer.response(1).reset == ErrorCode.ENHANCE_YOUR_CALM
    assert peer.calls == []
    assert peer.works(3)


def test_the_settings_frame_says_that_there_is_no_table():
    peer = Peer(greet=False)
    peer.read()

    assert peer.others[0][0] == SETTINGS
    assert peer.others[0][3][:6] == b"\0\1\0\0\0\0"


# What it costs to decode


def large(i: int) -> bytes:
    """A block of some 5 KiB that no other is like."""
    return block([*fields("/echo/Later"), (f"x-{i}", f"{i:05}" * 1_000)], huffman=False)


def test_a_block_longer_than_its_list_may_be_is_not_decoded():
    peer = Peer()
    sent = block([*fields(), ("x-long", "a" * 27_000)])
    assert len(sent) > 16_384

    peer.send(frame(HEADERS, 0, 1, sent[:16_384]), frame(CONTINUATION, END_HEADERS, 1, sent[16_384:]))

    assert peer.connection._blocks.cost == 24
    assert peer.response(1).status == str(int(StatusCode.RESOURCE_EXHAUSTED))
    assert peer.works(3)


def test_a_block_that_is_too_long_ends_the_connection_where_others_depend_on_it():
    peer = Peer(acknowledge=False)
    sent = block([*fields(), ("x-long", "a" * 27_000)])

    peer.send(frame(HEADERS, 0, 1, sent[:16_384]), frame(CONTINUATION, END_HEADERS, 1, sent[16_384:]))

    assert peer.connection._blocks.cost == 24
    assert peer.code == ErrorCode.ENHANCE_YOUR_CALM


def test_large_blocks_are_decoded_so_often_and_no_more_and_small_ones_always():
    peer = Peer(ConnectionLimits(large_blocks=Rate(10, 5)))
    streams = iter(range(1, 1_000, 2))

    def taken(count: int) -> int:
        before = len(peer.calls)
        for _ in range(count):
            stream = next(streams)
            peer.send(frame(HEADERS, END_HEADERS, stream, large(stream)), data(stream, message()))
            assert len(peer.calls) > before or peer.response(stream).status == str(int(StatusCode.RESOURCE_EXHAUSTED))
        return len(peer.calls) - before

    assert taken(30) == 8, "by their size, which is one and a quarter"
    assert peer.works(next(streams))
    peer.now += 1
    assert taken(30) == 4
    assert peer.works(next(streams))
    assert peer.goaways == []


def test_one_large_block_too_many_ends_the_connection_where_others_depend_on_it():
    peer = Peer(ConnectionLimits(large_blocks=Rate(4, 1)), acknowledge=False)
    for stream in (1, 3, 5):
        peer.send(frame(HEADERS, END_HEADERS, stream, large(stream)))
    assert peer.goaways == []

    peer.send(frame(HEADERS, END_HEADERS, 7, large(7)))

    assert peer.code == ErrorCode.ENHANCE_YOUR_CALM


def test_a_large_block_that_comes_again_is_free():
    peer = Peer(ConnectionLimits(large_blocks=Rate(3, 0)))

    for stream in range(1, 41, 2):
        peer.send(frame(HEADERS, END_HEADERS, stream, large(1)), data(stream, message()))

    assert len(peer.calls) == 20


@pytest.mark.parametrize("update", [b"\x20", b"\x3f\x00", b"\x3f\x80\x00"])
def test_size_updates_are_few(update):
    for count, code in ((2, None), (8, None), (9, ErrorCode.COMPRESSION_ERROR), (5_000, ErrorCode.COMPRESSION_ERROR)):
        peer = Peer(acknowledge=False)

        peer.send(frame(HEADERS, END_HEADERS, 1, update * count + block(fields("/echo/Later"))))

        assert peer.code == code


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(block([*fields(), ("x", "a" * 7_900)]), id="a long value"),
        pytest.param(block([*fields(), *[("x", "")] * 200]), id="many fields"),
        pytest.param(block(fields()) + b"\x90" * 400, id="references"),
        pytest.param(block([("x", "a" * 7_900)]) + b"\xff\xff", id="broken"),
    ],
)
def test_what_takes_long_ends_the_turn(sent):
    """A turn is about half a millisecond; each of these takes nearly as long, or longer."""
    peer = Peer()

    peer.send(*(frame(HEADERS, END_HEADERS, stream, sent) for stream in (1, 3, 5)), turns=1)

    assert peer.connection._last_stream_id == 1
