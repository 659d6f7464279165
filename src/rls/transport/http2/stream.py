"""One stream (RFC 9113, section 5.1), and the states of streams and connections."""

from __future__ import annotations

from enum import Enum, auto

from rls.transport.http2.handler import Receiver
from rls.transport.http2.messages import StreamingReader, UnaryReader
from rls.transport.http2.request import Request


class ConnectionState(Enum):
    """PREFACE: the client's has not come. OPEN. DRAINING: no new calls, see `drain`. CLOSED: send what is left, close."""

    PREFACE = auto()
    OPEN = auto()
    DRAINING = auto()
    CLOSED = auto()


class StreamState(Enum):
    """Where a stream is, of the states that a server without push meets.

    *idle* and *closed* need no object: an identifier above the last one opened is idle, and one that is not open any more
    is closed. *half-closed (local)* lasts for no time: once our side has ended, RST_STREAM with NO_ERROR ends the other
    (section 8.1).

    A unary call that is whole and not answered, which is nearly every stream, needs no object either: it is an entry in
    `Connection.calls`, and half-closed (remote).
    """

    OPEN = auto()
    HALF_CLOSED_REMOTE = auto()


class Stream:
    """A stream that needs to be remembered in full.

    Attributes:
        began: When its HEADERS came.
        state: Its state.
        receiver: Of a streaming call; None where the call is unary.
        request: Of a unary call that is not whole, or one without a handler; None for all others.
        reader: Puts messages together; None once the client's side has ended.
        receive_window: Bytes of DATA that the client may still send.
        send_window: Bytes of DATA that we may still send; below 0 after the client has lowered its window (6.9.2).
        held: Bytes of its message that is not whole.
        kept: Bytes of messages that are whole, but wait for the handler of a streaming call.
        granted: Bytes of that message where the client has been given a window for all of it, else 0.
        granted_at: When it was, or when a window was given back that had been held back.
        content_length: Bytes of content that are promised (8.1.1); None where nothing is.
        received: Bytes of content so far.
        handed_over: Whether this is a unary call that is whole and has a handler, which has not answered.
        answered: Whether response HEADERS have been sent.
        waiting: DATA that waits for a window.
        trailers: The block that ends the stream once `waiting` is sent; None where the answer is not complete, b"" where
            it has no trailers.
        lost: Whether the receiver must not be told anything more.
    """

    __slots__ = (
        "answered", "began", "content_length", "granted", "granted_at", "handed_over", "held", "id", "kept", "lost", "reader",
        "receive_window", "received", "receiver", "request", "send_window", "state", "trailers", "waiting",
    )  # fmt: skip

    def __init__(self, stream_id: int, began: float, receive_window: int, send_window: int) -> None:
        self.id = stream_id
        self.began = began
        self.state = StreamState.OPEN
        self.receiver: Receiver | None = None
        self.request: Request | None = None
        self.reader: UnaryReader | StreamingReader | None = None
        self.receive_window = receive_window
        self.send_window = send_window
        self.held = self.kept = self.granted = 0
        self.granted_at = began
        self.content_length: int | None = None
        self.received = 0
        self.handed_over = False
        self.answered = False
        self.waiting = bytearray()
        self.trailers: bytes | None = None
        self.lost = False
