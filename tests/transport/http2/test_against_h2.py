"""Random sequences of frames, given to our core and to the h2 package: errors of the same scope and code, or a reason.

A million of them, and of those of `test_splits`, take about half an hour; the log says how far it is::

    pytest tests/transport/http2/test_against_h2.py tests/transport/http2/test_splits.py --sequences 1000000 \\
        -o log_cli=true --log-cli-level=INFO -o faulthandler_timeout=0
"""

from __future__ import annotations

import re
from collections import Counter
from random import Random
from typing import NamedTuple

from rls.transport.http2 import ConnectionLimits
from rls.transport.http2.errors import ErrorCode
from tests.transport.http2.frame_sequences import ALTSVC, seeds, sequence
from tests.transport.http2.oracle import MAX_STREAMS, NOTHING, Oracle, Outcome, outcome
from tests.transport.http2.peer import (
    ACK,
    CONTINUATION,
    DATA,
    HEADERS,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    settings,
)

ALL_SEEN = 200_000
"""In so many sequences each of the differences occurs."""

GREETING = PREFACE + settings()
ANY = frozenset(range(256))
CONTENT = frozenset({DATA, HEADERS, CONTINUATION})
BLOCKS = frozenset({HEADERS, CONTINUATION})
_MALFORMED = (
    r"missing mandatory|pseudo-header|Connection-specific|Trailers must|content-length|InvalidBodyLength|response-only|TE header"
    r"|header name|header value|Illegal character|mandatory|:path|CONNECT|Host|authority"
)

_WRONG = "FRAME_SIZE_ERROR|PROTOCOL_ERROR|FLOW_CONTROL_ERROR"


class Difference(NamedTuple):
    """Where h2 and we part, and the line of RFC 9113 that allows it or asks for it."""

    frames: frozenset[int]
    theirs: str
    ours: str
    reason: str


DIFFERENCES = [
    Difference(ANY, "connection PROTOCOL_ERROR .* in state ConnectionState.CLOSED", ".*",
        "6.8: calls go on after the client's GOAWAY; h2 takes it for the end"),
    Difference(CONTENT, f"connection PROTOCOL_ERROR .*({_MALFORMED})", r"stream \d+ PROTOCOL_ERROR",
        "8.1.1: a malformed request is a stream error"),
    Difference(BLOCKS, "connection PROTOCOL_ERROR .*Error decoding header",
        "connection (COMPRESSION_ERROR|STREAM_CLOSED HEADERS on a closed|PROTOCOL_ERROR HEADERS on a stream that was passed over)",
        "4.3: a block that cannot be decoded is a COMPRESSION_ERROR; where its stream ends the connection, it is not decoded"),
    Difference(BLOCKS, "nothing|connection|stream", "connection PROTOCOL_ERROR HEADERS on a stream that is not the client's",
        "5.1.1: clients use odd identifiers"),
    Difference(BLOCKS, "nothing", r"stream \d+ PROTOCOL_ERROR",
        "8.1.1 and 8.3.1: h2 lets a request without content promise some, and any :path pass"),
    Difference(BLOCKS, "connection PROTOCOL_ERROR .*(:authority or Host)", "nothing|stream|connection",
        "8.3.1: :authority may be left out"),
    Difference(BLOCKS, r"stream \d+ STREAM_CLOSED", "connection STREAM_CLOSED",
        "5.1.1: an identifier is used once; h2 takes HEADERS for late where it had reset the stream"),
    Difference(BLOCKS, "connection .*TooManyStreams|connection .*streams", r"stream \d+ (REFUSED_STREAM|PROTOCOL_ERROR)|connection",
        "5.1.2: one stream too many is a stream error"),
    Difference(BLOCKS, "connection PROTOCOL_ERROR .*(depend|priority)", "nothing|stream|connection",
        "5.3.2: priorities are ignored"),
    Difference(BLOCKS, "connection PROTOCOL_ERROR .*invalid padding", r"(stream \d+|connection) (PROTOCOL_ERROR|STREAM_CLOSED)|nothing",
        "6.2: padding may fill HEADERS; what is left is an empty block, and its stream decides"),
    Difference(frozenset({DATA}), "connection FLOW_CONTROL_ERROR", r"stream \d+ FLOW_CONTROL_ERROR",
        "6.9: DATA beyond a stream's window may end the stream or the connection"),
    Difference(frozenset({PRIORITY}), "connection PROTOCOL_ERROR .*depend", "nothing", "5.3.2: priorities are ignored"),
    Difference(frozenset({PRIORITY}), "connection FRAME_SIZE_ERROR", r"stream \d+ FRAME_SIZE_ERROR",
        "6.3: PRIORITY of a wrong size is a stream error"),
    Difference(frozenset({RST_STREAM}), "nothing", "connection PROTOCOL_ERROR RST_STREAM on an idle stream",
        "6.4: an idle stream cannot be reset"),
    Difference(frozenset({WINDOW_UPDATE}), "connection PROTOCOL_ERROR .*non-compliant", r"stream \d+ PROTOCOL_ERROR|nothing",
        "6.9: an increment of 0 is a stream error; 5.1: on a closed stream it may be ignored"),
    Difference(frozenset({PUSH_PROMISE}), "nothing", "connection PROTOCOL_ERROR PUSH_PROMISE by a client",
        "8.4: a client cannot push, which is known before its field block is whole"),
    Difference(frozenset({CONTINUATION}), r"(connection|stream \d+) STREAM_CLOSED", "connection PROTOCOL_ERROR",
        "6.10: CONTINUATION of nothing is a PROTOCOL_ERROR"),
    Difference(frozenset({SETTINGS}), "nothing", "connection (PROTOCOL_ERROR|FLOW_CONTROL_ERROR) SETTINGS",
        "6.5.3: values hold in their order, so each must be right; h2 looks at the last of a kind"),
    Difference(frozenset({ALTSVC}), "connection", "nothing|connection PROTOCOL_ERROR a field block",
        "5.5: frames of a type that we do not know are ignored; this one is RFC 7838's"),
    Difference(ANY, "connection PROTOCOL_ERROR .*Setting 8 ", "nothing",
        "6.5.2: settings that we do not know are ignored; this one is RFC 8441's"),
    Difference(ANY, f"connection ({_WRONG})", f"connection ({_WRONG})",
        "4.2: two things are wrong with one frame; whichever is found first ends the connection"),
]  # fmt: skip


