"""`python -m benches.http2`: what a unary call costs in the HTTP/2 core alone, without a socket: request in, answer out.

One process, pinned by `taskset -c 1`. The least of many rounds, since whatever else runs only adds.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from random import Random
from typing import cast

from hpack import Encoder

from benches.frames import DATA, END_HEADERS, END_STREAM, GREETING, HEADERS, PATH, SETTINGS, frame
from rls.transport.http2 import Connection, ConnectionLimits, Request, Responder, Unary
from rls.transport.status import StatusCode

_ANSWER = b"\x08\x01" + bytes(38)
_MESSAGE = b"\0" + (40).to_bytes(4, "big") + bytes(40)
_CALLS = 64
_WINDOW = frame(SETTINGS, 1, 0)

# As Envoy sends it to a rate limit service in a mesh with tracing.
_FIELDS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "ratelimit"),
    ("te", "trailers"),
    ("grpc-timeout", "20m"),
    ("content-type", "application/grpc"),
    ("x-envoy-internal", "true"),
    ("x-forwarded-for", "10.0.0.1"),
]


def _answer(connection: Responder, stream: int, request: Request, message: bytes, now: float) -> None:
    del request, message, now
    connection.respond(stream, _ANSWER)


def _shed(connection: Responder, stream: int, request: Request, message: bytes, now: float) -> None:
    del message, now
    known = cast("Connection", connection)
    if known.rejecting is None:
        known.reject_alike(request, _shed)
    connection.fail(stream, StatusCode.RESOURCE_EXHAUSTED, "too many calls")


def _block(random: Random | None, *, huffman: bool = True, odd: bool = False) -> bytes:
    """A field block; with *random* two of its eleven fields differ each time; *odd* is never recognized."""
    encoder = Encoder()
    encoder.header_table_size = 0
    encoder.table_size_changes = []
    drawn = random or Random(0)
    fields = [
        *_FIELDS,
        ("traceparent", f"00-{drawn.getrandbits(128):032x}-{drawn.getrandbits(64):016x}-01"),
        ("x-request-id", f"{drawn.getrandbits(128):032x}"),
    ]
    if odd:
        fields.append((f"x-{drawn.getrandbits(64):x}", "1"))
    return encoder.encode(fields, huffman=huffman)


def _microseconds(
    make: Callable[[Random], bytes], rounds: int, *, calls: int = _CALLS, apart: bool = False, shed: bool = False
) -> float:
    """Of one call, where a read brings so many *calls*; *apart*: HEADERS and DATA come in two reads."""
    connection = Connection({PATH.encode(): Unary(_shed if shed else _answer)}, ConnectionLimits(), 0)
    connection.receive(GREETING + _WINDOW, 0)
    random = Random(1)
    stream = 1
    least = float("inf")
    for _ in range(rounds):
        reads = [b"", b""] if apart else [b""]
        for _ in range(calls):
            reads[0] += frame(HEADERS, END_HEADERS, stream, make(random))
            reads[-1] += frame(DATA, END_STREAM, stream, _MESSAGE)
            stream += 2
        connection.data_to_send()
        began = time.perf_counter()
        for read in reads:
            more = connection.receive(read, 0)
            while more:
                more = connection.receive(b"", 0)
        connection.data_to_send()
        least = min(least, time.perf_counter() - began)
    assert not connection.is_closed, connection.error
    assert not connection.calls
    return least / calls * 1e6


def measure(rounds: int) -> dict[str, float]:
    """Microseconds by case."""
    same = _block(None)
    return {
        "the same header block, 64 calls a read": _microseconds(lambda _: same, rounds),
        "the same header block, 1 call a read": _microseconds(lambda _: same, 20 * rounds, calls=1),
        "the same header block, HEADERS and DATA apart": _microseconds(lambda _: same, rounds, apart=True),
        "two fields differ, Huffman": _microseconds(_block, rounds),
        "two fields differ, not Huffman": _microseconds(lambda random: _block(random, huffman=False), rounds),
        "a block that hpack decodes": _microseconds(lambda random: _block(random, odd=True), rounds, calls=4),
        "a call that is shed": _microseconds(lambda _: same, rounds, shed=True),
        "a call that is shed, two fields differ": _microseconds(_block, rounds, shed=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.http2", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="of 64 calls (200)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(f"microseconds of CPU for a call, Python {platform.python_version()}")
    for name, value in found.items():
        print(f"{value:8.2f}  {name}")


if __name__ == "__main__":
    main()
