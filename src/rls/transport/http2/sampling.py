"""Whether the caller of a request may have sampled its trace, told from the end of a field's value, without decoding it.

Envoy sends a trace context with every call, sampled or not, and in a Huffman code, which takes 10 µs to decode: more than
all the rest of a check. Here it takes 0.1 µs to find out that a call is not sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from rls.transport.http2.fields import Fields

_TRACEPARENT: Final = b"traceparent"
_NAMES: Final = (_TRACEPARENT, b"b3", b"x-b3-sampled", b"x-b3-flags")
_NO: Final = frozenset({b"", b"0", b"false", b"False"})
_HEX: Final = b"0123456789abcdef"


def _ends(flags: bytes) -> Iterator[bytes]:
    """The last three bytes of the Huffman codes of all values that end with `-` and *flags*."""
    code = length = 0
    for char in b"-" + flags:
        code = code << REQUEST_CODES_LENGTH[char] | REQUEST_CODES[char]
        length += REQUEST_CODES_LENGTH[char]
    for padding in range(8):  # RFC 7541, section 5.2: it is all ones, and shorter than a byte
        end = code << padding | (1 << padding) - 1
        known = length + padding
        for before in range(1 << 24 - known):
            yield (before << known | end).to_bytes(3, "big")


# Trace Context, section 3.2.2.5: bit 0 says sampled, bit 1 random; all others are 0.
_UNSAMPLED: Final = frozenset((*_ends(b"00"), *_ends(b"02")))
_EVEN: Final = frozenset(_HEX[::2])


def fields_of(fields: Fields) -> Sequence[int]:
    """The indexes in *fields* of those that say whether the trace is sampled: W3C Trace Context and B3."""
    return tuple(at for at, (name, _) in enumerate(fields) if name in _NAMES)


def says_no(name: bytes, value: bytes) -> bool:
    """Whether *value*, of a field that `fields_of` found, says that the trace is not sampled."""
    if name == _TRACEPARENT:
        return len(value) > 1 and value[-1] in _EVEN
    return value in _NO


def literal_says_no(literal: bytes) -> bool:
    """Whether a string literal (RFC 7541, section 5.2) is a `traceparent` that says so; False for all that is not one."""
    if literal[0] & 0x80:
        return literal[-3:] in _UNSAMPLED
    return len(literal) == 56 and literal[-1] in _EVEN  # 55 bytes, after their length
