"""Field blocks of one connection (RFC 7541): decoded, checked, and recognized when they come again.

We allow no dynamic table, so once the client has agreed a block depends on its bytes alone. There are three ways to read
one then, each many times slower than the one before:

1. It came before: one lookup.
2. It differs from one that came before in the values of a few fields, such as `traceparent` (see `patterns`).
3. Anything else: hpack decodes it.

A connection remembers for itself, a bounded number of bytes: no client can make another's blocks be forgotten, and blocks
that never come again do not push out those that do, since a block is remembered when it comes a second time. What it does not
know is compared with what others found out last (see `SharedPatterns`).
"""

from __future__ import annotations

import re
from typing import Final

from hpack import Decoder, HPACKError, OversizedHeaderListError

from rls.transport.grpc_framing import parse_timeout
from rls.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from rls.transport.http2.fields import Fields, check_request, check_trailers, list_bytes
from rls.transport.http2.grpc import TOO_LARGE, read_head
from rls.transport.http2.handler import Routes
from rls.transport.http2.limits import Budget, ConnectionLimits
from rls.transport.http2.literals import split
from rls.transport.http2.patterns import MAX_PATTERNS, Pattern, SharedPatterns, common, match
from rls.transport.http2.request import Head, Request, read_literal
from rls.transport.status import Aborted

_MAX_KNOWN: Final = 32
_MAX_KNOWN_BYTES: Final = 16_384
_MAX_PATTERN_BYTES: Final = 2_048
# Blocks after which a connection learns less and less often from those that it does not know.
_MAX_LESSONS: Final = 32
# As long as blocks depend on those before, lists beyond the bound are decoded, up to so many times the bound.
_OVERSIZE: Final = 2
# Of the list, by one byte of the block: the shortest field of the static table, roughly.
_REFERENCE_BYTES: Final = 42
_LARGE: Final = 4_096
"""A block of that size takes up to a millisecond."""
# An encoder needs two (RFC 7541, section 4.2); some send each change of the setting that they saw.
_SIZE_UPDATES = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\0-\x7f]){9}").match


