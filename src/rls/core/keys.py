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
from functools import lru_cache
from hashlib import sha256

from rls.core.model import Entry, to_bytes

LONGEST_PLAIN_VALUE = 128
_SPECIAL = re.compile(r"[\x00-\x20%|=~#{}\x7f\udc80-\udcff]")
_find_special = _SPECIAL.search
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
    return CounterKeys(key_format, prefix, domain).key(entries, shared, window_seconds)


class CounterKeys:
    """The keys of one domain's counters; what they have in common is put together once."""

    __slots__ = ("_compatible", "_head")

    def __init__(self, key_format: KeyFormat, prefix: str, domain: str) -> None:
        self._compatible = key_format is KeyFormat.COMPAT
        self._head = f"{prefix}{domain}_" if self._compatible else f"{prefix}r1|{_escape(domain)}|"

    @property
    def head(self) -> bytes:
        """What all of them begin with."""
        return to_bytes(self._head)

    def key(self, entries: Sequence[Entry], shared: Sequence[str | None], window_seconds: int) -> bytes:
        """See `counter_key`."""
        text = self._head
        if self._compatible:
            for (key, value), pattern in zip(entries, shared, strict=True):
                text += f"{key}_{value if pattern is None else pattern}_"
            return to_bytes(text)
        for (key, value), pattern in zip(entries, shared, strict=True):
            if pattern is not None:
                text += f"{_escape_key(key)}~{_escape(pattern)}|"
            elif len(value) <= LONGEST_PLAIN_VALUE:
                text += f"{_escape_key(key)}={_escape(value)}|"
            else:
                text += f"{_escape_key(key)}#{sha256(to_bytes(value)).hexdigest()}|"
        return f"{text}{window_seconds}|".encode()

    def around(self, key: bytes, value: str, window_seconds: int) -> tuple[bytes, bytes]:
        """What stands before and after the last *value*, which `is_plain`, in its counter's *key*."""
        after = b"_" if self._compatible else b"|%d|" % window_seconds
        return key[: len(key) - len(after) - len(value.encode())], after


def is_plain(value: str) -> bool:
    """Whether *value* stands in keys as it is."""
    return len(value) <= LONGEST_PLAIN_VALUE and _find_special(value) is None


def _escape(text: str) -> str:
    return text if _find_special(text) is None else text.translate(_ESCAPES)


# Keys come again and again; values need not.
_escape_key = lru_cache(maxsize=4096)(_escape)
