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


# Trace Context, section 3.2.2.5: bit 0 says sampled, bit 1 random; all others are 0. No value that ends with 01 or 03 ends
# like one of these, in Huffman code or without.
UNSAMPLED: Final = frozenset((*_ends(b"00"), *_ends(b"02"), b"-00", b"-02"))
"""The last three bytes of the string literals (RFC 7541, section 5.2) of all `traceparent` that are not sampled."""
_EVEN: Final = frozenset(_HEX[::2])
MAYBE: Final = -1


def places(fields: Fields, differ: Sequence[int]) -> Sequence[int]:
    """Where requests say whether their trace is sampled: W3C Trace Context and B3.

    Args:
        fields: The header list that they share.
        differ: The indexes in it of the fields whose values differ.

    Returns:
        Indexes in *differ*; with MAYBE where a field that does not differ does not say no.
    """
    found = []
    for at, (name, value) in enumerate(fields):
        if name in _NAMES:
            if at in differ:
                found.append(differ.index(at))
            elif not _says_no(name, value):
                return (MAYBE,)
    return tuple(found)


def _says_no(name: bytes, value: bytes) -> bool:
    if name == _TRACEPARENT:
        return value[-1:] != b"" and value[-1] in _EVEN
    return value in _NO
