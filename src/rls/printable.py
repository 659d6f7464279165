"""Text from elsewhere → text that is safe to show: in a terminal, a log, JSON, a header.

Keys, values, file names and errors are chosen by others: by clients, by whoever writes the rules, by servers. Shown raw,
they could move the cursor, hide or reverse what stands beside them, begin a line of their own, or give a command to a CI.

Text is escaped where it leaves the program and nowhere before, so that nothing is forgotten and nothing is escaped twice.
"""

from __future__ import annotations

import json
import re
from typing import Any

_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# GitHub's runner obeys `##[add-mask]…` anywhere in a line, Azure's `##vso[…]`.
_COMMAND = re.compile(r"#(?=#\w*\[)")


def printable(text: str) -> str:
    r"""*text* as one line that shows every character, from which *text* can be restored.

    Letters of all scripts, digits, signs and the space stay. The rest is escaped: `\n`, `\r`, `\t`; `\xHH` for other
    control characters of ASCII, and for each byte that is no UTF-8, which Python keeps as U+DC80 to U+DCFF (PEP 383);
    `\uHHHH` or `\UHHHHHHHH` for what else is invisible, turns the direction of text or is no character; `\\` for a
    backslash. `##[` becomes `\x23#[`, since a CI takes it for a command.
    """
    if text.isprintable() and "\\" not in text and "##" not in text:
        return text
    return _COMMAND.sub(
        r"\\x23", "".join([char if char.isprintable() and char != "\\" else _escaped(char) for char in text])
    )


def printable_line(text: str) -> str:
    """*text* as `printable` has it, as a line of its own: one that begins with `::` gives GitHub's runner a command."""
    shown = printable(text)
    bare = shown.lstrip(" ")
    return f"{shown[: -len(bare)]}\\x3a{bare[1:]}" if bare.startswith("::") else shown


def printable_again(text: str) -> str:
    """*text* of which parts are `printable` already, as the admin API has them, as a line of its own: they are not escaped twice."""
    first, *others = text.split("\\")
    return "\\".join([printable_line(first), *map(printable, others)])


def json_line(value: Any, *, indent: int | None = None) -> str:
    """*value* as JSON in ASCII: its texts are escaped as JSON has it, DEL and `##[` too, which JSON need not escape.

    Texts must be whole characters: a half of a pair is no JSON. What may hold one is to be made `printable` first.
    """
    return _COMMAND.sub(r"\\u0023", json.dumps(value, indent=indent).replace("\x7f", "\\u007f"))


def percent_encoded(text: str) -> str:
    """*text* fit for a header's value: printable ASCII, with all other bytes as `%XX`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"%{byte:02X}" for byte in _bytes(text))


def _escaped(char: str) -> str:
    if short := _SHORT.get(char):
        return short
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _bytes(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half of a pair that stands for no byte
        return text.encode(errors="surrogatepass")
