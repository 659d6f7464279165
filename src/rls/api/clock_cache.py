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

    Attributes:
        kept: What is remembered by key. Callers who cannot afford a call of `get` may read it, and mark what they use.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.kept: OrderedDict[K, Kept[V]] = OrderedDict()
        self._size = 0
        self._lazy_free = LazyFree()

    def get(self, key: K) -> V | None:
        """The value for *key*, which counts as a use."""
        kept = self.kept.get(key)
        if kept is None:
            return None
        kept.used = True
        return kept.value

    def put(self, key: K, value: V, size: int) -> None:
        """Remember *value* for the new *key*; nothing is remembered that is larger than half the capacity."""
        self._lazy_free.free(_FREE)
        if size > self._capacity // 2:
            return
        kept = self.kept
        if key in kept:
            self._size -= kept.pop(key).size
        self._size += size
        while self._size > self._capacity:
            self._forget_one()
        kept[key] = Kept(value, size)

    def clear(self) -> None:
        """Forget everything."""
        self._lazy_free.add(self.kept)
        self.kept, self._size = OrderedDict(), 0

    def _forget_one(self) -> None:
        kept = self.kept
        for _ in range(_MOST_CHANCES):
            first = next(iter(kept))
            if not kept[first].used:
                break
            kept[first].used = False
            kept.move_to_end(first)
        self._size -= kept.popitem(last=False)[1].size

    def __len__(self) -> int:
        return len(self.kept)


class Kept(Generic[V]):
    """A value, its size, and whether it was used since it was last looked at."""

    __slots__ = ("size", "used", "value")

    def __init__(self, value: V, size: int) -> None:
        self.value = value
        self.size = size
        self.used = False
