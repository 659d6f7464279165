"""A memory of counters that are over their limit: for up to a second they are refused without asking the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import cast

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, Done, counts_of, kind_of, origin_of, submit_as_task
from rls.stores.expiring_map import ExpiringMap
from rls.stores.known_counter import KnownCounter, is_over

_SETTLE_SECONDS = 0.8
"""How long amounts that were answered from memory wait before the store gets them. Its answer refreshes the memory
before that is too old: a counter that is asked for all the time keeps no call waiting, and costs two commands then."""
_SETTLED_AT_ONCE = 200
_SWEEP_SECONDS = 1.0


class OverLimitCache(CounterStore):
    """Answers updates of counters that are known to be over the update's own limit; *store* answers the rest.

    The count is kept, not a verdict: an update whose limit is larger, by an override or a reload, is counted at once.
    An update without `cache_over` is always counted at once.
    What others do to a counter (give back, reset, lose it) is seen within `FRESH_SECONDS`.

    Updates that are answered from memory are counted afterwards, all of a counter's at once, if it still is over its limit
    by then. If not, they were refused by what was true up to a second before, and are left out.

    While the store fails, what is known to be over its limit stays refused, however old that knowledge is.

    Args:
        store: Where counters live.
        capacity: The most counters to remember.
        clock: Unix seconds.
        timer: Seconds from anywhere, which never step back.

    Attributes:
        answered: Updates that were answered from memory so far.
    """

    def __init__(
        self,
        store: CounterStore,
        *,
        capacity: int = 100_000,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.answered = 0
        self._store = store
        self._over = ExpiringMap[KnownCounter](capacity)
        self._sweep_at = float("-inf")
        self._clock = clock
        self._timer = timer
        self._unsettled: dict[KnownCounter, None] = {}
        self._next: asyncio.TimerHandle | None = None
        self._settling: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._over)

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        """See `CounterStore.submit`."""
        asked = self._timer()
        if groups := self._over.groups:
            if asked >= self._sweep_at:
                self._sweep_at = asked + _SWEEP_SECONDS
                self._over.sweep(self._clock())
            # Flat: once anybody is over a limit, all checks come through here, and a call costs as much as this.
            for update in updates:
                group = groups.get(update.expires_at)
                counter = None if group is None else group.get(update.key)
                if counter is not None or update.amount < 0:
                    if counter is not None and len(updates) == 1 and counter.refuses(update, asked):
                        self.answered += 1
                        return (self._count_later(counter, update.amount),)
                    return self._submit_known(updates, done, asked)
        counts = self._store.submit(updates, _Learning(self, updates, asked, done))
        return None if counts is None else self._learn(updates, counts, asked)

    def _submit_known(self, updates: Sequence[CounterUpdate], done: Done, asked: float) -> Sequence[int] | None:
        """`submit` where one of *updates* gives back, or is of a counter that is remembered."""
        owing: list[KnownCounter] = []
        known = [self._answer(update, asked, owing) for update in updates]
        self.answered += len(updates) - known.count(None)
        if None not in known:
            return cast("list[int]", known)
        submit_as_task(self._update_rest(updates, known, owing, asked, origin_of(done)), done)
        return None

    def node_of(self, update: CounterUpdate) -> str:
        """See `CounterStore.node_of`."""
        return self._store.node_of(update)

    async def ping(self) -> None:
        """See `CounterStore.ping`."""
        await self._store.ping()

    async def aclose(self) -> None:
        """Let the store have what it has not got yet, and close it."""
        if self._next is not None:
            self._next.cancel()
        if self._settling is not None:
            await asyncio.wait([self._settling])
        await self._settle_all()
        await self._store.aclose()

    async def _update_rest(
        self,
        updates: Sequence[CounterUpdate],
        known: list[int | None],
        owing: list[KnownCounter],
        asked: float,
        origin: object,
    ) -> Sequence[int]:
        """The count after each of *updates*, of which some are *known*; first the store gets what is *owing*."""
        unknown = [update for update, count in zip(updates, known, strict=True) if count is None]
        await self._settle(owing)
        try:
            counts = await self._store.update(unknown, origin)
        except BackendError as error:
            found = zip(unknown, counts_of(error, unknown), strict=True)
            had = iter([self._stale(update, asked, error) if count is None else count for update, count in found])
            merged = [next(had) if count is None else count for count in known]
            raise kind_of([error])(str(error), counts=merged, in_doubt=error.in_doubt) from error
        learnt = iter(self._learn(unknown, counts, asked))
        return [next(learnt) if count is None else count for count in known]

    def _answer(self, update: CounterUpdate, now: float, owing: list[KnownCounter]) -> int | None:
        """The count after *update* where it is known to be over its limit; None where the store has to say.

        *owing* gets the counter where the store must first have what it has not got.
        """
        counter = self._counter(update)
        if counter is None:
            return None
        if update.amount < 0:
            self._over.discard(update.expires_at, update.key)  # now, since others may follow in the same call
        elif counter.refuses(update, now):
            return self._count_later(counter, update.amount)
        if counter.uncounted:
            owing.append(counter)
        return None

    def _stale(self, update: CounterUpdate, now: float, error: BackendError) -> int | None:
        """As `_answer`, where the store was asked and failed: old knowledge is better than none, until it is asked again."""
        counter = self._counter(update)
        if counter is None or update.amount < 0 or not is_over(update, counter.count):
            return None
        counter.at = now
        if error.in_doubt:
            counter.count += update.amount
            return counter.count
        return self._count_later(counter, update.amount)

    def _counter(self, update: CounterUpdate) -> KnownCounter | None:
        group = self._over.groups.get(update.expires_at)
        return None if group is None else group.get(update.key)

    def _learn(self, updates: Sequence[CounterUpdate], counts: Sequence[int], asked: float) -> Sequence[int]:
        """Remember which counters of *updates* are over their limits; forget the others. The store was asked at *asked*."""
        for update, count in zip(updates, counts, strict=True):
            counter = self._counter(update)
            if update.amount < 0:
                self._over.discard(update.expires_at, update.key)
            elif counter is not None:
                if is_over(update, count):
                    counter.update = update
                self._refresh(counter, count, asked)
            elif is_over(update, count):
                self._over.put(update.expires_at, update.key, KnownCounter(update, count, asked))
        return counts

    def _refresh(self, counter: KnownCounter, count: int, asked: float) -> None:
        """The store, asked at *asked*, said *count*."""
        if count > counter.update.limit:
            counter.count, counter.at = count + counter.uncounted, asked
            return
        counter.uncounted = 0
        if self._counter(counter.update) is counter:
            self._over.discard(counter.update.expires_at, counter.update.key)

    def _count_later(self, counter: KnownCounter, amount: int) -> int:
        """Count *amount*, of an update that is refused, with others some time soon; the count after it."""
        if amount:
            counter.count += amount
            counter.uncounted += amount
            self._unsettled[counter] = None
            if self._next is None:
                self._next = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self._begin_settling)
        return counter.count

    def _begin_settling(self) -> None:
        self._next = None
        if self._settling is None or self._settling.done():
            self._settling = asyncio.get_running_loop().create_task(self._settle_all())

    async def _settle_all(self) -> None:
        """Let the store have all that it has not got. Where it fails, that is kept for the next time."""
        unsettled, self._unsettled = iter(self._unsettled), {}
        while some := list(islice(unsettled, _SETTLED_AT_ONCE)):
            if not await self._settle(some):
                self._unsettled |= dict.fromkeys(unsettled)
        if self._unsettled and self._next is None:
            self._next = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self._begin_settling)

    async def _settle(self, counters: Iterable[KnownCounter]) -> bool:
        """Look which of *counters* still are over their limit, and count there what was answered from memory.

        Returns:
            Whether the store did not fail.
        """
        asked, now = self._timer(), int(self._clock())
        owing = [counter for counter in counters if counter.uncounted and counter.update.expires_at > now]
        found, _ = await self._ask([counter.update.with_amount(0) for counter in owing])
        over = []
        for counter, count in zip(owing, found, strict=True):
            if count is None:
                self._unsettled[counter] = None
            else:
                self._refresh(counter, count, asked)
                if counter.uncounted:
                    over.append(counter)
        updates = [counter.update.with_amount(counter.take()) for counter in over]
        counts, in_doubt = await self._ask(updates)
        for counter, update, count in zip(over, updates, counts, strict=True):
            if count is not None:
                self._refresh(counter, count, asked)
            elif not in_doubt:
                counter.uncounted += update.amount
                self._unsettled[counter] = None
        return None not in found and None not in counts

    async def _ask(self, updates: Sequence[CounterUpdate]) -> tuple[Sequence[int | None], bool]:
        """The counts, None for each that could not be had, and whether those updates may have been counted all the same."""
        try:
            return (await self._store.update(updates) if updates else ()), False
        except BackendError as error:
            return counts_of(error, updates), error.in_doubt


class _Learning:
    """What waits for counts, and on the way remembers those that are over their limit."""

    __slots__ = ("_asked", "_cache", "_done", "_updates")

    def __init__(self, cache: OverLimitCache, updates: Sequence[CounterUpdate], asked: float, done: Done) -> None:
        self._cache = cache
        self._updates = updates
        self._asked = asked
        self._done = done

    @property
    def origin(self) -> object:
        """See `StoreBatch`."""
        return origin_of(self._done)

    def counted(self, counts: Sequence[int]) -> None:
        """See `Done`."""
        for update, count in zip(self._updates, counts):  # noqa: B905 - as many, and strict costs half as much
            if count > update.limit and update.cache_over:
                self._cache._learn(self._updates, counts, self._asked)  # noqa: SLF001 - it is a part of the cache
                break
        self._done.counted(counts)

    def failed(self, error: BackendError) -> None:
        """See `Done`."""
        self._done.failed(error)
