"""The entries of descriptors as they are kept and shown: bounded and printable.

Values that are to be hidden are digests by now: plans hold no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from rls.core.keys import LONGEST_PLAIN_VALUE
from rls.core.model import Entry, to_bytes
from rls.printable import printable

MOST_ENTRIES = 8
"""Entries of a descriptor that are kept."""
_DIGEST_AND_MORE = 96
"""Characters that a digest and its marks take at most."""


def bounded(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """*entries*, the same object where they are few and short; else cut, with digests in place of what is long."""
    if len(entries) <= MOST_ENTRIES:
        for key, value in entries:
            if len(value) > LONGEST_PLAIN_VALUE or len(key) > LONGEST_PLAIN_VALUE:
                break
        else:
            return entries
    kept = [Entry(shortened(key), shortened(value)) for key, value in entries[:MOST_ENTRIES]]
    more = len(entries) - MOST_ENTRIES
    return (*kept, Entry("…", f"{more} more")) if more > 0 else tuple(kept)


def shown(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """*entries* for JSON."""
    return [{"key": printable(key), "value": printable(value)} for key, value in entries]


def as_text(shown_entries: Sequence[dict[str, str]]) -> list[str]:
    """Each of `shown` as `key=value`, as people write it in a filter."""
    return [f"{entry['key']}={entry['value']}" for entry in shown_entries]


def entries_text(shown_entries: Sequence[dict[str, str]]) -> str:
    """What `shown` returned, for people, as `key=value,key=value`."""
    return ",".join(as_text(shown_entries))


def shortened(text: str, longest: int = LONGEST_PLAIN_VALUE) -> str:
    """*text*, in *longest* characters at most; of a longer one the beginning and the SHA-256, as in the key of its counter."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - _DIGEST_AND_MORE]}…#{sha256(to_bytes(text)).hexdigest()}"
