"""How long counters live, and which of a node's counters are known to have their TTL."""

from __future__ import annotations

import random
from collections.abc import Container, Mapping, Sequence

from rls.backends.base import Hit
from rls.backends.redis.endpoint import NodeOptions
from rls.backends.windows import Windows


class Lifetimes:
    """A bounded memory of what this process gave a TTL."""

    def __init__(self, options: NodeOptions) -> None:
        self._options = options
        self._with_ttl = Windows(options.known_counters)

    def __len__(self) -> int:
        return len(self._with_ttl)

    @property
    def with_ttl(self) -> Mapping[int, Container[bytes]]:
        """The counters that are known to have their TTL, by the second in which their window ends."""
        return self._with_ttl.groups

    def seconds_to_live(self, hit: Hit) -> int:
        """From now, a little longer than the window of *hit*."""
        longest = max(1, min(self._options.jitter_seconds, hit.window_seconds))
        jitter = random.randint(1, longest)  # noqa: S311 - only to spread
        return max(1, hit.expires_at - int(self._options.clock())) + jitter

    def learn(self, hits: Sequence[Hit]) -> None:
        """The counters of *hits* have their TTL."""
        for hit in hits:
            self._with_ttl.put(hit.expires_at, hit.key, 1)

    def sweep(self) -> None:
        """Forget windows that are over."""
        self._with_ttl.sweep(int(self._options.clock()))

    def forget(self) -> None:
        """Nothing is known any more: the counters may be gone, and with them their TTLs."""
        self._with_ttl = Windows(self._options.known_counters)
