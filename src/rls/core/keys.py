"""Counter keys: the names of counters in a backend. A wire format: every version of `rls` in a mesh must agree on it.

A key is `<prefix>r1|<domain>|<key>=<value>|…|<window seconds>|<window start>`, so it says what it counts. It is
injective: `%`, `|`, `=`, `~`, `{`, `}`, control characters and bytes that are not UTF-8 are percent-escaped, a counter
shared by all values of a wildcard is written `key~pattern`, and a value longer than 128 characters is written
`key#sha256`. No hash tag can appear,
neither ours nor one chosen by a client, so counters spread evenly over a cluster's slots.

The compatible format is that of envoyproxy/ratelimit, so that both can share one Redis during a migration. It is
ambiguous (keys and values run into each other, and the window's length is not in it); use it no longer than needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256

from rls.core.model import Entry, to_bytes

LONGEST_PLAIN_VALUE = 128
_SPECIAL = re.compile(r"[\x00-\x20%|=~#{}\x7f\udc80-\udcff]")
_ESCAPES = {code: f"%{code:02X}" for code in (*range(0x21), *map(ord, "%|=~#{}"), 0x7F)}
# PEP 383: U+DCxx stands for the byte xx.
_ESCAPES |= {0xDC00 + byte: f"%{byte:02X}" for byte in range(0x80, 0x100)}


class KeyFormat(StrEnum):
    """How counters are named."""

    V1 = "v1"
    COMPAT = "compat"


def counter_key(
    key_format: KeyFormat,
    prefix: str,
    domain: str,
    entries: Sequence[Entry],
    shared: Sequence[str | None],
    window_seconds: int,
) -> bytes:
    """The key of a counter without its window's start, which is appended in decimal digits."""
    if key_format is KeyFormat.COMPAT:
        pairs = "".join(
            f"{entry.key}_{entry.value if pattern is None else pattern}_"
            for entry, pattern in zip(entries, shared, strict=True)
        )
        return to_bytes(f"{prefix}{domain}_{pairs}")
    pairs = ""
    for (key, value), pattern in zip(entries, shared, strict=True):
        pairs += _pair(key, value) if pattern is None else f"{_escape(key)}~{_escape(pattern)}|"
    return f"{prefix}r1|{_escape(domain)}|{pairs}{window_seconds}|".encode()


def _pair(key: str, value: str) -> str:
    if len(value) > LONGEST_PLAIN_VALUE:
        return f"{_escape(key)}#{sha256(to_bytes(value)).hexdigest()}|"
    return f"{_escape(key)}={_escape(value)}|"


def _escape(text: str) -> str:
    return text if _SPECIAL.search(text) is None else text.translate(_ESCAPES)
