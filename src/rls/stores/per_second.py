"""Counters of windows of one second apart from all others: they are many, and short-lived."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, Done, kind_of, origin_of, submit_as_task


class PerSecondStore(CounterStore):
    """Two stores: *per_second* counts windows of one second, *store* all others.

    A call that has updates for both asks both at once.
    """

    def __init__(self, store: CounterStore, per_second: CounterStore) -> None:
        self._store = store
        self._per_second = per_second

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        """See `CounterStore.submit`."""
        short = sum(update.window_seconds == 1 for update in updates)
        if short in (0, len(updates)):
            return (self._per_second if short else self._store).submit(updates, done)
        submit_as_task(self._update_both(updates, origin_of(done)), done)
        return None

    def node_of(self, update: CounterUpdate) -> str:
        """See `CounterStore.node_of`."""
        return (self._per_second if update.window_seconds == 1 else self._store).node_of(update)

    async def ping(self) -> None:
        """See `CounterStore.ping`."""
        (_, failed), (_, failed_too) = await asyncio.gather(
            _outcome(_pinged(self._store), 1), _outcome(_pinged(self._per_second), 1)
        )
        errors = [error for error in (failed, failed_too) if error is not None]
        if errors:
            some_can_count = len(errors) == 1 or any(error.counts for error in errors)
            text = "; ".join(dict.fromkeys(map(str, errors)))
            raise kind_of(errors)(text, counts=(0, None) if some_can_count else ()) from errors[0]

    async def aclose(self) -> None:
        """See `CounterStore.aclose`."""
        await self._store.aclose()
        await self._per_second.aclose()

    async def _update_both(self, updates: Sequence[CounterUpdate], origin: object) -> Sequence[int]:
        short = [update for update in updates if update.window_seconds == 1]
        longer = [update for update in updates if update.window_seconds != 1]
        (of_short, failed), (of_longer, failed_too) = await asyncio.gather(
            _outcome(self._per_second.update(short, origin), len(short)),
            _outcome(self._store.update(longer, origin), len(longer)),
        )
        shorts, longers = iter(of_short), iter(of_longer)
        counts = [next(shorts if update.window_seconds == 1 else longers) for update in updates]
        errors = [error for error in (failed, failed_too) if error is not None]
        if not errors:
            return [count for count in counts if count is not None]
        had = any(count is not None for count in counts)
        in_doubt = any(error.in_doubt for error in errors)
        raise kind_of(errors)(str(errors[0]), counts=counts if had else (), in_doubt=in_doubt) from errors[0]


async def _pinged(store: CounterStore) -> Sequence[int]:
    await store.ping()
    return ()


async def _outcome(
    counting: Awaitable[Sequence[int]], updates: int
) -> tuple[Sequence[int | None], BackendError | None]:
    """The counts, None for each that could not be had, and why."""
    try:
        return await counting, None
    except BackendError as error:
        return error.counts or [None] * updates, error
