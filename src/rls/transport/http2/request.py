"""One request, as far as handlers and the connection need to know it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hpack.huffman_table import decode_huffman

from rls.transport.http2.fields import Fields
from rls.transport.http2.trace_sampling import MAYBE, UNSAMPLED, places


class Head:
    """A header list, read once. Requests that differ in nothing that matters here share it.

    Attributes:
        fields: The list as sent.
        path: The method, as `/package.Service/Method`.
        timeout: Seconds of grpc-timeout; None where the caller did not say.
        encoding: grpc-encoding.
        content_length: Bytes of content that are promised; None where nothing is.
        unary: `handler.UnaryHandler` of the path.
        streaming: `handler.StreamHandler` of the path.
        refusal: The block that answers a request with no handler.
        refusal_body: The content that goes with it; b"" where the caller speaks gRPC.
        sampling: `trace_sampling.places` for the fields that *differ*, once it was asked for.
        differ: See there; None before.
    """

    __slots__ = (
        "content_length",
        "differ",
        "encoding",
        "fields",
        "path",
        "refusal",
        "refusal_body",
        "sampling",
        "streaming",
        "timeout",
        "unary",
    )

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.path = b""
        self.timeout: float | None = None
        self.encoding = b"identity"
        self.content_length: int | None = None
        self.unary: Callable[..., None] | None = None
        self.streaming: Callable[..., Any] | None = None
        self.refusal = b""
        self.refusal_body = b""
        self.sampling: Sequence[int] = ()
        self.differ: Sequence[int] | None = None

    def with_timeout(self, seconds: float) -> Head:
        """The head of a list that differs from this one's in grpc-timeout only."""
        head = self._copy()
        head.timeout = seconds
        return head

    def with_handler(self, unary: Callable[..., None]) -> Head:
        """This head, for calls that another handler answers."""
        head = self._copy()
        head.unary = unary
        return head

    def _copy(self) -> Head:
        head = Head(self.fields)
        head.path = self.path
        head.timeout = self.timeout
        head.encoding = self.encoding
        head.content_length = self.content_length
        head.unary = self.unary
        head.streaming = self.streaming
        return head


class Request:
    """One request.

    Attributes:
        head: What it shares with others: path, timeout.
    """

    __slots__ = ("_at", "_values", "head")

    def __init__(self, head: Head, at: Sequence[int] = (), values: Sequence[bytes] = ()) -> None:
        """*values*: string literals (RFC 7541, section 5.2) of the fields that differ, which have the indexes *at* in the list."""
        self.head = head
        self._at = at
        self._values = values

    @property
    def fields(self) -> Fields:
        """The whole header list in its order, as sent; the value of a `-bin` field is base64."""
        fields = list(self.head.fields)
        for at, literal in zip(self._at, self._values, strict=True):
            fields[at] = (fields[at][0], read_literal(literal))
        return fields

    def value(self, name: bytes) -> bytes | None:
        """The value of the first field of that *name*, decoded when asked for."""
        for at, (found, value) in enumerate(self.head.fields):
            if found == name:
                return read_literal(self._values[self._at.index(at)]) if at in self._at else value
        return None

    @property
    def may_be_sampled(self) -> bool:
        """False where the caller surely did not sample its trace (see `trace_sampling`); nothing is decoded to know that."""
        head = self.head
        if head.differ is not self._at:
            head.differ = self._at
            head.sampling = places(head.fields, self._at)
        for place in head.sampling:  # noqa: SIM110 - a generator would cost more than all the rest
            if place == MAYBE or self._values[place][-3:] not in UNSAMPLED:
                return True
        return False


def read_literal(literal: bytes) -> bytes:
    """A string literal that is known to be sound, with a length of one or two bytes."""
    text = literal[2 if literal[0] & 0x7F == 0x7F else 1 :]
    return bytes(decode_huffman(text)) if literal[0] & 0x80 else text
