"""The port between the limiter and its counters."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from rls.errors import BackendError, CounterRefused, TimedOut


class CounterUpdate(NamedTuple):
    """One change of one counter.

    Attributes:
        key: Name of the counter, its window's start included; so a counter lives for one window.
        amount: Hits to add; 0 only reads, a negative amount gives hits back.
        limit: Count above which the hit is over its limit. Backends may use it to skip counting what is over anyway.
        expires_at: Unix second in which the window ends; the counter may be forgotten from then on.
        window_seconds: Length of the window.
        rule: Identity of the rule that the counter belongs to. A bounded store shares its room out by rule.
        keep_above: Count above which the counter is near or over its limit, so that a bounded store must not forget it.
    """

    key: bytes
    amount: int
    limit: int
    expires_at: int
    window_seconds: int
    rule: str = ""
    keep_above: int = sys.maxsize


class CounterStore(Protocol):
    """Counters, shared by all who use the same backend.

    A counter that was never hit is 0. Counters are independent: nothing is promised about several hits of one call but
    their order where they name the same counter.
    """

    async def hit(self, hits: Sequence[CounterUpdate]) -> Sequence[int]:
        """Apply *hits* and return the count after each, in their order, as if they were applied one by one.

        Each hit is atomic, also against other processes: of n hits of 1 on a new counter, exactly one returns each of
        1 … n. A negative amount takes the counter to 0 at the least. A counter over its `limit` may be counted
        imprecisely, but stays over. A counter is gone at the latest some minutes after `expires_at`.

        Raises:
            CounterRefused: The store refuses some of the counters, and no others.
            NoRoom: A bounded store has no room for a counter that is new; see `BackendError` for its counts.
            BackendError: Counts could not be had in time; its `counts` holds those that could. Where it is `in_doubt`, the
                other hits may have been counted all the same; else they surely were not.
        """

    async def ping(self) -> None:
        """Do what calls do, a write on a counter of our own, wherever counters are; return when it has succeeded everywhere.

        Raises:
            BackendError: It has not; the text says why. Its `counts` are not empty where some counters can be changed.
        """

    async def aclose(self) -> None:
        """Release connections and memory; safe to call twice. No call may follow but this one."""


class Waiting(Protocol):
    """What waits for the counts of a `submit`. Exactly one of its methods is called, once; neither may raise."""

    def counted(self, counts: Sequence[int]) -> None:
        """The count after each hit, in their order."""

    def failed(self, error: BackendError) -> None:
        """See `CounterStore.hit`."""


@runtime_checkable
class Submitting(Protocol):
    """A backend that counts without a task for each call."""

    def submit(self, hits: Sequence[CounterUpdate], waiting: Waiting) -> Sequence[int] | None:
        """As `CounterStore.hit`, without waiting.

        Returns:
            The counts where they are known at once; *waiting* hears nothing then. None where it will.

        Raises:
            BackendError: It is known at once that there will be no counts; *waiting* hears nothing then.
        """


Submit: TypeAlias = Callable[[Sequence[CounterUpdate], Waiting], Sequence[int] | None]
"""See `Submitting.submit`."""


def submit_to(backend: CounterStore) -> Submit:
    """What submits to *backend*: its own method, or else a task for each call. Not to be asked for every call."""
    if isinstance(backend, Submitting):
        return backend.submit

    def submit(hits: Sequence[CounterUpdate], waiting: Waiting) -> None:
        submit_as_task(backend.hit(hits), waiting)

    return submit


def submit_as_task(counting: Coroutine[Any, Any, Sequence[int]], waiting: Waiting) -> None:
    """Let *counting*, a `CounterStore.hit`, run as a task that tells *waiting*."""
    task = asyncio.get_running_loop().create_task(_tell(counting, waiting))
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


# A loop does not keep tasks alive.
_TASKS: set[asyncio.Task[None]] = set()


async def _tell(counting: Coroutine[Any, Any, Sequence[int]], waiting: Waiting) -> None:
    try:
        counts = await counting
    except BackendError as error:
        waiting.failed(error)
    else:
        waiting.counted(counts)


def counts_of(error: BackendError, hits: Sequence[CounterUpdate]) -> Sequence[int | None]:
    """The count after each of *hits* that could be had in spite of *error*; None for the others."""
    return error.counts or (None,) * len(hits)


def kind_of(errors: Sequence[BackendError]) -> type[BackendError]:
    """What *errors* come to: CounterRefused or TimedOut only where all of them are."""
    for kind in (CounterRefused, TimedOut):
        if errors and all(isinstance(error, kind) for error in errors):
            return kind
    return BackendError


def keep_above(limit: int, near_limit: int) -> int:
    """`CounterUpdate.keep_above`: a count above this is near its *limit*, or uses it up. What refuses everything needs no count."""
    return min(near_limit, limit - 1) if limit else sys.maxsize
