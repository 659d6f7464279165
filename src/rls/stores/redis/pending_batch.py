"""A batch on its way: what its calls wait for, and how they get their counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from rls.core.update import CounterUpdate
from rls.errors import BackendError, CounterRefused
from rls.stores.base import Done, kind_of, submit_as_task
from rls.stores.redis.batch import Batch
from rls.stores.redis.error_reply import is_of_counter
from rls.stores.redis.error_texts import cause

_WOKEN_AT_ONCE = 64


class PendingBatch:
    """A batch, and the future that all of its calls wait for; None until there is a call.

    Attributes:
        address: Of its node, for messages.
        failed: Why its counts could not be had.
        followed: Where the commands went that were refused here and sent again: a flight, and the command in its batch.
        hops: How often commands of it had been refused and sent again before, by command; 0 where there is none.
        waiting: Calls without a task, each with the commands of its hits and what was added to them.
        gatherings: Calls without a task that wait for other flights, too.
        due: When its first call has waited long enough, by the loop's clock; 0 where its time begins when it is sent.
    """

    __slots__ = ("address", "batch", "due", "failed", "followed", "gatherings", "hops", "landed", "waiting")

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.batch = Batch()
        self.landed: asyncio.Future[None] | None = None
        self.failed: BackendError | None = None
        self.followed: dict[int, tuple[PendingBatch, int]] = {}
        self.hops: dict[int, int] = {}
        self.waiting: list[tuple[Sequence[tuple[int, int]], Done]] = []
        self.gatherings: list[Gathering] = []
        self.due = 0.0

    def uncancelled(self) -> asyncio.Future[None]:
        """Its future, anew where a call took it along when it was cancelled."""
        landed = self.landed
        assert landed is not None
        if landed.cancelled():
            landed = self.landed = landed.get_loop().create_future()
        return landed

    def fail(self, error: BackendError) -> None:
        """Let its calls know that their counts could not be had; nothing where they know already."""
        if self.landed is not None and self.failed is None:
            self.failed = error
            landed = self.uncancelled()
            landed.set_exception(error)
            landed.exception()  # a call that was cancelled meanwhile does not look at it
            waiting, self.waiting = self.waiting, []
            for _, call in waiting:
                call.failed(error)
            self._tell_gatherings()

    def wake(self) -> None:
        """It has landed, without a failure: give the calls without a task their counts, some in each turn of the loop."""
        waiting = self.waiting
        later = waiting[_WOKEN_AT_ONCE:]
        self.waiting = later
        bases = self.batch.bases
        well = not self.batch.errors
        for places, call in waiting[:_WOKEN_AT_ONCE] if later else waiting:
            if well:
                counts = []
                for command, added in places:
                    counts.append(bases[command] + added)
                call.counted(counts)
            else:
                submit_as_task(settle([(self, command, added) for command, added in places]), call)
        if later:
            asyncio.get_running_loop().call_soon(self.wake)
        self._tell_gatherings()

    def _tell_gatherings(self) -> None:
        gatherings, self.gatherings = self.gatherings, []
        for gathering in gatherings:
            gathering.landed()

    def ttls_refused(self) -> Iterator[CounterUpdate]:
        """Hits whose counters were to get a TTL for its own sake, and did not; without those that were sent again."""
        batch = self.batch
        return (batch.hit(n) for n in batch.errors if batch.is_expire(n) and n not in self.followed)

    async def wait_on(self) -> None:
        """Wait on where another call of the batch was cancelled: that cancelled the future that all of them wait for."""
        while True:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise asyncio.CancelledError
            with contextlib.suppress(asyncio.CancelledError):
                return await self.uncancelled()

    async def base(self, command: int) -> int:
        """What is added to a hit's `added` to get the count after it, wherever its *command* went.

        Raises:
            BackendError: It was refused, or its flight failed.
        """
        flight = self
        while command in flight.followed:
            flight, command = flight.followed[command]
            if flight.failed is None:
                try:
                    async with asyncio.timeout_at(self.due):
                        await flight.wait_on()
                except TimeoutError:
                    text = "Redis: no answer in time from the node that has the counter now"
                    raise BackendError(text, in_doubt=True) from None
        if flight.failed is not None:
            raise flight.failed.with_traceback(None)
        error = flight.batch.errors.get(command)
        if error is not None:
            hit = flight.batch.hit(command)
            if not is_of_counter(error, hit.amount):
                raise BackendError(cause(flight.address, error)) from error
            key = hit.key.decode(errors="surrogateescape")
            raise CounterRefused(f"{cause(flight.address, error)}; the key is {key}") from error
        return flight.batch.bases[command]


class Gathering:
    """A call without a task whose hits went to several flights.

    Args:
        places: Of each hit its flight, its command there, and what was added to it.
        call: What waits for the counts.
    """

    __slots__ = ("_call", "_left", "_places")

    def __init__(self, places: Sequence[tuple[PendingBatch, int, int]], call: Done) -> None:
        self._places = places
        self._call = call
        flights = {id(flight): flight for flight, _, _ in places if flight.failed is None}
        self._left = len(flights)
        for flight in flights.values():
            flight.gatherings.append(self)
        if not flights:
            self._finish()

    def landed(self) -> None:
        """One of the flights has landed, or failed."""
        self._left -= 1
        if not self._left:
            self._finish()

    def _finish(self) -> None:
        counts = []
        for flight, command, added in self._places:
            if flight.failed is not None or flight.batch.errors:
                submit_as_task(settle(self._places), self._call)
                return
            counts.append(flight.batch.bases[command] + added)
        self._call.counted(counts)


async def settle(places: Sequence[tuple[PendingBatch, int, int]]) -> Sequence[int]:
    """The counts at *places*, flight by command and what was added, where some of them failed or went elsewhere.

    Raises:
        CounterRefused: Redis refuses some of the counters, and those only.
        BackendError: Some could not be had.
    """
    counts: list[int | None] = []
    errors: list[BackendError] = []
    for flight, command, added in places:
        try:
            counts.append(await flight.base(command) + added)
        except BackendError as failed:
            counts.append(None)
            errors.append(failed)
    if not errors:
        return [count for count in counts if count is not None]
    had = len(errors) < len(counts)
    in_doubt = any(error.in_doubt for error in errors)
    raise kind_of(errors)(str(errors[0]), counts=counts if had else (), in_doubt=in_doubt) from errors[0]
