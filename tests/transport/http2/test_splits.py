"""Where the bytes are cut on their way says nothing: the same calls, the same answers. And no bytes raise anything."""

from __future__ import annotations

import sys
from random import Random

import pytest
from hypothesis import given, strategies

from benches.frames import frame
from rls.transport.http2 import Connection, ConnectionLimits, Memory
from rls.transport.http2.errors import ErrorCode
from rls.transport.http2.limits import STREAM_BYTES
from rls.transport.status import StatusCode
from tests.transport.http2.frame_sequences import seeds, sequence
from tests.transport.http2.peer import (
    ACK,
    END_HEADERS,
    HEADERS,
    LATER,
    PREFACE,
    SETTINGS,
    STREAM,
    UNARY,
    WATCH,
    Peer,
    block,
    data,
    fields,
    message,
    rst_stream,
    settings,
    window_update,
)

GREETING = PREFACE + settings((4, 30)) + frame(SETTINGS, ACK, 0)
PIECE = strategies.sampled_from(
    [
        b"",
        message(b""),
        message(b"hello"),
        message(b"x" * 40),
        message(b"1") + message(b"2"),
        message(b"hello")[:7],
        b"llo",
        message(b"?", 1),
        message(b"y" * 2_000),
    ]
)
CALL = strategies.tuples(
    strategies.sampled_from([UNARY, LATER, STREAM, WATCH, "/no/such"]),
    strategies.sampled_from(["", "00-4bf92f35-01", "00-4bf92f36-00"]),
    strategies.lists(PIECE, max_size=3),
    strategies.booleans(),
    strategies.sampled_from([b"", window_update(0, 1_000), b"S", b"R", b"W", frame(0x2A, 0, 0)]),
)


def written(calls: list[tuple[str, str, list[bytes], bool, bytes]]) -> bytes:
    """What a client sends for *calls*."""
    sent = [GREETING]
    for i, (path, trace, pieces, ends, then) in enumerate(calls):
        stream = 1 + 2 * i
        more = {"traceparent": trace} if trace else {}
        sent.append(frame(HEADERS, END_HEADERS, stream, block(fields(path, **more))))
        sent += [data(stream, piece, int(ends and n == len(pieces) - 1)) for n, piece in enumerate(pieces)]
        sent.append(
            {b"S": settings((4, 10 + i)), b"R": rst_stream(stream), b"W": window_update(stream, 20)}.get(then, then)
        )
    return b"".join(sent)


def story(cuts: list[bytes], turn_frames: int = 128) -> tuple[object, ...]:
    """All that can be seen of a connection that is sent *cuts*."""
    peer = Peer(ConnectionLimits(max_message_bytes=65_530, turn_frames=turn_frames), greet=False)
    for cut in cuts:
        peer.send(cut)
    messages = {stream: (echo.messages, echo.ended, echo.was_lost) for stream, echo in peer.streams.items()}
    held = peer.connection._held, sorted(peer.connection.calls), sorted(peer.connection.streams)
    answers = {stream: (one.blocks, one.data, one.reset, one.ended) for stream, one in peer.responses.items()}
    return peer.calls, messages, answers, peer.goaways, peer.others, held


@given(strategies.lists(CALL, max_size=8), strategies.randoms(use_true_random=False))
def test_any_cut_gives_the_same_calls(calls, random):
    sent = written(calls)
    places = sorted(random.sample(range(len(sent) + 1), k=min(len(sent), random.choice((1, 5, 50)))))

    cuts = [sent[a:b] for a, b in zip([0, *places], [*places, len(sent)], strict=True)]

    assert story(cuts) == story([sent]) == story([sent], turn_frames=random.randrange(1, 5))


