"""One client connection of raw HTTP/2, with no more Python for each call than must be."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from benches import frames
from benches.frames import FRAME, Call, Outcomes, frame

_READ_BYTES = 1 << 18
# Of the connection's flow control; more than the calls that are made at once take.
_LEAST_WINDOW = 8192


@dataclass(slots=True)
class Tally:
    """What became of calls.

    Attributes:
        sent: Calls made.
        answered: Calls answered with OK before the client gave up.
        timed_out: Calls that the client gave up, and reset.
        late: Calls that were answered after that.
        lost: Calls that ended with their connection.
        refused: Calls that got something else than an answer, by what they got.
        goaways: Connections that the server ended, by error code.
        seconds: How long each of the answered calls took.
    """

    sent: int = 0
    answered: int = 0
    timed_out: int = 0
    late: int = 0
    lost: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    goaways: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


class Connection:
    """Calls on one socket, which is not blocking and is watched by the owner.

    Args:
        context: For TLS; None for plaintext.

    Attributes:
        calls: Calls under way: when they were made, by stream, oldest first.
        tally: Where what became of them is counted.
        on_answer: Called for each answer in time, with the time of the call and the seconds that it took.
        closed: Whether the connection is gone, and all of its calls with it.
    """

    def __init__(
        self,
        address: tuple[str, int],
        tally: Tally,
        on_answer: Callable[[float, float], None],
        *,
        grpc: bool = True,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.create_connection(address, 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname=address[0])
        self.socket.setblocking(False)
        self.calls: dict[int, float] = {}
        self.tally = tally
        self.on_answer = on_answer
        self.closed = False
        self._outcomes = Outcomes(grpc=grpc)
        self._no_trailers = "no trailers" if grpc else ""
        self._failures: dict[int, str] = {}
        self._max_streams = 0  # until the server has agreed to do without the dynamic table
        self._wanted_streams = 2**31
        self._window = frames.DEFAULT_WINDOW
        self._next = 1
        self._unread = b""
        self._unsent = b""
        self._out: list[bytes] = [frames.GREETING]
        self.flush()

    def room(self) -> int:
        """Calls that may be made now; the server's limit on streams, or a full socket, may forbid it."""
        if self._unsent or self.closed or self._window < _LEAST_WINDOW:
            return 0
        return self._max_streams - len(self.calls)

    def add(self, call: Call, now: float) -> None:
        """Make a call, with the next `flush`."""
        stream = self._next
        self._next += 2
        self._window -= call.size
        self._out.extend(call.on(stream))
        self.calls[stream] = now
        self.tally.sent += 1

    def give_up(self, sent_before: float) -> None:
        """Reset, with the next `flush`, the calls that were made earlier than that."""
        expired = []
        for stream, sent in self.calls.items():
            if sent >= sent_before:
                break
            expired.append(stream)
        for stream in expired:
            del self.calls[stream]
            self._out.append(frame(frames.RST_STREAM, 0, stream, frames.CANCEL_CODE))
        self.tally.timed_out += len(expired)

    def flush(self) -> None:
        """Write what there is to write, as far as the socket takes it."""
        if not (self._out or self._unsent) or self.closed:
            return
        data = self._unsent + b"".join(self._out)
        self._out.clear()
        try:
            self._unsent = data[self.socket.send(data) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._unsent = data
        except OSError:
            self.close()

    def read(self) -> None:
        """Take in what has arrived; of TLS one record, and the poll tells of the next."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._take(self._unread + data, time.perf_counter())

    def close(self) -> None:
        """Close the socket; calls under way are lost."""
        if not self.closed:
            self.closed = True
            self.tally.lost += len(self.calls)
            self.calls.clear()
            with contextlib.suppress(OSError):
                self.socket.close()

    def _take(self, data: bytes, now: float) -> None:
        position, end = 0, len(data)
        unpack = FRAME.unpack_from
        while position + 9 <= end:
            high, low, kind, flags, stream = unpack(data, position)
            start = position + 9
            position = start + (high << 16) + low
            if position > end:
                self._unread = data[start - 9 :]
                return
            if kind == frames.HEADERS:
                self._headers(stream, flags, data[start:position], now)
            elif kind != frames.DATA:
                self._control(kind, flags, stream, data[start:position])
            elif flags & frames.END_STREAM:
                self._ended(stream, self._failures.pop(stream, self._no_trailers), now)
        self._unread = data[position:]

    def _headers(self, stream: int, flags: int, block: bytes, now: float) -> None:
        status, code = self._outcomes.of(block)
        wrong = status if status and status != "?" else code
        if not flags & frames.END_STREAM:
            if wrong and wrong != "?":
                self._failures[stream] = wrong
            return
        if self._failures:
            wrong = self._failures.pop(stream, wrong)
        self._ended(stream, wrong, now)

    def _ended(self, stream: int, wrong: str, now: float) -> None:
        sent = self.calls.pop(stream, None)
        if sent is None:
            self.tally.late += not wrong
        elif wrong:
            self.tally.refused[wrong] += 1
        else:
            self.tally.answered += 1
            self.tally.seconds.append(took := now - sent)
            self.on_answer(sent, took)

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.WINDOW_UPDATE:
            if stream == 0:
                self._window += int.from_bytes(payload, "big")
        elif kind == frames.SETTINGS and flags & frames.ACK:
            self._max_streams = self._wanted_streams
        elif kind == frames.SETTINGS:
            self._wanted_streams = frames.settings(payload).get(frames.MAX_CONCURRENT_STREAMS, self._wanted_streams)
            self._out.append(frame(frames.SETTINGS, frames.ACK, 0))
        elif kind == frames.PING and not flags & frames.ACK:
            self._out.append(frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.RST_STREAM:
            if self.calls.pop(stream, None) is not None:
                self.tally.refused[f"RST_STREAM {int.from_bytes(payload, 'big')}"] += 1
        elif kind == frames.GOAWAY:
            self._max_streams = 0
            self._wanted_streams = 0
            self.tally.goaways[f"{int.from_bytes(payload[4:8], 'big')} {payload[8:].decode('latin-1')}".strip()] += 1
