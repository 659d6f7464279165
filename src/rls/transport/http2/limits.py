"""How much one client can take, and how fast: every bound of a connection, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from rls.transport.grpc_framing import PREFIX
from rls.transport.http2.frames import DEFAULT_WINDOW


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many more every second."""

    burst: int
    per_second: float


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection. Bytes are as sent unless said otherwise.

    Attributes:
        max_message_bytes: A gRPC message, sent and inflated. Its prefix says its length, so a longer one is refused
            before it arrives.
        max_held_bytes: Bytes of incomplete messages on one connection; those that began last are shed above it (see
            `incoming`). A third may be promised to messages longer than the default window of 64 KiB: two of the
            largest. The rest is room for the first 64 KiB of 80 others. At least four of the largest messages.
        max_held_bytes_of_all: The same over all connections of a server (see `memory`), with `STREAM_BYTES` for each
            message: as much as eight connections may hold, and a small part of the 1 GiB that a pod has.
        max_header_list_bytes: A header list as RFC 9113, section 10.5.1 counts it: names, values and 32 for each field.
            gRPC's usual bound. A longer one ends its call with RESOURCE_EXHAUSTED.
        max_header_block_bytes: A field block over all of its frames. It is collected before it is decoded, so it is what
            a flood of CONTINUATION frames can make a connection hold. Above the header list, so that a list somewhat
            too long ends its call and not the connection: once the client has given up its dynamic table, a block that
            is longer than its list may be need not be decoded.
        large_blocks: Field blocks above 4 KiB that must be decoded, since they did not come before, by parts of 4 KiB:
            each part takes up to 1 ms, and there are four at most. Calls over it end with RESOURCE_EXHAUSTED. Fifty
            parts a second take a twentieth of the loop's time.
        max_continuations: CONTINUATION frames of one block. Two would do for the largest block at the smallest frame
            size; some clients cut smaller.
        max_concurrent_streams: Calls open at once. One gateway worker at 10,000 calls a second holds 1,000 during a stall
            of 100 ms. Further ones get REFUSED_STREAM, which a client may repeat.
        remembered_streams: Streams that ended before the client had sent all. What is still on its way for them is
            ignored; for older ones it is an error of the client.
        resets: Calls that the client may reset while they are live, unanswered and neither shed nor late (rapid reset).
            A gateway at 10,000 calls a second whose own clients give up one in a hundred needs 100 a second.
        late_seconds: A call older than that may be reset for free: its caller gave up, as Envoy does after 20 ms, or
            after the 10 ms that some set. Less than that, since a call has been on its way before we read it. An attack
            that waits for so long is bound by `max_concurrent_streams`.
        faults: Streams that end by an error of the client, where we send the RST_STREAM (MadeYouReset). No sound client
            makes any; a proxy may pass on a few of its own clients'.
        control: Frames that carry nothing of a call: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown ones, empty and
            tiny DATA, and many messages in one DATA (floods, data dribble). Every call adds `control_per_call`, since
            clients send WINDOW_UPDATE and RST_STREAM for theirs.
        control_per_call: See `control`.
        max_waiting_bytes: Answers that wait for the client's flow-control windows, with `STREAM_BYTES` for each stream.
        answer_seconds: How long an answer may wait for these windows (slow reader, window games).
        preface_seconds: For the client's preface and first SETTINGS.
        settings_seconds: For the acknowledgement of our SETTINGS (RFC 9113, section 6.5.3).
        header_block_seconds: For a frame that has begun to arrive, and for a field block that has.
        message_seconds: For a message that has begun, and for the whole request of a unary call.
        idle_seconds: A connection without calls is drained after that. Long, since a client with few calls keeps its
            connection for the next; not for ever, since forgotten ones hold memory and a file descriptor.
        keepalive_seconds: A connection from which nothing came for so long is sent a PING.
        keepalive_timeout_seconds: Seconds to answer that PING before the connection is given up.
        goaway_seconds: Between the two GOAWAY frames of a drain, if the PING between them is not answered before.
        turn_frames: Cost of one turn of `Connection.receive`. HEADERS and DATA of a usual call cost 1 each, so a turn is
            64 calls, about 0.5 ms; what is slower costs more.
    """

    max_message_bytes: int = 1_048_576
    max_held_bytes: int = 8_388_608
    max_held_bytes_of_all: int = 67_108_864
    max_header_list_bytes: int = 16_384
    max_header_block_bytes: int = 32_768
    large_blocks: Rate = field(default=Rate(100, 50))
    max_continuations: int = 16
    max_concurrent_streams: int = 1_000
    remembered_streams: int = 1_024
    resets: Rate = field(default=Rate(1_000, 100))
    late_seconds: float = 0.005
    faults: Rate = field(default=Rate(100, 10))
    control: Rate = field(default=Rate(10_000, 1_000))
    control_per_call: int = 4
    max_waiting_bytes: int = 262_144
    answer_seconds: float = 5.0
    preface_seconds: float = 5.0
    settings_seconds: float = 10.0
    header_block_seconds: float = 5.0
    message_seconds: float = 5.0
    idle_seconds: float = 3_600.0
    keepalive_seconds: float = 60.0
    keepalive_timeout_seconds: float = 20.0
    goaway_seconds: float = 1.0
    turn_frames: int = 128

    @property
    def held_bytes(self) -> int:
        """`max_held_bytes`, or more where messages may be large."""
        return min(2**30, max(self.max_held_bytes, 4 * (self.max_message_bytes + PREFIX.size)))

    @property
    def held_bytes_of_all(self) -> int:
        """`max_held_bytes_of_all`, or more where messages may be large."""
        return max(self.max_held_bytes_of_all, 2 * self.held_bytes)

    @property
    def connection_window(self) -> int:
        """The window of a connection: there is always room for as much as one stream may send at first."""
        return self.held_bytes + DEFAULT_WINDOW


STREAM_BYTES = 1_024
"""Memory of a stream beside the bytes that wait in it, roughly."""


class Budget:
    """What is left of a `Rate`."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._at = now

    def spend(self, now: float, cost: float = 1) -> bool:
        """Take *cost*; False where it is not there."""
        if self._left < cost:
            self._left = min(self._rate.burst, self._left + (now - self._at) * self._rate.per_second)
            self._at = now
            if self._left < cost:
                return False
        self._left -= cost
        return True

    def add(self, amount: float) -> None:
        """Give *amount* back, up to the burst."""
        self._left = min(self._rate.burst, self._left + amount)