def test_errors_have_the_scope_and_code_of_h2(sequences):
    agreed = 0
    seen: Counter[str] = Counter()
    for seed in seeds(sequences):
        frames = sequence(Random(seed))
        oracle, peer = Oracle(GREETING), fresh()
        for kind, _, _, payload in peer.others:
            if kind == WINDOW_UPDATE:
                oracle.give(0, int.from_bytes(payload, "big"))
        for i, frame in enumerate(frames):
            if frame[3] == SETTINGS and frame[4] & ACK:
                break  # our client would have to do without a dynamic table now: h2 was never told
            known = len(peer.others)
            theirs, ours = oracle.receive(frame), receive(peer, frame)
            for kind, _, stream, payload in peer.others[known:]:
                if kind == WINDOW_UPDATE:
                    oracle.give(stream, int.from_bytes(payload, "big"))
            if theirs[:2] != ours[:2]:
                reason = allowed(frame[3], theirs, ours)
                assert reason, (seed, i, frame[:99], theirs, ours)
                seen[reason] += 1
                break
            if ours != NOTHING:
                agreed += 1
                break
            if any(response.blocks for response in peer.responses.values()):
                break  # the call has been answered, which only a server of gRPC does

    assert agreed > sequences // 3
    if sequences >= ALL_SEEN:
        assert [one.reason for one in DIFFERENCES if one.reason not in seen] == [], "a difference that is none any more"


def fresh() -> Peer:
    peer = Peer(ConnectionLimits(max_concurrent_streams=MAX_STREAMS, max_message_bytes=65_530), greet=False)
    peer.send(GREETING)
    return peer


def receive(peer: Peer, frame: bytes) -> Outcome:
    """What comes of one frame."""
    before = {stream: response.reset for stream, response in peer.responses.items()}
    peer.send(frame)
    if peer.goaways:
        assert peer.code != ErrorCode.INTERNAL_ERROR
        assert peer.connection.error is not None
        return outcome(0, peer.goaways[-1][1], peer.connection.error[1])
    for stream, response in peer.responses.items():
        if response.reset and before.get(stream) is None:
            return outcome(stream, response.reset)
    return NOTHING


def allowed(kind: int, theirs: Outcome, ours: Outcome) -> str:
    """The reason of a difference; "" where there is none."""
    for difference in DIFFERENCES:
        if (
            kind in difference.frames
            and re.match(difference.theirs, " ".join(theirs))
            and re.match(difference.ours, " ".join(ours))
        ):
            return difference.reason
    return ""
