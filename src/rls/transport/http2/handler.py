"""The port between a connection and what answers its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from rls.transport.http2.request import Request
from rls.transport.status import StatusCode


class Receiver(Protocol):
    """What a streaming handler makes of one call. An exception ends the call with INTERNAL."""

    def message(self, message: bytes, now: float) -> None:
        """The client sent a message; they come in their order."""

    def end(self, now: float) -> None:
        """The client has sent all of its messages."""

    def sendable(self) -> None:
        """There is room for what `Responder.send_part` has left."""

    def lost(self) -> None:
        """The call is over without `finish` or `fail`: reset, timed out, or its connection is gone."""


class Responder(Protocol):
    """The connection as handlers see it. Every method is safe at any time: of a call that is over, it says so.

    Attributes:
        peer: What the shell says of the client.
    """

    peer: object

    def respond(self, stream_id: int, message: bytes) -> bool:
        """Answer a unary call with OK. False where the call is over: its caller is gone."""

    def fail(self, stream_id: int, code: StatusCode, text: str) -> bool:
        """End a call with another status than OK; *text* is for the caller. False where it is over."""

    def fail_all(self, stream_ids: Sequence[int], code: StatusCode, text: str) -> None:
        """End one or more calls, that a `RejectedHandler` was given, with a status."""

    def send_part(self, stream_id: int, part: bytes | memoryview) -> int:
        """Send of *part*, some bytes of length-prefixed messages of a streaming call, what the client's windows allow.

        Returns:
            How many bytes were sent; where they are not all, `Receiver.sendable` tells when to send the rest, which a client
            must take within `ConnectionLimits.answer_seconds`. -1 where the call is over.
        """

    def keep(self, stream_id: int, change: int) -> None:
        """So many more bytes of a streaming call's messages wait for its handler, or fewer: its window is less by that."""

    def finish(self, stream_id: int) -> bool:
        """End a streaming call with OK. False where it is over."""

    def reset(self, stream_id: int) -> bool:
        """End a call with RST_STREAM and CANCEL, without a status. False where it is over."""

    def is_live(self, stream_id: int) -> bool:
        """Whether somebody waits for an answer."""

    def began(self, stream_id: int) -> float | None:
        """When the HEADERS of a call came: its deadline counts from there. None where it is over."""

    def end_turn(self) -> None:
        """Let `Connection.receive` return after the present call: what is left is for the next turn."""


UnaryHandler: TypeAlias = Callable[[Responder, int, Request, bytes, float], None]
"""Takes (connection, stream id, request, message, now); answers by `Responder.respond` or `fail`, now or later."""

RejectedHandler: TypeAlias = Callable[[Responder, Sequence[int]], None]
"""Takes (connection, stream ids) of unary calls that nobody has looked at; answers at once, by `Responder.fail_all`."""

StreamHandler: TypeAlias = Callable[[Responder, int, Request, float], Receiver]
"""Takes (connection, stream id, request, now) when the call begins; may send at once."""


@dataclass(frozen=True, slots=True)
class Unary:
    """One message in, one out."""

    handler: UnaryHandler


@dataclass(frozen=True, slots=True)
class Streaming:
    """Messages in, messages out, in any order."""

    handler: StreamHandler


Routes: TypeAlias = Mapping[bytes, Unary | Streaming]
"""Handlers by :path."""
