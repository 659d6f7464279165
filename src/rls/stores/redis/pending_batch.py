"""A batch on its way: which calls wait for it, and how they get their counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from rls.core.update import CounterUpdate
from rls.errors import BackendError, CounterRefused
from rls.stores.base import Done, StoreBatch, kind_of, origin_of, submit_as_task
from rls.stores.redis.batch import Batch
from rls.stores.redis.error_reply import is_of_counter
from rls.stores.redis.error_texts import cause

_WOKEN_AT_ONCE = 64


class PendingBatch:
    """A batch, and the calls that wait for it.

    Attributes:
        address: Of its node, for messages.
        is_scheduled: Whether it is to be sent: there is a call, or a counter that needs its TTL.
        is_answered: Whether its replies are parsed.
        failed: Why there are no counts; None while there may be.
        redirects: Where commands went that were refused here and sent again: another batch, and the command in it.
        redirects_followed: By command, how often it had been sent again before; no entry stands for 0.
        waiting: Calls whose updates are all in this batch, each with its tickets.
        on_done: Called when it is answered, or has failed.
        deadline: When its first call has waited long enough, by the loop's clock; 0 if its time begins when it is sent.
    """

    __slots__ = (
        "address",
        "batch",
        "deadline",
        "failed",
        "is_answered",
        "is_scheduled",
        "on_done",
        "redirects",
        "redirects_followed",
        "waiting",
    )

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.batch = Batch()
        self.is_scheduled = False
        self.is_answered = False
        self.failed: BackendError | None = None
        self.redirects: dict[int, tuple[PendingBatch, int]] = {}
        self.redirects_followed: dict[int, int] = {}
        self.waiting: list[tuple[Sequence[tuple[int, int]], Done]] = []
        self.on_done: list[Callable[[], None]] = []
        self.deadline = 0.0

    def fail(self, error: BackendError) -> None:
        """Fail its calls with *error*, unless they have failed before."""
        if self.is_scheduled and self.failed is None:
            self.failed = error
            waiting, self.waiting = self.waiting, []
            for _, call in waiting:
                call.failed(error)
            self._done()

    def wake(self) -> None:
        """Its replies are parsed: give its calls their counts, some in each turn of the loop."""
        self.is_answered = True
        waiting = self.waiting
        later = waiting[_WOKEN_AT_ONCE:]
        self.waiting = later
        offsets = self.batch.offsets
        no_errors = not self.batch.errors
        for tickets, call in waiting[:_WOKEN_AT_ONCE] if later else waiting:
            if no_errors:
                counts = []
                for command, added in tickets:
                    counts.append(offsets[command] + added)
                call.counted(counts)
            else:
                submit_as_task(gather_counts([(self, command, added) for command, added in tickets]), call)
        if later:
            asyncio.get_running_loop().call_soon(self.wake)
        if self.on_done:
            self._done()

    def report(self, began: float, seconds: float, error: str) -> StoreBatch:
        """What it is to observers, before its calls get their counts."""
        counted = list(self.batch.counted())
        waiting = (getattr(callback, "__self__", None) for callback in self.on_done)
        calls = [call for _, call in self.waiting] + [one.call for one in waiting if isinstance(one, Gathering)]
        return StoreBatch(
            self.address,
            began,
            seconds,
            [update for update, _ in counted],
            [count for _, count in counted],
            [origin_of(call) for call in calls],
            error,
        )

    def _done(self) -> None:
        callbacks, self.on_done = self.on_done, []
        for callback in callbacks:
            callback()

    def ttls_refused(self) -> Iterator[CounterUpdate]:
        """Updates whose counters an EXPIRE was to give a TTL, and did not; without those that were sent again."""
        batch = self.batch
        return (batch.update(n) for n in batch.errors if batch.is_expire(n) and n not in self.redirects)

    async def wait(self) -> None:
        """Return when it is answered, or has failed."""
        if not self.is_answered and self.failed is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.on_done.append(partial(_wake, waiter))
            await waiter

    async def offset(self, command: int) -> int:
        """What to add to an update's `added` to get its count, wherever its *command* was sent.

        Raises:
            BackendError: Redis refused the command, or its batch failed.
        """
        pending, command = await self._executed(command)
        error = pending.batch.errors.get(command)
        if error is not None:
            update = pending.batch.update(command)
            if not is_of_counter(error, update.amount):
                raise BackendError(cause(pending.address, error)) from error
            rule, key = update.rule.replace("|", " ", 1), update.key.decode(errors="surrogateescape")
            raise CounterRefused(f"{cause(pending.address, error)}; the rule is {rule}, the key is {key}") from error
        return pending.batch.offsets[command]

    async def reply(self, command: int) -> Any:
        """The reply to a *command* that is not an update, wherever it was sent.

        Raises:
            BackendError: Redis refused the command, or its batch failed.
        """
        pending, command = await self._executed(command)
        error = pending.batch.errors.get(command)
        if error is not None:
            raise BackendError(cause(pending.address, error)) from error
        return pending.batch.replies[command]

    async def _executed(self, command: int) -> tuple[PendingBatch, int]:
        """The batch in which *command* was executed or refused in the end, and its number there.

        Raises:
            BackendError: That batch failed, or there is no time left to wait for it.
        """
        pending = self
        while command in pending.redirects:
            pending, command = pending.redirects[command]
            try:
                async with asyncio.timeout_at(self.deadline):
                    await pending.wait()
            except TimeoutError:
                text = "Redis: no answer in time from the node that has the counter now"
                raise BackendError(text, in_doubt=True) from None
        if pending.failed is not None:
            raise pending.failed.with_traceback(None)
        return pending, command


class Gathering:
    """A call whose updates went to several batches.

    Args:
        tickets: For each update its batch, its command there, and what was added to it.
        call: What waits for the counts.
    """

    __slots__ = ("_batches_left", "_tickets", "call")

    def __init__(self, tickets: Sequence[tuple[PendingBatch, int, int]], call: Done) -> None:
        self._tickets = tickets
        self.call = call
        batches = {id(pending): pending for pending, _, _ in tickets if pending.failed is None}
        self._batches_left = len(batches)
        for pending in batches.values():
            pending.on_done.append(self._batch_done)
        if not batches:
            self._finish()

    def _batch_done(self) -> None:
        self._batches_left -= 1
        if not self._batches_left:
            self._finish()

    def _finish(self) -> None:
        counts = []
        for pending, command, added in self._tickets:
            if pending.failed is not None or pending.batch.errors:
                submit_as_task(gather_counts(self._tickets), self.call)
                return
            counts.append(pending.batch.offsets[command] + added)
        self.call.counted(counts)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():  # it may have been cancelled
        waiter.set_result(None)


async def gather_counts(tickets: Sequence[tuple[PendingBatch, int, int]]) -> Sequence[int]:
    """The counts of *tickets* (batch, command, added) where some failed or were redirected.

    Raises:
        CounterRefused: Redis refuses some of the counters, and no others.
        BackendError: There are no counts for some of them.
    """
    counts: list[int | None] = []
    errors: list[BackendError] = []
    for pending, command, added in tickets:
        try:
            counts.append(await pending.offset(command) + added)
        except BackendError as failed:
            counts.append(None)
            errors.append(failed)
    if not errors:
        return [count for count in counts if count is not None]
    some = len(errors) < len(counts)
    in_doubt = any(error.in_doubt for error in errors)
    raise kind_of(errors)(str(errors[0]), counts=counts if some else (), in_doubt=in_doubt) from errors[0]
