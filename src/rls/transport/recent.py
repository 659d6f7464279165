"""A bounded memory of what was used lately."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from rls.fading import Fading

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
# With each new one: what is forgotten is gone well before as much has come again.
_FADE = 16


class Recent(Generic[K, V]):
    """Values by key, forgotten in bulk: what was not used while about half of *capacity* was added is dropped.

    Two generations instead of a list of uses: a hit in the young one, which is nearly every hit, is one dict lookup.

    Args:
        capacity: Bound on the sum of the sizes that `put` is told; half as much again may be on its way out.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity // 2
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}
        self._size = 0
        self._fading = Fading()

    def get(self, key: K) -> V | None:
        """The value for *key*, which counts as a use."""
        found = self._young.get(key)
        if found is not None:
            return found[0]
        found = self._old.get(key)
        if found is None:
            return None
        self.put(key, *found)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Remember *value*; nothing is remembered that is larger than half the capacity."""
        self._fading.fade(_FADE)
        if size > self._capacity:
            return
        if self._size + size > self._capacity:
            self._fading.add(self._old)
            self._old, self._young, self._size = self._young, {}, 0
        self._young[key] = (value, size)
        self._size += size

    def clear(self) -> None:
        """Forget everything."""
        self._fading.add(self._young)
        self._fading.add(self._old)
        self._young, self._old, self._size = {}, {}, 0

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
