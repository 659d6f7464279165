"""Is a Huffman-coded string (RFC 7541, section 5.2) sound, and a plain field value? Faster than to decode it.

Plain is visible ASCII, with spaces inside: what `blocks` takes without a closer look.

A table of tables: the row of a state holds, for every byte, the row that follows. What is not plain leads to a row that
leads nowhere else. So one loop over the bytes decides, at about 25 ns a byte; to decode them takes ten times as long.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

Row: TypeAlias = list[Any]
"""256 rows, and whether a string may end here."""

END: Final = 256
_FIRST, _VISIBLE, _SPACE = range(3)
# What came before, and the bits of a code that has begun: how many, and which.
_State: TypeAlias = tuple[int, int, int]


def _start() -> Row:
    """The row that a string starts in."""
    codes = {(REQUEST_CODES_LENGTH[symbol], REQUEST_CODES[symbol]): symbol for symbol in range(0x20, 0x7F)}
    begun = {(0, 0)} | {(have, code >> (length - have)) for length, code in codes for have in range(1, length)}

    def after(state: _State | None, nibble: int) -> _State | None:
        for shift in (3, 2, 1, 0):
            if state is None:
                return None
            before, length, bits = state
            code = (length + 1, bits << 1 | (nibble >> shift & 1))
            if code not in codes:
                state = (before, *code) if code in begun else None
            elif codes[code] != ord(" "):
                state = (_VISIBLE, 0, 0)
            else:
                state = None if before == _FIRST else (_SPACE, 0, 0)
        return state

    halves: dict[_State | None, list[_State | None]] = {
        (before, *code): [after((before, *code), nibble) for nibble in range(16)]
        for before in (_FIRST, _VISIBLE, _SPACE)
        for code in begun
    }
    halves[None] = [None] * 16
    rows: dict[_State | None, Row] = {state: [] for state in halves}
    for state, row in rows.items():
        row += [rows[end] for half in halves[state] for end in halves[half]]
        row.append(state is not None and _may_end(*state))
    return rows[(_FIRST, 0, 0)]


def _may_end(before: int, length: int, bits: int) -> bool:
    """The padding is the beginning of EOS, which is all ones, and shorter than a byte."""
    return before != _SPACE and length < 8 and bits == (1 << length) - 1


START: Final = _start()
