"""Large mappings, freed without a pause."""

from __future__ import annotations

from typing import Any


class LazyFree:
    """Mappings that nobody reads any more, emptied a few entries at a time.

    To drop a mapping of a hundred thousand entries at once takes longer than a call may wait.
    """

    __slots__ = ("_mappings",)

    def __init__(self) -> None:
        self._mappings: list[dict[Any, Any]] = []

    def add(self, mapping: dict[Any, Any]) -> None:
        """Take *mapping* over: it will be emptied."""
        if mapping:
            self._mappings.append(mapping)

    def free(self, entries: int) -> None:
        """Free some *entries*."""
        mappings = self._mappings
        while mappings and entries > 0:
            last = mappings[-1]
            for _ in range(min(entries, len(last))):
                last.popitem()
                entries -= 1
            if not last:
                mappings.pop()

    def __len__(self) -> int:
        return sum(map(len, self._mappings))
