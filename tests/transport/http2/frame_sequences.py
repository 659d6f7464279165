"""Random sequences of frames: mostly nearly right, since what is quite wrong ends at its first frame."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from benches.frames import frame
from tests.transport.http2.peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WATCH,
    WINDOW_UPDATE,
    block,
    fields,
    message,
    number,
)

STREAMS = (0, 1, 1, 1, 3, 3, 3, 5, 5, 7, 9, 2)
REQUESTS = [
    block(fields(WATCH)),
    block(fields(WATCH, content_length="6")),
    block(fields(WATCH, x_more="1")),
    block(fields(WATCH), huffman=False),
]
MALFORMED = [
    block(fields(WATCH, connection="close")),
    block(fields(WATCH, te="gzip")),
    block([*fields(WATCH), (":path", "/")]),
    block([(":status", "200"), *fields(WATCH)]),
    block(fields(WATCH)[1:]),
    block(fields(WATCH, X_Upper="1")),
    block(fields(WATCH, content_length="x")),
    block([(":method", "POST"), *fields(WATCH)]),
    b"",
]
TRAILERS = [block([("x-trailer", "1")])]
BROKEN = [
    b"\x80",
    b"\xbe",
    b"\xff\xff\xff\xff\xff\xff",
    block(fields(WATCH))[:-3],
    block(fields(WATCH)) + b"\x20",
    b"\x3f\xe2\x1f",
]


def sequence(random: Random) -> list[bytes]:
    """Frames that follow a preface and SETTINGS."""
    frames = [random.choice(FRAMES)(random) for _ in range(random.randrange(1, 12))]
    if random.random() < 0.2:
        frames = [frame(HEADERS, END_HEADERS, 1 + 2 * i, REQUESTS[0]) for i in range(random.randrange(5))] + frames
    if random.random() < 0.2:
        at = random.randrange(len(frames))
        mutated = bytearray(frames[at])
        mutated[random.randrange(3, len(mutated))] = random.randrange(
            256
        )  # all but the length: it would only be waited for
        frames[at] = bytes(mutated)
    return frames


def _block(random: Random) -> bytes:
    kind = random.random()
    return random.choice(REQUESTS if kind < 0.7 else TRAILERS if kind < 0.85 else MALFORMED if kind < 0.95 else BROKEN)


def _headers(random: Random) -> bytes:
    flags = random.choice((END_HEADERS,) * 8 + (0,)) | random.choice((0, 0, END_STREAM))
    payload = _block(random)
    stream = random.choice(STREAMS)
    if random.random() < 0.1:
        flags |= PRIORITY_FLAG
        payload = number(random.choice((0, 11, 1 << 31, stream))) + b"\x10" + payload
    return _padded(random, HEADERS, flags, stream, payload)


def _data(random: Random) -> bytes:
    payload = random.choice((b"", message(b"x"), message(b"x") * 2, message(b"four!")))
    return _padded(random, DATA, random.choice((0, 0, END_STREAM)), random.choice(STREAMS), payload)


def _padded(random: Random, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    if random.random() < 0.1:
        size = random.choice((0, 1, 30))
        told = size if random.random() < 0.9 else 200
        return frame(kind, flags | PADDED, stream, bytes([told]) + payload + bytes(size))
    return frame(kind, flags, stream, payload)


def _settings(random: Random) -> bytes:
    values = [
        (random.choice((1, 2, 3, 4, 5, 6, 8, 99)), random.choice((0, 1, 2, 16_384, 65_535, 2**24, 2**31 - 1, 2**31)))
        for _ in range(random.randrange(3))
    ]
    payload = b"".join(name.to_bytes(2, "big") + number(value) for name, value in values)
    return frame(SETTINGS, 0, random.choice((0,) * 9 + (1,)), payload + bytes(random.choice((0,) * 9 + (1,))))


def _window_update(random: Random) -> bytes:
    increment = random.choice((0, 1, 1, 1_000, 2**31 - 1, 2**31 - 1 - 65_535))
    return frame(WINDOW_UPDATE, 0, random.choice(STREAMS), number(increment)[: random.choice((4,) * 9 + (3,))])


def _control(random: Random) -> bytes:
    kind, size = random.choice(((PRIORITY, 5), (RST_STREAM, 4), (RST_STREAM, 4), (PING, 8), (GOAWAY, 8), (0x2A, 3)))
    stream = random.choice(STREAMS) if kind in (PRIORITY, RST_STREAM) or random.random() < 0.05 else 0
    payload = (number(random.choice((0, stream))) + bytes(4))[:size]
    return frame(kind, 0, stream, payload if random.random() < 0.9 else payload[1:])


def _continuation(random: Random) -> bytes:
    return frame(CONTINUATION, random.choice((0, END_HEADERS, END_HEADERS)), random.choice(STREAMS), _block(random)[:9])


def _push(random: Random) -> bytes:
    return frame(PUSH_PROMISE, END_HEADERS, random.choice(STREAMS), number(2) + _block(random))


FRAMES: tuple[Callable[[Random], bytes], ...] = (
    *(_headers,) * 8,
    *(_data,) * 6,
    *(_window_update,) * 2,
    *(_control,) * 3,
    _settings,
    _continuation,
    _push,
)
