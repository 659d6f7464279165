"""Random sequences of frames: mostly nearly right, since what is quite wrong ends at its first frame."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from benches.frames import frame
from tests.transport.http2.peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LATER,
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

_LOG = logging.getLogger(__name__)
ALTSVC = 0xA
STREAMS = (0, 1, 1, 1, 3, 3, 3, 5, 5, 7, 9, 2)
REQUESTS = [
    block(fields(WATCH)),
    block(fields(WATCH, content_length="6")),
    block(fields(WATCH, x_more="1")),
    block(fields(WATCH), huffman=False),
    block(fields(LATER)),
    block(fields(LATER, content_length="6")),
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


PART = b"\0" + number(60_000) + bytes(16_379)
"""Four of these are one byte more than a stream's window allows."""


def seeds(count: int) -> Iterator[int]:
    """So many, with a line in the log now and then. Fails where memory grows after the first tenth."""
    began = time.monotonic()
    before = 0
    for seed in range(count):
        if not seed % 50_000:
            _LOG.info("seed %d of %d: %.0f s, %d MiB", seed, count, time.monotonic() - began, resident() >> 20)
        if seed == count // 10:
            before = resident()
        yield seed
    assert resident() - before < 32 << 20, "memory grew"


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sequence(random: Random, *, large: bool = True) -> list[bytes]:
    """Frames that follow a preface and SETTINGS; DATA is short where it is not to be *large*."""
    frames = _sequence(random)
    return frames if large else [one for one in frames if len(one) < 1_000]


def _sequence(random: Random) -> list[bytes]:
    frames = [random.choice(FRAMES)(random) for _ in range(random.randrange(1, 12))]
    if random.random() < 0.2:
        frames = [frame(HEADERS, END_HEADERS, 1 + 2 * i, REQUESTS[0]) for i in range(random.randrange(5))] + frames
    if random.random() < 0.05:
        stream = random.choice(STREAMS)
        parts = [
            frame(DATA, 0, stream, PART[: random.choice((16_384, 16_384, 16_383))])
            for _ in range(random.randrange(1, 6))
        ]
        at = random.randrange(len(frames) + 1)
        frames[at:at] = parts
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
    kind, size = random.choice(
        ((PRIORITY, 5), (RST_STREAM, 4), (RST_STREAM, 4), (PING, 8), (GOAWAY, 8), (0x2A, 3), (ALTSVC, 3))
    )
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
