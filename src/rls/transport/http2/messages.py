"""Length-Prefixed-Message (gRPC's PROTOCOL-HTTP2.md): messages out of DATA, as it comes.

Attributes of both readers: `held`, bytes that wait for the rest of their message; `size`, bytes of that message with its
prefix, 0 until the prefix has come; `since`, when that message began, None between messages.
"""

from __future__ import annotations

from rls.transport.grpc_framing import PREFIX, check_length, inflate, only_message
from rls.transport.status import Aborted, StatusCode


class UnaryReader:
    """The one message of a unary call."""

    __slots__ = ("_buffer", "_encoding", "_max_bytes", "held", "since", "size")

    def __init__(self, max_bytes: int, encoding: bytes) -> None:
        self._buffer = bytearray()
        self._encoding = encoding
        self._max_bytes = max_bytes
        self.held = self.size = 0
        self.since: float | None = None

    def feed(self, data: bytes, now: float) -> list[bytes]:
        """Take *data*; there is no message before the end, since another might follow.

        Raises:
            Aborted: The message is malformed or too large, which its prefix tells, or there is a second one.
        """
        buffer = self._buffer
        if self.since is None:
            self.since = now
        buffer += data
        self.held = len(buffer)
        if not self.size and len(buffer) >= PREFIX.size:
            self.size = PREFIX.size + _read_prefix(buffer, 0, self._max_bytes)
        if self.size and len(buffer) > self.size:
            raise Aborted(StatusCode.UNIMPLEMENTED, "the call carries more than one message")
        return []

    def end(self) -> list[bytes]:
        """The message.

        Raises:
            Aborted: There is none, or not all of it, or it cannot be inflated.
        """
        return [only_message(bytes(self._buffer), {b"grpc-encoding": self._encoding}, self._max_bytes)]


class StreamingReader:
    """The messages of a streaming call."""

    __slots__ = ("_buffer", "_encoding", "_max_bytes", "held", "since", "size")

    def __init__(self, max_bytes: int, encoding: bytes) -> None:
        self._buffer = bytearray()
        self._encoding = encoding
        self._max_bytes = max_bytes
        self.held = self.size = 0
        self.since: float | None = None

    def feed(self, data: bytes, now: float) -> list[bytes]:
        """The messages that *data* completes.

        Raises:
            Aborted: One of them is malformed or too large, which its prefix tells.
        """
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        position = self.size = 0
        while len(buffer) - position >= PREFIX.size:
            size = PREFIX.size + _read_prefix(buffer, position, self._max_bytes)
            end = position + size
            if len(buffer) < end:
                self.size = size
                break
            message = bytes(buffer[position + PREFIX.size : end])
            messages.append(inflate(message, self._encoding, self._max_bytes) if buffer[position] else message)
            position = end
        del buffer[:position]
        self.held = len(buffer)
        if not buffer:
            self.since = None
        elif position or self.since is None:
            self.since = now
        return messages

    def end(self) -> list[bytes]:
        """There is no more.

        Raises:
            Aborted: A message is incomplete.
        """
        if self.held:
            raise Aborted(StatusCode.INTERNAL, "the last message is incomplete")
        return []


def _read_prefix(buffer: bytearray, at: int, max_bytes: int) -> int:
    """The length of the message that begins there."""
    flag, length = PREFIX.unpack_from(buffer, at)
    if flag > 1:
        raise Aborted(StatusCode.INTERNAL, f"the message's compressed flag is {flag}: expected 0 or 1")
    check_length(length, max_bytes)
    return int(length)
