"""Splits a field block (RFC 7541, section 6) into its fields without decoding them."""

from __future__ import annotations

from typing import NamedTuple


class Literal(NamedTuple):
    """One field of a block.

    Attributes:
        start: Its representation up to the value.
        value: Length and string of the value; empty where the field is indexed.
    """

    start: bytes
    value: bytes


def split(block: bytes) -> list[Literal] | None:
    """The fields of *block*, which has been decoded without error; None where it has a size update or long integers."""
    fields = []
    at = 0
    size = len(block)
    while at < size:
        begin = at
        first = block[at]
        if first & 0xE0 == 0x20:
            return None
        prefix = 0x7F if first & 0x80 else 0x3F if first & 0x40 else 0x0F
        index, at = _integer(block, at, prefix)
        if not first & 0x80:
            if not index:
                length, at = _integer(block, at, 0x7F)
                at += length
            begin_value = at
            length, at = _integer(block, at, 0x7F)
            at += length
        else:
            begin_value = at
        if at > size:
            return None
        fields.append(Literal(block[begin:begin_value], block[begin_value:at]))
    return fields


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """An integer (section 5.1) of at most two bytes, and where it ends; what is longer ends beyond the block."""
    if at >= len(block):
        return 0, len(block) + 1
    value = block[at] & prefix
    if value < prefix:
        return value, at + 1
    if at + 1 < len(block) and block[at + 1] < 0x80:
        return value + block[at + 1], at + 2
    return 0, len(block) + 1