def test_random_sequences_byte_by_byte(sequences):
    for seed in seeds(sequences // 10):
        frames = [PREFACE + settings(), *sequence(Random(seed), large=False)]
        whole = b"".join(frames)

        expected = story([whole])

        assert story(frames) == expected, seed
        assert story([whole[i : i + 1] for i in range(len(whole))]) == expected, seed


@pytest.mark.parametrize("acknowledge", [True, False])
def test_no_bytes_raise_anything_or_are_kept(sequences, acknowledge):
    """Frames of any type with any flags and any payload, in valid and in garbled form."""
    memory = Memory(40_000)
    for seed in seeds(sequences):
        random = Random(seed)
        limits = ConnectionLimits(
            max_concurrent_streams=5, max_message_bytes=random.choice((65_530, 100_000)), max_held_bytes=0
        )
        peer = Peer(limits, acknowledge=acknowledge, memory=memory)
        for _ in range(random.randrange(1, 30)):
            payload = random.randbytes(random.choice((0, 1, 4, 5, 8, 9, 50, 300)))
            flags = random.choice((0, 1, 4, 5, 8, 0x20, random.randrange(256)))
            sent = frame(random.randrange(11), flags, random.choice((0, 0, 1, 3, 5, 2**32 - 1)), payload)
            peer.send(*sequence(random)[:3], sent if random.random() < 0.7 else sent[: random.randrange(len(sent))])
            check(peer.connection)
            answer(peer.connection, random)
            peer.read()
            if peer.connection.is_closed:
                break

        assert peer.code != ErrorCode.INTERNAL_ERROR
        assert peer.connection._waiting_bytes <= limits.max_waiting_bytes
        assert footprint(peer.connection) < 200_000
        if peer.connection.is_closed:
            assert not peer.connection.calls
            assert not peer.connection.streams
            assert peer.connection._held == peer.connection._waiting_bytes == 0
        assert memory.held == peer.connection._held + STREAM_BYTES * len(peer.connection._incomplete) <= 40_000
        peer.connection.lost()
        assert memory.held == 0


def test_garbage_after_a_preface_ends_the_connection_or_waits(sequences):
    for seed in seeds(sequences // 5):
        peer = Peer()
        for _ in range(20):
            peer.send(Random(seed).randbytes(1_000))

        assert peer.connection.is_closed
        assert peer.code not in (None, ErrorCode.INTERNAL_ERROR, ErrorCode.NO_ERROR)


def check(connection: Connection) -> None:
    """What is counted as it comes and goes is what there is."""
    streams = connection.streams.values()
    whole = [s for s in streams if s.receiver is None and s.request is None and s.trailers is None and not s.lost]
    assert connection.handed_over == len(whole)
    assert connection._held == sum(stream.held for stream in streams)
    assert connection._held == sum(stream.reader.held for stream in streams if stream.reader is not None)
    assert connection._granted == sum(stream.granted for stream in streams)
    assert connection._outstanding == sum(stream.granted - stream.held for stream in streams if stream.granted)
    assert connection._waiting_bytes == sum(len(stream.waiting) for stream in streams)


def answer(connection: Connection, random: Random) -> None:
    """Answer some of the calls, in any way."""
    for stream in [*connection.calls, *connection.streams]:
        kind = random.random()
        if kind < 0.1 and stream in connection.calls:
            connection.respond(stream, b"x" * random.choice((1, 900, 70_000)))
        elif kind < 0.1 and stream in connection.streams:
            connection.send_part(stream, b"x" * random.choice((1, 900, 70_000)))
        elif kind < 0.15:
            connection.fail(stream, StatusCode.INTERNAL, "drawn")
        elif kind < 0.2:
            connection.finish(stream)
        elif kind < 0.22:
            connection.reset(stream)


def footprint(connection: Connection) -> int:
    """Bytes that a connection holds on to, beside answers."""
    blocks = connection._blocks
    known = sum(map(sys.getsizeof, blocks.known))
    table = connection._blocks._decoder.header_table._current_size
    begun = 0 if connection._block is None else len(connection._block.data)
    return len(connection._buffer) + connection._held + known + table + begun + 8 * len(connection._ignored)
