"""Is a Huffman-coded string (RFC 7541, section 5.2) sound, and of visible ASCII only? Faster than to decode it.

A table of tables: the row of a state holds, for every byte, the row that follows. What is not plain leads to a row that
leads nowhere else. So one loop over the bytes decides, at about 25 ns a byte; to decode them takes ten times as long.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

Row: TypeAlias = list[Any]
"""256 rows, and whether a string may end here."""

END: Final = 256
_State: TypeAlias = tuple[int, int]
_EMPTY: _State = (0, 0)


def _start() -> Row:
    """The row that a string starts in."""
    codes = {(REQUEST_CODES_LENGTH[symbol], REQUEST_CODES[symbol]) for symbol in range(0x21, 0x7F)}
    # Bits of a code that has begun: how many, and which.
    states = {_EMPTY} | {(have, code >> (length - have)) for length, code in codes for have in range(1, length)}

    def after(state: _State | None, nibble: int) -> _State | None:
        for shift in (3, 2, 1, 0):
            if state is not None:
                state = (state[0] + 1, state[1] << 1 | (nibble >> shift & 1))
                state = _EMPTY if state in codes else state if state in states else None
        return state

    halves: dict[_State | None, list[_State | None]] = {
        state: [after(state, nibble) for nibble in range(16)] for state in states
    }
    halves[None] = [None] * 16
    rows: dict[_State | None, Row] = {state: [] for state in halves}
    for state, row in rows.items():
        row += [rows[end] for half in halves[state] for end in halves[half]]
        # The padding is the beginning of EOS, which is all ones, and shorter than a byte.
        row.append(state is not None and state[0] < 8 and state[1] == (1 << state[0]) - 1)
    return rows[_EMPTY]


START: Final = _start()
