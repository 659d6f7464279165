"""A bounded memory of what was used lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from rls.lazy_free import LazyFree

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
# With each new one: after `clear`, what was forgotten is gone well before as much has come again.
_FREE = 16
# So that nothing takes long where nearly all was used.
_MOST_CHANCES = 16


class ClockCache(Generic[K, V]):
    """Values by key; where there is no room, what was added first goes, but what was used since gets a second chance.

    Known as CLOCK: a use is one lookup and a mark, where the order of last uses would have to be kept with each.

    Args:
        capacity: Bound on the sum of the sizes that `put` is told.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[K, _Kept[V]] = OrderedDict()
        self._size = 0
        self._lazy_free = LazyFree()

    def get(self, key: K) -> V | None:
        """The value for *key*, which counts as a use."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        kept.used = True
        return kept.value

    def put(self, key: K, value: V, size: int) -> None:
        """Remember *value* for the new *key*; nothing is remembered that is larger than half the capacity."""
        self._lazy_free.free(_FREE)
        if size > self._capacity // 2:
            return
        replaced = self._kept.pop(key, None)
        if replaced is not None:
            self._size -= replaced.size
        while self._size + size > self._capacity:
            self._forget_one()
        self._kept[key] = _Kept(value, size)
        self._size += size

    def clear(self) -> None:
        """Forget everything."""
        self._lazy_free.add(self._kept)
        self._kept, self._size = OrderedDict(), 0

    def _forget_one(self) -> None:
        kept = self._kept
        for _ in range(_MOST_CHANCES):
            first = next(iter(kept))
            if not kept[first].used:
                break
            kept[first].used = False
            kept.move_to_end(first)
        self._size -= kept.popitem(last=False)[1].size

    def __len__(self) -> int:
        return len(self._kept)


class _Kept(Generic[V]):
    __slots__ = ("size", "used", "value")

    def __init__(self, value: V, size: int) -> None:
        self.value = value
        self.size = size
        self.used = False
