"""RateLimitRequests in the form in which Envoy sends nearly all: read by hand, at a quarter of what protobuf's objects cost.

Plain is a domain, descriptors whose entries have a key and then a value, and an addend, in the order of their field numbers.
Whatever is not plain gives None, and is for protobuf (`decode.py`). A test holds both to the same result. Field numbers are
those of rls.proto and ratelimit.proto.
"""

from __future__ import annotations

from typing import NamedTuple

from rls.core.model import UINT32_MAX, Descriptor, Entry

_new = tuple.__new__


class PlainRequest(NamedTuple):
    """A request, of which only the outermost fields are read.

    Attributes:
        domain: The domain.
        head: The bytes of the message up to its descriptors.
        descriptors: The bytes of each RateLimitDescriptor.
        hits_addend: The request's addend, 0 where it has none.
    """

    domain: str
    head: bytes
    descriptors: list[bytes]
    hits_addend: int


def split(message: bytes) -> PlainRequest | None:
    """Take *message* apart; None where it is not plain."""
    size = len(message)
    try:
        if message[0] != 0x0A:
            return None
        position, length = 2, message[1]
        if length > 0x7F:
            length, position = length & 0x7F | message[2] << 7, 3
            if message[2] > 0x7F:
                return None
        end = position + length
        domain = message[position:end].decode("utf-8", "surrogateescape")
        head = message[:end]
        descriptors = []
        addend = 0
        while end < size:
            tag = message[end]
            if tag != 0x12:
                addend = _last_varint(message, end, tag)
                break
            position, length = end + 2, message[end + 1]
            if length > 0x7F:
                length, position = length & 0x7F | message[position] << 7, position + 1
                if message[position - 1] > 0x7F:
                    return None
            end = position + length
            descriptors.append(message[position:end])
    except IndexError:  # it ends within a field
        return None
    if end > size or addend < 0 or not domain or not descriptors:
        return None
    return _new(PlainRequest, (domain, head, descriptors, addend))


def read_descriptor(sent: bytes) -> Descriptor | None:
    """The RateLimitDescriptor that was *sent*; None where it is not plain."""
    size = len(sent)
    entries = []
    end = 0
    try:
        while end < size:
            # 0x0a, length, 0x0a, length of the key, key, 0x12, length of the value, value; all lengths below 128.
            tag, length, key_tag, key_length = sent[end : end + 4]
            key_begins = end + 4
            key_ends = key_begins + key_length
            end += 2 + length
            value_begins = key_ends + 2
            if (
                tag != 0x0A
                or key_tag != 0x0A
                or length > 0x7F
                or sent[key_ends] != 0x12
                or value_begins + sent[key_ends + 1] != end
            ):
                return None
            key = sent[key_begins:key_ends].decode("utf-8", "surrogateescape")
            value = sent[value_begins:end].decode("utf-8", "surrogateescape")
            entries.append(_new(Entry, (key, value)))
    except (IndexError, ValueError):  # it ends within a field
        return None
    return _new(Descriptor, (tuple(entries), None, None, False)) if end == size else None


def last_value(sent: bytes) -> int:
    """Where the last value in a descriptor begins, if it was *sent* plain. What stands before says how long it is.

    Two that were sent, of the same length and with the same bytes before it, are both plain or neither is.
    """
    size = len(sent)
    entry = end = 0
    try:
        while end < size:
            entry, end = end, end + 2 + sent[end + 1]
        return entry + 6 + sent[entry + 3]
    except IndexError:
        return size


def _last_varint(message: bytes, position: int, tag: int) -> int:
    """RateLimitRequest.hits_addend, which must be all that is left; -1 where it is not."""
    left = message[position + 1 :]
    if tag != 0x18 or not 1 <= len(left) <= 5 or left[-1] > 0x7F or any(byte < 0x80 for byte in left[:-1]):
        return -1
    value = 0
    for i, byte in enumerate(left):
        value |= (byte & 0x7F) << 7 * i
    return value if value <= UINT32_MAX else -1