class Blocks:
    """What a connection knows of its client's field blocks.

    Attributes:
        known: Requests by their block. Empty until the client has agreed to do without the dynamic table.
        cost: What the last block took to read, in frames of a turn (see `ConnectionLimits.turn_frames`).
        shared: What connections with the same routes share.
    """

    __slots__ = (
        "_bytes",
        "_decoder",
        "_large",
        "_last",
        "_lessons",
        "_limits",
        "_patterns",
        "_routes",
        "_static",
        "cost",
        "known",
        "shared",
    )

    def __init__(self, limits: ConnectionLimits, routes: Routes, now: float = 0.0) -> None:
        self._limits = limits
        self._large = Budget(limits.large_blocks, now)
        self._routes = routes
        self._decoder = Decoder(max_header_list_size=_OVERSIZE * limits.max_header_list_bytes)
        self._static = False
        self._patterns: list[Pattern] = []
        self._last: tuple[bytes, Head] | None = None
        self._bytes = 0
        self._lessons = 0
        self.known: dict[bytes, Request] = {}
        self.shared = SharedPatterns()
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
            values = match(pattern, block)
            if values is not None:
                head = pattern.head
                if pattern.timeout >= 0:
                    try:
                        head = head.with_timeout(parse_timeout(read_literal(values[pattern.timeout])))
                    except Aborted:
                        return None
                return Request(head, pattern.at, values)
        return None

    def _match_shared(self, block: bytes) -> Request | None:
        """As `match`, of a kind that came before on another connection; from now on it is known here."""
        for pattern in self.shared.latest if self._static else ():
            if match(pattern, block) is not None:
                self._add(pattern)
                return self.match(block)
        return None

    def start_of(self, request: Request) -> bytes:
        """What blocks of requests like *request* begin with: all of it, or up to the first value that differs between them.

        Pseudo-header fields are part of it, and grpc-timeout and content-length where *request* has them. b"" where no
        such start is known.
        """
        for block, known_request in self.known.items():
            if known_request is request:
                return block
        head = request.head
        for pattern in self._patterns:
            if pattern.head is head:
                known = {name for name, _ in head.fields[: pattern.at[0]]}
                timed = head.timeout is None or b"grpc-timeout" in known
                measured = head.content_length is None or b"content-length" in known
                return pattern.parts[0] if timed and measured else b""
        return b""

    def request(self, block: bytes, now: float = 0.0) -> Request:
        """The request of a block.

        Raises:
            ConnectionFault: It cannot be decoded.
            StreamFault: The request is malformed.
        """
        request = self.known.get(block) or self.match(block) or self._match_shared(block)
        if request is not None:
            self.cost = 1
            return request
        static = self._static
        fields = self.decode(block, now)
        if fields is None or list_bytes(fields) > self._limits.max_header_list_bytes:
            return Request(TOO_LARGE)
        head = read_head(fields, check_request(fields), self._routes)
        request = Request(head)
        if static:
            self._learn(block, request)
        return request

    def trailers(self, block: bytes, now: float = 0.0) -> None:
        """Check trailers.

        Raises:
            ConnectionFault: They cannot be decoded.
            StreamFault: They are malformed, or too large.
        """
        fields = self.decode(block, now)
        if fields is None or list_bytes(fields) > self._limits.max_header_list_bytes:
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, "trailers too large")
        check_trailers(fields)

    def decode(self, block: bytes, now: float = 0.0) -> Fields | None:
        """The header list of *block*; None where it is too large, or the client has sent too many that are nearly.

        No encoder makes a block that is longer than its list, and to decode a long one takes a quarter of a microsecond a
        byte: it is not even tried, where no other block depends on it.

        Raises:
            ConnectionFault: COMPRESSION_ERROR; ENHANCE_YOUR_CALM where it would be None but must be decoded, since blocks
                to come depend on it.
        """
        self.cost = 24
        most = self._limits.max_header_list_bytes
        if len(block) > most or (len(block) > _LARGE and not self._large.spend(now, len(block) / _LARGE)):
            if self._static:
                return None
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a field block that is too large, or one too many")
        if _SIZE_UPDATES(block):
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a field block with too many table size updates")
        self.cost += len(block) // 16
        decoder = self._decoder
        try:
            decoded = decoder.decode(block, raw=True)
        except OversizedHeaderListError:
            self.cost += decoder.max_header_list_size // _REFERENCE_BYTES
            if self._static:
                return None
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header list beyond all bounds") from None
        except (HPACKError, IndexError) as error:
            text = f"a field block cannot be decoded ({type(error).__name__})"
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, text) from None
        if not self._static and decoder.max_allowed_table_size == decoder.header_table_size == 0:
            self._begin_static()
        fields = [(bytes(name), bytes(value)) for name, value in decoded]
        self.cost += len(fields)
        return fields

    def _learn(self, block: bytes, request: Request) -> None:
        """Remember a block that came a second time, or how it differs from the one before."""
        last, self._last = self._last or self.shared.block, (block, request.head)
        if len(block) <= _MAX_PATTERN_BYTES:
            self.shared.block = self._last
        if last is None:
            return
        if block == last[0]:
            self._remember(block, request)
        elif len(block) <= _MAX_PATTERN_BYTES and self._may_learn():
            literals = split(block)
            most = self._limits.max_header_list_bytes
            for i, pattern in enumerate(self._patterns):
                wider = common(literals, pattern.literals, request.head, pattern.at, most)
                if wider is not None:
                    self._patterns[i] = wider
                    self.shared.note(wider, pattern)
                    return
            found = common(literals, split(last[0]), request.head, (), most)
            if found is not None:
                self._add(found)
                self.shared.note(found)

    def _add(self, pattern: Pattern) -> None:
        self._patterns.insert(0, pattern)
        del self._patterns[MAX_PATTERNS:]

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
