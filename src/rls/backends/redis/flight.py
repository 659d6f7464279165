"""A batch on its way: what its calls wait for, and how they get their counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from rls.backends.base import Hit
from rls.backends.redis.batch import Batch
from rls.errors import BackendError


class Flight:
    """A batch, and the future that all of its calls wait for; None until there is a call.

    Attributes:
        failed: Why its counts could not be had.
        followed: Where the commands went that were refused here and sent again: a flight, and the command in its batch.
        hops: How often commands of it had been refused and sent again before, by command; 0 where there is none.
        due: When its first call has waited long enough, by the loop's clock; 0 where its time begins when it is sent.
    """

    __slots__ = ("batch", "due", "failed", "followed", "hops", "landed")

    def __init__(self) -> None:
        self.batch = Batch()
        self.landed: asyncio.Future[None] | None = None
        self.failed: BackendError | None = None
        self.followed: dict[int, tuple[Flight, int]] = {}
        self.hops: dict[int, int] = {}
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

    def ttls_refused(self) -> Iterator[Hit]:
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
            raise BackendError(f"Redis: {error}") from error
        return flight.batch.bases[command]


async def settle(places: Sequence[tuple[Flight, int, int]]) -> Sequence[int]:
    """The counts at *places*, flight by command and what was added, where some of them failed or went elsewhere.

    Raises:
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
    raise BackendError(str(errors[0]), counts=counts if had else (), in_doubt=in_doubt) from errors[0]
