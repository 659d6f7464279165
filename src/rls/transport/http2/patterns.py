"""Field blocks that differ in the values of a few fields only: what is between these is compared, they are checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from rls.transport.http2.fields import FIELD_BYTES, list_bytes
from rls.transport.http2.huffman import END, START
from rls.transport.http2.literals import Literal
from rls.transport.http2.request import Head

MAX_PATTERNS: Final = 4
"""Of a connection, and of those that a new one begins with."""
# A value of a pattern has a length of two bytes at most, and Huffman's shortest code has 5 bits.
_MAX_VALUE_BYTES: Final = 254 * 8 // 5
_PLAIN = re.compile(rb"(?:[!-~](?:[ -~]*[!-~])?)?").fullmatch

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


class SharedPatterns:
    """What connections of one server found out last, for those that are new.

    When a pod starts, hundreds of sidecars connect at once. To decode two blocks of each takes a third of a millisecond for
    each connection, while the calls of all others wait.

    It is no more than a beginning: what a connection has learned itself, no other can make it forget.

    Attributes:
        latest: Patterns, the last one first.
        block: The last block that was decoded, and what its request says: a connection's first block is compared with it.
    """

    __slots__ = ("block", "latest")

    def __init__(self) -> None:
        self.latest: list[Pattern] = []
        self.block: tuple[bytes, Head] | None = None

    def note(self, found: Pattern, wider_than: Pattern | None = None) -> None:
        """A connection has *found* a pattern, which takes the place of another where it is *wider_than* that."""
        others = [
            one for one in self.latest if one is not wider_than and (one.parts, one.rest) != (found.parts, found.rest)
        ]
        self.latest = [found, *others][:MAX_PATTERNS]


def match(pattern: Pattern, block: bytes) -> list[bytes] | None:
    """The string literals that *block* has where *pattern* has none; None where it is no such block, or not plainly."""
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


def common(
    literals: Sequence[Literal] | None,
    others: Sequence[Literal] | None,
    head: Head,
    at: Sequence[int],
    max_list_bytes: int,
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
    if list_bytes(head.fields) + len(differ) * (FIELD_BYTES + _MAX_VALUE_BYTES) > max_list_bytes:
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
