"""Counters of windows of one second apart from all others: they are many, and short-lived."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from rls.errors import BackendError
from rls.stores.base import CounterStore, CounterUpdate, Waiting, kind_of, submit_as_task, submit_to


class PerSecondStore:
    """Two backends: *per_second* counts windows of one second, *backend* all others.

    A call that has hits for both asks both at once.
    """

    def __init__(self, backend: CounterStore, per_second: CounterStore) -> None:
        self._backend = backend
        self._per_second = per_second
        self._submit, self._submit_short = submit_to(backend), submit_to(per_second)

    async def hit(self, hits: Sequence[CounterUpdate]) -> Sequence[int]:
        """Apply *hits*; see `CounterStore.hit`."""
        short = [hit for hit in hits if hit.window_seconds == 1]
        if not short:
            return await self._backend.hit(hits)
        if len(short) == len(hits):
            return await self._per_second.hit(hits)
        longer = [hit for hit in hits if hit.window_seconds != 1]
        (of_short, failed), (of_longer, failed_too) = await asyncio.gather(
            _outcome(self._per_second.hit(short), len(short)), _outcome(self._backend.hit(longer), len(longer))
        )
        shorts, longers = iter(of_short), iter(of_longer)
        counts = [next(shorts if hit.window_seconds == 1 else longers) for hit in hits]
        errors = [error for error in (failed, failed_too) if error is not None]
        if not errors:
            return [count for count in counts if count is not None]
        had = any(count is not None for count in counts)
        in_doubt = any(error.in_doubt for error in errors)
        raise kind_of(errors)(str(errors[0]), counts=counts if had else (), in_doubt=in_doubt) from errors[0]

    def submit(self, hits: Sequence[CounterUpdate], waiting: Waiting) -> Sequence[int] | None:
        """See `Submitting.submit`."""
        short = sum(hit.window_seconds == 1 for hit in hits)
        if short in (0, len(hits)):
            return (self._submit_short if short else self._submit)(hits, waiting)
        submit_as_task(self.hit(hits), waiting)
        return None

    async def ping(self) -> None:
        """See `CounterStore.ping`."""
        (_, failed), (_, failed_too) = await asyncio.gather(
            _outcome(_pinged(self._backend), 1), _outcome(_pinged(self._per_second), 1)
        )
        errors = [error for error in (failed, failed_too) if error is not None]
        if errors:
            some_can_count = len(errors) == 1 or any(error.counts for error in errors)
            text = "; ".join(dict.fromkeys(map(str, errors)))
            raise kind_of(errors)(text, counts=(0, None) if some_can_count else ()) from errors[0]

    async def aclose(self) -> None:
        """See `CounterStore.aclose`."""
        await self._backend.aclose()
        await self._per_second.aclose()


async def _pinged(backend: CounterStore) -> Sequence[int]:
    await backend.ping()
    return ()


async def _outcome(counting: Awaitable[Sequence[int]], hits: int) -> tuple[Sequence[int | None], BackendError | None]:
    """The counts, None for each that could not be had, and why."""
    try:
        return await counting, None
    except BackendError as error:
        return error.counts or [None] * hits, error
