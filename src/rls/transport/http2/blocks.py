"""Field blocks of one connection (RFC 7541): decoded, checked, and recognized when they come again.

We allow no dynamic table, so once the client has agreed a block depends on its bytes alone. There are three ways to read
one then, each many times slower than the one before:

1. It came before: one lookup.
2. It differs from one that came before in the values of a few fields, such as `traceparent`: what is between them is
   compared, and the values are checked but not decoded (`Pattern`).
3. Anything else: hpack decodes it.

A connection remembers for itself alone, a bounded number of bytes: no client can make another's blocks be forgotten, and
blocks that never come again do not push out those that do, since a block is remembered when it comes a second time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from hpack import Decoder, HPACKError, OversizedHeaderListError

from rls.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from rls.transport.http2.fields import FIELD_BYTES, Fields, check_request, check_trailers, list_bytes
from rls.transport.http2.grpc import TOO_LARGE, read_head
from rls.transport.http2.handler import Routes
from rls.transport.http2.huffman import END, START
from rls.transport.http2.limits import Limits
from rls.transport.http2.literals import Literal, split
from rls.transport.http2.request import Head, Request, read_literal
from rls.transport.wire import Aborted, parse_timeout

_MAX_KNOWN: Final = 32
_MAX_KNOWN_BYTES: Final = 8_192
_MAX_PATTERNS: Final = 4
_MAX_PATTERN_BYTES: Final = 2_048
# A value of a pattern has a length of two bytes at most, and Huffman's shortest code has 5 bits.
_MAX_VALUE_BYTES: Final = 254 * 8 // 5
_PLAIN = re.compile(rb"(?:[!-~](?:[ -~]*[!-~])?)?").fullmatch
# Blocks after which a connection learns less and less often from those that it does not know.
_MAX_LESSONS: Final = 32
# As long as blocks depend on those before, lists beyond the bound are decoded, up to so many times the bound.
_OVERSIZE: Final = 2

# Fields that mean something to us: where one of them differs, the request is another.
_MEANT = frozenset({b"content-type", b"content-length", b"te", b"host", b"grpc-encoding"})


class Pattern(NamedTuple):
    """Blocks that differ in some values only.

    Attributes:
        parts: What comes before each of these values, from the one before.
        rest: What comes after the last.
        at: Where in the header list their fields are.
        timeout: Which of these values is grpc-timeout, which differs where a client passes its own deadline on; -1 where
            none is.
        head: What all of the requests say, but for that.
        literals: A block of that kind, split.
    """

    parts: tuple[bytes, ...]
    rest: bytes
    at: tuple[int, ...]
    timeout: int
    head: Head
    literals: Sequence[Literal]


class Blocks:
    """What a connection knows of its client's field blocks.

    Attributes:
        known: Requests by their block. Empty until the client has agreed to do without the dynamic table.
        cost: What the last block took to read, in frames of a turn (see `Limits.turn_frames`).
    """

    __slots__ = (
        "_bytes",
        "_decoder",
        "_last",
        "_lessons",
        "_limits",
        "_patterns",
        "_routes",
        "_static",
        "cost",
        "known",
    )

    def __init__(self, limits: Limits, routes: Routes) -> None:
        self._limits = limits
        self._routes = routes
        self._decoder = Decoder(max_header_list_size=_OVERSIZE * limits.max_header_list_bytes)
        self._static = False
        self._patterns: list[Pattern] = []
        self._last: tuple[bytes, Head] | None = None
        self._bytes = 0
        self._lessons = 0
        self.known: dict[bytes, Request] = {}
        self.cost = 0

    def agree(self) -> None:
        """The client has acknowledged that its dynamic table has no room (SETTINGS_HEADER_TABLE_SIZE 0).

        Where there is something in it, its next block must begin with a size update (RFC 9113, section 4.3.1).
        """
        self._decoder.max_allowed_table_size = 0
        if not self._decoder.header_table.dynamic_entries:
            self._decoder.header_table_size = 0
            self._begin_static()

    def _begin_static(self) -> None:
        """From now on no block depends on another, and none needs to be decoded to its end."""
        self._static = True
        self._decoder.max_header_list_size = self._limits.max_header_list_bytes

    def match(self, block: bytes) -> Request | None:
        """The request of a block of a kind that came before; None where it is none, or not plainly."""
        for pattern in self._patterns:
            values = _match(pattern, block)
            if values is not None:
                head = pattern.head
                if pattern.timeout >= 0:
                    try:
                        head = head.with_timeout(parse_timeout(read_literal(values[pattern.timeout])))
                    except Aborted:
                        return None
                return Request(head, pattern.at, values)
        return None

    def request(self, block: bytes) -> Request:
        """The request of a block.

        Raises:
            ConnectionFault: It cannot be decoded.
            StreamFault: The request is malformed.
        """
        request = self.known.get(block) or self.match(block)
        if request is not None:
            self.cost = 1
            return request
        static = self._static
        fields = self.decode(block)
        if fields is None or list_bytes(fields) > self._limits.max_header_list_bytes:
            return Request(TOO_LARGE)
        head = read_head(fields, check_request(fields), self._routes)
        request = Request(head)
        if static:
            self._learn(block, request)
        return request

    def trailers(self, block: bytes) -> None:
        """Check trailers.

        Raises:
            ConnectionFault: They cannot be decoded.
            StreamFault: They are malformed, or too large.
        """
        fields = self.decode(block)
        if fields is None or list_bytes(fields) > self._limits.max_header_list_bytes:
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, "trailers too large")
        check_trailers(fields)

    def decode(self, block: bytes) -> Fields | None:
        """The header list of *block*; None where it is far too large, and need not be decoded.

        Raises:
            ConnectionFault: COMPRESSION_ERROR; ENHANCE_YOUR_CALM where it is far too large and must be decoded, since
                blocks to come depend on it.
        """
        self.cost = 24 + len(block) // 16
        decoder = self._decoder
        if self._static and len(block) > 2 * self._limits.max_header_list_bytes:
            return None
        try:
            fields = decoder.decode(block, raw=True)
        except OversizedHeaderListError:
            if self._static:
                return None
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header list beyond all bounds") from None
        except (HPACKError, IndexError) as error:
            text = f"a field block cannot be decoded ({type(error).__name__})"
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, text) from None
        if not self._static and decoder.max_allowed_table_size == decoder.header_table_size == 0:
            self._begin_static()
        return [(bytes(name), bytes(value)) for name, value in fields]

    def _learn(self, block: bytes, request: Request) -> None:
        """Remember a block that came a second time, or how it differs from the one before."""
        last, self._last = self._last, (block, request.head)
        if last is None:
            return
        if block == last[0]:
            self._remember(block, request)
        elif len(block) <= _MAX_PATTERN_BYTES and self._may_learn():
            literals = split(block)
            for i, pattern in enumerate(self._patterns):
                wider = self._pattern(literals, pattern.literals, request.head, pattern.at)
                if wider is not None:
                    self._patterns[i] = wider
                    return
            found = self._pattern(literals, split(last[0]), request.head, ())
            if found is not None:
                self._patterns.insert(0, found)
                del self._patterns[_MAX_PATTERNS:]

    def _may_learn(self) -> bool:
        """Whether to compare two blocks, which takes longer than to decode one."""
        self._lessons += 1
        return self._lessons <= _MAX_LESSONS or not self._lessons & (self._lessons - 1)

    def _remember(self, block: bytes, request: Request) -> None:
        if len(block) > _MAX_KNOWN_BYTES // 2:
            return
        known = self.known
        known[block] = request
        self._bytes += len(block)
        while len(known) > _MAX_KNOWN or self._bytes > _MAX_KNOWN_BYTES:
            oldest = next(iter(known))
            del known[oldest]
            self._bytes -= len(oldest)

    def _pattern(
        self,
        literals: Sequence[Literal] | None,
        others: Sequence[Literal] | None,
        head: Head,
        at: Sequence[int],
    ) -> Pattern | None:
        """What two blocks have in common, where they differ in values that mean nothing to us; *at* may differ, too."""
        if literals is None or others is None or len(literals) != len(others):
            return None
        differ = set(at)
        for i, (one, other) in enumerate(zip(literals, others, strict=True)):
            if one.start != other.start:
                return None
            if one.value != other.value:
                differ.add(i)
        names = [head.fields[i][0] for i in sorted(differ)]
        if not all(literals[i].value for i in differ) or any(n.startswith(b":") or n in _MEANT for n in names):
            return None
        if (
            list_bytes(head.fields) + len(differ) * (FIELD_BYTES + _MAX_VALUE_BYTES)
            > self._limits.max_header_list_bytes
        ):
            return None
        parts: list[bytes] = []
        part = b""
        for i, literal in enumerate(literals):
            part += literal.start
            if i in differ:
                parts.append(part)
                part = b""
            else:
                part += literal.value
        timeout = -1
        if b"grpc-timeout" in names:
            if head.refusal or [name for name, _ in head.fields].count(b"grpc-timeout") > 1:
                return None
            timeout = names.index(b"grpc-timeout")
        return Pattern(tuple(parts), part, tuple(sorted(differ)), timeout, head, literals)


def _match(pattern: Pattern, block: bytes) -> list[bytes] | None:
    """The string literals that *block* has in the places of *pattern*; None where it is no such block, or not plainly."""
    values = []
    at = 0
    size = len(block)
    for part in pattern.parts:
        if not block.startswith(part, at):
            return None
        at += len(part)
        if at + 1 >= size:
            return None
        start = at
        first = block[at]
        length = first & 0x7F
        at += 1
        if length == 0x7F:
            more = block[at]
            if more > 0x7F:
                return None
            length += more
            at += 1
        end = at + length
        if first & 0x80:
            row = START
            for byte in block[at:end]:
                row = row[byte]
            if not row[END]:
                return None
        elif not _PLAIN(block, at, end):
            return None
        values.append(block[start:end])
        at = end
    if at + len(pattern.rest) != size or not block.endswith(pattern.rest):
        return None
    return values
