"""Counters in this process: exact for one process, lost with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice

from rls.core.update import CounterUpdate
from rls.errors import NoRoom
from rls.slices import STEP, Slices
from rls.stores.base import CounterStore, Done, Listed
from rls.stores.counter_table import CounterTable

MOST_LOOKED_AT = 100_000
"""Counters that one list looks at: to copy their keys takes a millisecond."""


class MemoryStore(CounterStore):
    """Counters in a bounded table; safe to use from several threads and loops.

    Args:
        capacity: Counters that it holds. Where more are in use, see `CounterTable` for those that are forgotten, and whose
            next update counts from 0.
        clock: Unix seconds.
    """

    def __init__(self, *, capacity: int = 1_000_000, clock: Callable[[], float] = time.time) -> None:
        self._table = CounterTable[int](capacity)
        self._clock = clock
        self._lock = threading.Lock()
        self._records: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._table)

    @property
    def evicted(self) -> int:
        """Counters that have made room for others so far."""
        return self._table.evicted

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:  # noqa: ARG002 - it never waits
        """Apply *updates* at once; see `CounterStore.submit`.

        Raises:
            NoRoom: The table has no room for some of *updates*.
        """
        table = self._table
        windows = table.windows
        counts: list[int] = []
        full: list[int] = []
        with self._lock:
            now = self._clock()
            if not 0.0 <= now - table.swept_at < 1.0:  # as `sweep`, without a call
                table.sweep(now)
            for update in updates:
                key, amount = update.key, update.amount
                window = windows.get(key)
                if window is not None and key in window.open and amount >= 0:
                    count = window.open[key] + amount
                    if count <= update.keep_above:  # the usual, without a call
                        window.open[key] = count
                        counts.append(count)
                        continue
                counted = self._change(update)
                if counted is None:
                    full.append(len(counts))
                    counted = 0
                counts.append(counted)
        if full:
            self._refuse(counts, full)
        return counts

    def _change(self, update: CounterUpdate) -> int | None:
        """The count after *update*; None where there is no room for the counter."""
        before = self._table.find(update.key)
        count = max(0, (before or 0) + update.amount)
        if before is None and not count:
            return 0
        keep = count > update.keep_above
        has_room = self._table.put(update.rule, update.expires_at, update.key, count, keep=keep)
        return count if has_room else None

    def _refuse(self, counts: Sequence[int], full: Sequence[int]) -> None:
        missing = frozenset(full)
        known = [None if i in missing else count for i, count in enumerate(counts)]
        raise NoRoom(f"memory has no room for more than {self._table.capacity} counters", counts=known)

    async def list_counters(self, prefix: bytes, most: int) -> Listed:
        """See `ListsCounters`. It looks at `MOST_LOOKED_AT` counters, in slices of the loop."""
        with self._lock:
            now, keys = int(self._clock()), list(islice(self._table.windows, MOST_LOOKED_AT))
            is_all = len(keys) == len(self._table.windows)
        counts: dict[bytes, int] = {}
        slices = Slices()
        for number, key in enumerate(keys):
            if number % STEP == 0:
                await slices.next()
            if not key.startswith(prefix):
                continue
            with self._lock:
                window, count = self._table.windows.get(key), self._table.find(key)
            if window is not None and count is not None and window.end > now:
                if len(counts) == most:
                    return Listed(counts, all=False)
                counts[key] = count
        return Listed(counts, all=is_all)

    async def load_record(self, name: bytes) -> bytes | None:
        """See `KeepsRecords`."""
        return self._records.get(name)

    async def replace_record(self, name: bytes, before: bytes | None, after: bytes, seconds: int) -> bool:  # noqa: ARG002
        """See `KeepsRecords`. It is kept until the process ends."""
        if self._records.get(name) != before:
            return False
        self._records[name] = after
        return True

    async def ping(self) -> None:
        """Return; memory can always be reached."""

    async def aclose(self) -> None:
        """Do nothing; the counters go with the process."""
