"""A memory of counters that are over their limit: until their window ends they cost the backend nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rls.backends.base import CounterBackend, Hit
from rls.backends.windows import Windows
from rls.errors import BackendError


class OverLimitCache:
    """Answers hits on counters that are known to be over the hit's own limit; *backend* answers the rest.

    What is kept is the count, not a verdict: a hit whose limit is larger, by an override or a reload, is counted. Giving
    hits back forgets the counter, as far as this process is concerned; what other processes give back is not seen.

    Args:
        backend: Where counters live.
        capacity: The most counters to remember.
        clock: Unix seconds.

    Attributes:
        answered: Hits that did not reach the backend so far.
    """

    def __init__(
        self, backend: CounterBackend, *, capacity: int = 100_000, clock: Callable[[], float] = time.time
    ) -> None:
        self.answered = 0
        self._backend = backend
        self._over = Windows(capacity)
        self._clock = clock

    async def hit(self, hits: Sequence[Hit]) -> Sequence[int]:
        """Apply *hits*; see `CounterBackend.hit`."""
        groups = self._over.groups
        if groups:
            self._over.sweep(int(self._clock()))
            for key, amount, _, expires_at, *_ in hits:
                if amount < 0 or ((group := groups.get(expires_at)) is not None and key in group):
                    return await self._hit_unknown(hits)
        counts = await self._backend.hit(hits)
        for (_, _, limit, *_), count in zip(hits, counts, strict=True):
            if count > limit:
                return self._learn(hits, counts)
        return counts

    async def ping(self) -> None:
        """See `CounterBackend.ping`."""
        await self._backend.ping()

    async def aclose(self) -> None:
        """See `CounterBackend.aclose`."""
        await self._backend.aclose()

    async def _hit_unknown(self, hits: Sequence[Hit]) -> Sequence[int]:
        """As `hit`, where some of *hits* may be over their limits already, or give back."""
        known = [self._known(hit) for hit in hits]
        unknown = [hit for hit, count in zip(hits, known, strict=True) if count is None]
        self.answered += len(hits) - len(unknown)
        if not unknown:
            return [count for count in known if count is not None]
        try:
            counts = await self._backend.hit(unknown)
        except BackendError as error:
            had = iter(error.counts or (None,) * len(unknown))
            merged = [next(had) if count is None else count for count in known]
            raise BackendError(str(error), counts=merged, in_doubt=error.in_doubt) from error
        asked = iter(self._learn(unknown, counts))
        return [next(asked) if count is None else count for count in known]

    def _known(self, hit: Hit) -> int | None:
        """A count after *hit* that is over its limit without being precise; None where the backend has to say."""
        if hit.amount < 0:
            self._over.discard(hit.expires_at, hit.key)  # now, since hits may follow in the same call
            return None
        group = self._over.groups.get(hit.expires_at)
        count = None if group is None else group.get(hit.key)
        if count is None or count <= hit.limit:
            return None
        return count + hit.amount

    def _learn(self, hits: Sequence[Hit], counts: Sequence[int]) -> Sequence[int]:
        for (key, amount, limit, expires_at, *_), count in zip(hits, counts, strict=True):
            if amount < 0:
                self._over.discard(expires_at, key)
            elif count > limit:
                self._over.put(expires_at, key, count)
        return counts
