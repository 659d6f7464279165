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
_BEGINNING = 32


def bounded(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """*entries*, the same object where they are few and short; else cut, with digests in place of what is long."""
    if len(entries) <= MOST_ENTRIES:
        for key, value in entries:
            if len(value) > LONGEST_PLAIN_VALUE or len(key) > LONGEST_PLAIN_VALUE:
                break
        else:
            return entries
    kept = [Entry(_shortened(key), _shortened(value)) for key, value in entries[:MOST_ENTRIES]]
    more = len(entries) - MOST_ENTRIES
    return (*kept, Entry("…", f"{more} more")) if more > 0 else tuple(kept)


def shown(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """*entries* for JSON."""
    return [{"key": printable(key), "value": printable(value)} for key, value in entries]


def as_text(shown_entries: Sequence[dict[str, str]]) -> list[str]:
    """Each of `shown` as `key=value`, as people write it in a filter."""
    return [f"{entry['key']}={entry['value']}" for entry in shown_entries]


def _shortened(text: str) -> str:
    """*text*, or its beginning and the digest of all of it, which is in the key of its counter, too."""
    if len(text) <= LONGEST_PLAIN_VALUE:
        return text
    return f"{text[:_BEGINNING]}…#{sha256(to_bytes(text)).hexdigest()}"
