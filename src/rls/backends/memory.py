"""Counters in this process: exact for one process, lost with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from rls.backends.base import Hit
from rls.backends.windows import Windows


class MemoryBackend:
    """Counters in a bounded mapping; safe to use from several threads and loops.

    Args:
        capacity: Counters at the most. Where more are in use, those whose window ends first are forgotten, and their
            next hit counts from 0.
        clock: Unix seconds.
    """

    def __init__(self, *, capacity: int = 1_000_000, clock: Callable[[], float] = time.time) -> None:
        self._windows = Windows(capacity)
        self._clock = clock
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._windows)

    async def hit(self, hits: Sequence[Hit]) -> Sequence[int]:
        """Apply *hits*; see `CounterBackend.hit`. Never waits, and never fails."""
        windows = self._windows
        groups = windows.groups
        counts = []
        with self._lock:
            now = int(self._clock())
            if now != windows.swept_at:
                windows.sweep(now)
            for key, amount, _, expires_at, _ in hits:
                group = groups.get(expires_at)
                if group is not None and key in group and amount >= 0:
                    count = group[key] = group[key] + amount
                else:
                    before = 0 if group is None else group.get(key, 0)
                    count = max(0, before + amount)
                    if count != before:
                        windows.put(expires_at, key, count)
                counts.append(count)
        return counts

    async def ping(self) -> None:
        """Return; memory can always be reached."""

    async def aclose(self) -> None:
        """Do nothing; the counters go with the process."""
