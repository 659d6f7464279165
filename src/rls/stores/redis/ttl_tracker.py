"""How long counters live, and which of a node's counters are known to have their TTL."""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Mapping

from rls.core.update import CounterUpdate
from rls.stores.expiring_map import Windows
from rls.stores.redis.endpoint import NodeOptions


class TtlTracker:
    """A bounded memory of the counters whose TTL this process has set."""

    def __init__(self, options: NodeOptions) -> None:
        self._options = options
        self._with_ttl = Windows(options.known_counters)
        self._last_forgotten = 0

    def __len__(self) -> int:
        return len(self._with_ttl)

    @property
    def with_ttl(self) -> Mapping[int, Container[bytes]]:
        """Keys of the counters that are known to have their TTL, by the second in which their window ends."""
        return self._with_ttl.groups

    @property
    def last_end(self) -> int:
        """When the last window ends of all counters that were ever tracked, in Unix seconds; 0 where there were none."""
        return max(self._last_forgotten, max(self._with_ttl.groups, default=0))

    def seconds_to_live(self, update: CounterUpdate) -> int:
        """The TTL to set now: until the end of the window of *update*, and a little longer."""
        longest = max(1, min(self._options.jitter_seconds, update.window_seconds))
        jitter = random.randint(1, longest)  # noqa: S311 - only to spread
        return max(1, update.expires_at - int(self._options.clock())) + jitter

    def remember(self, updates: Iterable[CounterUpdate]) -> None:
        """The counters of *updates* have their TTL."""
        for update in updates:
            self._with_ttl.put(update.expires_at, update.key, 1)

    def sweep(self) -> None:
        """Drop windows that have ended."""
        self._with_ttl.sweep(self._options.clock())

    def forget(self) -> None:
        """Forget all counters: the node may have lost them, and their TTLs with them."""
        self._last_forgotten = self.last_end
        self._with_ttl = Windows(self._options.known_counters)
