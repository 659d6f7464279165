"""A memory of counters that are over their limit: for up to a second they are refused without asking the backend."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import cast

from rls.errors import BackendError
from rls.stores.base import CounterStore, CounterUpdate, Waiting, counts_of, kind_of, submit_as_task, submit_to
from rls.stores.expiring_map import ExpiringMap

FRESH_SECONDS = 1.0
"""What is remembered is used for no longer than this without asking the backend."""
_SETTLE_SECONDS = 0.8
"""How long hits wait that were answered from memory, before the backend gets them. What it answers refreshes the memory
before that is too old: a counter that is asked for all the time keeps no call waiting, and costs two commands then."""
_SETTLED_AT_ONCE = 200


class OverLimitCache:
    """Answers hits on counters that are known to be over the hit's own limit; *backend* answers the rest.

    What is kept is the count, not a verdict: a hit whose limit is larger, by an override or a reload, is counted at once.
    What others do to a counter (give back, reset, lose it) is seen within `FRESH_SECONDS`.

    Hits that are answered from memory are counted afterwards, all of a counter's at once, if it still is over its limit by
    then; so it ends where it would without this memory. If it is not over any more, they were refused by what was true up
    to a second before, and are left out.

    While the backend fails, what is known to be over its limit stays refused, however old that knowledge is.

    Args:
        backend: Where counters live.
        capacity: The most counters to remember.
        clock: Unix seconds.
        timer: Seconds from anywhere, which never step back.

    Attributes:
        answered: Hits that were answered from memory so far.
    """

    def __init__(
        self,
        backend: CounterStore,
        *,
        capacity: int = 100_000,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.answered = 0
        self._backend = backend
        self._submit = submit_to(backend)
        self._over = ExpiringMap[_Counter](capacity)
        self._clock = clock
        self._timer = timer
        self._unsettled: dict[_Counter, None] = {}
        self._next: asyncio.TimerHandle | None = None
        self._settling: asyncio.Task[None] | None = None

    async def hit(self, hits: Sequence[CounterUpdate]) -> Sequence[int]:
        """Apply *hits*; see `CounterStore.hit`."""
        asked = self._timer()
        if self._over.groups and self._concerns(hits):
            known, owing = self._known(hits, asked)
            return cast("list[int]", known) if None not in known else await self._hit_rest(hits, known, owing, asked)
        counts = await self._backend.hit(hits)
        for (_, _, limit, *_), count in zip(hits, counts, strict=True):
            if count > limit:
                return self._learn(hits, counts, asked)
        return counts

    def submit(self, hits: Sequence[CounterUpdate], waiting: Waiting) -> Sequence[int] | None:
        """See `Submitting.submit`."""
        asked = self._timer()
        if self._over.groups and self._concerns(hits):
            known, owing = self._known(hits, asked)
            if None not in known:
                return cast("list[int]", known)
            submit_as_task(self._hit_rest(hits, known, owing, asked), waiting)
            return None
        learning = _Learning(self, hits, asked, waiting)
        counts = self._submit(hits, learning)
        return None if counts is None else self._learn(hits, counts, asked)

    def _concerns(self, hits: Sequence[CounterUpdate]) -> bool:
        """Whether one of *hits* gives back, or is on a counter that is remembered."""
        groups = self._over.groups
        self._over.sweep(int(self._clock()))
        for key, amount, _, expires_at, *_ in hits:
            if amount < 0 or ((group := groups.get(expires_at)) is not None and key in group):
                return True
        return False

    async def ping(self) -> None:
        """See `CounterStore.ping`."""
        await self._backend.ping()

    async def aclose(self) -> None:
        """Let the backend have what it has not got yet, and close it."""
        if self._next is not None:
            self._next.cancel()
        if self._settling is not None:
            await asyncio.wait([self._settling])
        await self._settle_all()
        await self._backend.aclose()

    def _known(self, hits: Sequence[CounterUpdate], asked: float) -> tuple[list[int | None], list[_Counter]]:
        """What `_answer` says of each of *hits*, and what is owed to the backend before it can say more."""
        owing: list[_Counter] = []
        known = [self._answer(hit, asked, owing) for hit in hits]
        self.answered += len(hits) - known.count(None)
        return known, owing

    async def _hit_rest(
        self, hits: Sequence[CounterUpdate], known: list[int | None], owing: list[_Counter], asked: float
    ) -> Sequence[int]:
        """The count after each of *hits*, of which some are *known*."""
        unknown = [hit for hit, count in zip(hits, known, strict=True) if count is None]
        if owing:
            await self._settle(owing)
        try:
            counts = await self._backend.hit(unknown)
        except BackendError as error:
            found = zip(unknown, counts_of(error, unknown), strict=True)
            had = iter([self._stale(hit, asked, error) if count is None else count for hit, count in found])
            merged = [next(had) if count is None else count for count in known]
            raise kind_of([error])(str(error), counts=merged, in_doubt=error.in_doubt) from error
        learnt = iter(self._learn(unknown, counts, asked))
        return [next(learnt) if count is None else count for count in known]

    def _answer(self, hit: CounterUpdate, now: float, owing: list[_Counter]) -> int | None:
        """The count after *hit* where it is known to be over its limit; None where the backend has to say.

        *owing* gets the counter where the backend must first have what it has not got.
        """
        key, amount, limit, expires_at, *_ = hit
        group = self._over.groups.get(expires_at)
        counter = None if group is None else group.get(key)
        if counter is None:
            return None
        if amount < 0:
            self._over.discard(expires_at, key)  # now, since hits may follow in the same call
        elif counter.count > limit and now - counter.at <= FRESH_SECONDS:
            return self._count_later(counter, amount)
        if counter.uncounted:
            owing.append(counter)
        return None

    def _stale(self, hit: CounterUpdate, now: float, error: BackendError) -> int | None:
        """As `_answer`, where the backend was asked and failed: old knowledge is better than none, until it is asked again."""
        counter = self._counter(hit)
        if counter is None or hit.amount < 0 or counter.count <= hit.limit:
            return None
        counter.at = now
        if error.in_doubt:
            counter.count += hit.amount
            return counter.count
        return self._count_later(counter, hit.amount)

    def _counter(self, hit: CounterUpdate) -> _Counter | None:
        group = self._over.groups.get(hit.expires_at)
        return None if group is None else group.get(hit.key)

    def _learn(self, hits: Sequence[CounterUpdate], counts: Sequence[int], asked: float) -> Sequence[int]:
        """Remember which counters of *hits* are over their limits; forget the others. The backend was asked at *asked*."""
        for hit, count in zip(hits, counts, strict=True):
            counter = self._counter(hit)
            if hit.amount < 0:
                self._over.discard(hit.expires_at, hit.key)
            elif counter is not None:
                if count > hit.limit:
                    counter.hit = hit
                self._refresh(counter, count, asked)
            elif count > hit.limit:
                self._over.put(hit.expires_at, hit.key, _Counter(hit, count, asked))
        return counts

    def _refresh(self, counter: _Counter, count: int, asked: float) -> None:
        """The backend, asked at *asked*, said *count*."""
        if count > counter.hit.limit:
            counter.count, counter.at = count + counter.uncounted, asked
            return
        counter.uncounted = 0
        if self._counter(counter.hit) is counter:
            self._over.discard(counter.hit.expires_at, counter.hit.key)

    def _count_later(self, counter: _Counter, amount: int) -> int:
        """Count *amount*, of a hit that is refused, with others some time soon; the count after it."""
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
        """Let the backend have all that it has not got. Where it fails, that is kept for the next time."""
        unsettled, self._unsettled = iter(self._unsettled), {}
        while some := list(islice(unsettled, _SETTLED_AT_ONCE)):
            if not await self._settle(some):
                self._unsettled |= dict.fromkeys(unsettled)
        if self._unsettled and self._next is None:
            self._next = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self._begin_settling)

    async def _settle(self, counters: Iterable[_Counter]) -> bool:
        """Look which of *counters* still are over their limit, and count there what was answered from memory.

        Returns:
            Whether the backend did not fail.
        """
        asked, now = self._timer(), int(self._clock())
        owing = [counter for counter in counters if counter.uncounted and counter.hit.expires_at > now]
        found, _ = await self._ask([counter.hit._replace(amount=0) for counter in owing])
        over = []
        for counter, count in zip(owing, found, strict=True):
            if count is None:
                self._unsettled[counter] = None
            else:
                self._refresh(counter, count, asked)
                if counter.uncounted:
                    over.append(counter)
        hits = [counter.hit._replace(amount=counter.take()) for counter in over]
        counts, in_doubt = await self._ask(hits)
        for counter, hit, count in zip(over, hits, counts, strict=True):
            if count is not None:
                self._refresh(counter, count, asked)
            elif not in_doubt:
                counter.uncounted += hit.amount
                self._unsettled[counter] = None
        return None not in found and None not in counts

    async def _ask(self, hits: Sequence[CounterUpdate]) -> tuple[Sequence[int | None], bool]:
        """The counts, None for each that could not be had, and whether those hits may have been counted all the same."""
        try:
            return (await self._backend.hit(hits) if hits else ()), False
        except BackendError as error:
            return counts_of(error, hits), error.in_doubt


class _Learning:
    """What waits for counts, and on the way remembers those that are over their limit."""

    __slots__ = ("_asked", "_cache", "_hits", "_waiting")

    def __init__(self, cache: OverLimitCache, hits: Sequence[CounterUpdate], asked: float, waiting: Waiting) -> None:
        self._cache = cache
        self._hits = hits
        self._asked = asked
        self._waiting = waiting

    def counted(self, counts: Sequence[int]) -> None:
        """See `Waiting`."""
        for (_, _, limit, *_), count in zip(self._hits, counts):  # noqa: B905 - as many, and strict costs half as much
            if count > limit:
                self._cache._learn(self._hits, counts, self._asked)  # noqa: SLF001 - it is a part of the cache
                break
        self._waiting.counted(counts)

    def failed(self, error: BackendError) -> None:
        """See `Waiting`."""
        self._waiting.failed(error)


class _Counter:
    """One that is over its limit.

    Attributes:
        hit: The last one that the backend found over its limit.
        count: Where it stands, with what is *uncounted*.
        at: When the backend was asked for that.
        uncounted: Hits that were answered from memory, and that the backend has not got.
    """

    __slots__ = ("at", "count", "hit", "uncounted")

    def __init__(self, hit: CounterUpdate, count: int, at: float) -> None:
        self.hit = hit
        self.count = count
        self.at = at
        self.uncounted = 0

    def take(self) -> int:
        """What is uncounted, which the backend is about to get."""
        taken, self.uncounted = self.uncounted, 0
        return taken
