"""What is known of counters, by key, forgotten with their window."""

from __future__ import annotations

from itertools import islice
from typing import Generic, TypeAlias, TypeVar

from rls.lazy_free import LazyFree

Value = TypeVar("Value")
# With each new counter, and each second: what is forgotten is gone well before as much has come again, without a pause.
_FREE, _FREE_EACH_SECOND = 4, 1_000


class ExpiringMap(Generic[Value]):
    """A bounded mapping from counter key to value, grouped by the second in which the counter's window ends.

    A whole group is forgotten when its window is over. Where there is no room, the oldest entries of the window
    that ends next go: they would be the first to be forgotten anyway.

    Attributes:
        groups: The values by key of each window's end; callers who cannot afford a method call may read them, and change
            the value of a key that is there.
    """

    def __init__(self, capacity: int) -> None:
        self.groups: dict[int, dict[bytes, Value]] = {}
        self._capacity = capacity
        self._size = 0
        self._lazy_free = LazyFree()
        self._swept_at = 0.0

    def put(self, expires_at: int, key: bytes, value: Value) -> None:
        """Remember *value* for the counter *key*, whose window ends at *expires_at*."""
        group = self.groups.get(expires_at)
        if group is None:
            group = self.groups[expires_at] = {}
        if key not in group:
            if self._size >= self._capacity:
                self._make_room()
                group = self.groups.setdefault(expires_at, group)
            self._size += 1
            self._lazy_free.free(_FREE)
        group[key] = value

    def discard(self, expires_at: int, key: bytes) -> None:
        """Forget *key*."""
        if self.groups.get(expires_at, {}).pop(key, None) is not None:
            self._size -= 1

    def sweep(self, now: float) -> None:
        """Drop the windows that ended before or at *now*, in Unix seconds; nothing happens twice in a second."""
        if 0.0 <= now - self._swept_at < 1.0:
            return
        self._swept_at = float(int(now))
        for expires_at in [end for end in self.groups if end <= now]:
            group = self.groups.pop(expires_at)
            self._size -= len(group)
            self._lazy_free.add(group)
        self._lazy_free.free(_FREE_EACH_SECOND)

    def __len__(self) -> int:
        return self._size

    def _make_room(self) -> None:
        soonest = min(end for end, group in self.groups.items() if group)
        group = self.groups[soonest]
        # Several at a time: a dict finds its first entry by passing the places of all that were deleted before it.
        oldest = list(islice(group, max(1, self._capacity >> 8)))
        for key in oldest:
            del group[key]
        self._size -= len(oldest)
        if not group:
            del self.groups[soonest]


Windows: TypeAlias = ExpiringMap[int]
"""Counts by key."""
