"""The port between the engine and its counters."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from rls.core.update import CounterUpdate
from rls.errors import BackendError, CounterRefused, TimedOut


class StoreBatch(NamedTuple):
    """What a store sent at once, for whoever observes it.

    Attributes:
        node: Where to: the address of a node.
        began: When it was sent, in Unix seconds.
        seconds: Until its replies came, or until it failed.
        updates: The updates that it carried. Equal counters are one update, with the sum of their amounts.
        counts: The count after each of *updates*; None for one that is not known.
        origins: Whom the updates were for, as observers know them: the `RequestContext` of each call that waits. None for a
            call of the store's own.
        error: Why it failed; "" where it did not.
    """

    node: str
    began: float
    seconds: float
    updates: Sequence[CounterUpdate]
    counts: Sequence[int | None]
    origins: Sequence[object]
    error: str = ""


OnBatch: TypeAlias = Callable[[StoreBatch], None]
"""Hears of each batch, in the loop's thread. It must neither block nor raise."""


class Done(Protocol):
    """What a `CounterStore.submit` tells when it is done. Neither method may raise.

    It may have an `origin`: see `StoreBatch.origins`.
    """

    def counted(self, counts: Sequence[int]) -> None:
        """The count after each update, in their order."""

    def failed(self, error: BackendError) -> None:
        """See `CounterStore.submit`."""


class CounterStore(ABC):
    """Counters, shared by all who use the same store.

    A counter that was never updated is 0. Counters are independent: of several updates of one call nothing is promised but
    their order where they name the same counter. The methods are called in the thread of one event loop.

    A store implements `submit`, `ping` and `aclose`. One that has coroutines of its own passes them to `submit_as_task`.
    To read, to reset and to give hits back needs no more: see `rls.engine.counters`. What only some stores can do is for
    protocols of their own: `ListsCounters`, `KeepsRecords`.
    `schemes.StoreFactory` says how a server finds a store from elsewhere.
    """

    @abstractmethod
    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        """Start to apply *updates*, as if one by one in their order; never wait.

        Each update is atomic, also against other processes: of n updates by 1 of a new counter, exactly one gets each of
        1 … n. A negative amount takes the counter to 0 at the least. A counter over its `limit` may be counted imprecisely,
        but stays over. A counter is gone some minutes after `expires_at` at the latest.

        Returns:
            The count after each update where they are known at once; *done* hears nothing then. Otherwise None, and
            exactly one method of *done* is called, once: `counted`, or `failed` with one of the errors below.

        Raises:
            CounterRefused: The store refuses some of the counters, and no others.
            NoRoom: A bounded store has no room for a counter that is new; see `BackendError` for its counts.
            BackendError: Counts could not be had in time; its `counts` holds those that could. Where it is `in_doubt`, the
                other updates may have been applied all the same; else they surely were not.
        """

    async def update(self, updates: Sequence[CounterUpdate], origin: object = None) -> Sequence[int]:
        """Apply *updates* and wait for the count after each; see `submit`, which this calls.

        An update whose caller is cancelled may be applied all the same. *origin* is for observers; see `StoreBatch`.
        """
        done = Awaited(origin)
        counts = self.submit(updates, done)
        return await done.counts if counts is None else counts

    def node_of(self, update: CounterUpdate) -> str:  # noqa: ARG002 - the store of one process has no nodes
        """Where the counter of *update* is: the address of a node; "" where there are none, or while it is not known."""
        return ""

    @abstractmethod
    async def ping(self) -> None:
        """Do what updates do, a write to a counter of our own, wherever counters are; return when all have succeeded.

        Raises:
            BackendError: One has not; the text says why. Its `counts` are not empty where some counters can be updated.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Release connections and memory; safe to call twice. No call may follow but this one."""


class Listed(NamedTuple):
    """Counters that were found.

    Attributes:
        counts: By key, in no order.
        all: Whether there are no more.
    """

    counts: Mapping[bytes, int]
    all: bool


@runtime_checkable
class ListsCounters(Protocol):
    """A store that knows which counters it has."""

    async def list_counters(self, prefix: bytes, most: int) -> Listed:
        """Counters whose keys begin with *prefix*, *most* of them, at a bounded cost.

        A counter that is made or goes meanwhile may be listed or not.

        Raises:
            BackendError: The store did not say; the text has the reason, such as a right that is missing.
        """


@runtime_checkable
class KeepsRecords(Protocol):
    """A store that keeps a few small records of ours beside its counters, for all who use the same store."""

    async def load_record(self, name: bytes) -> bytes | None:
        """The record *name*; None without one.

        Raises:
            BackendError: The store did not say.
        """

    async def replace_record(self, name: bytes, before: bytes | None, after: bytes, seconds: int) -> bool:
        """Put *after* in the place of *before*, which may be None for no record; it is kept for *seconds* at least.

        Atomic, also against other processes.

        Returns:
            Whether the record was *before*; else nothing has changed.

        Raises:
            BackendError: Nobody knows whether it has changed.
        """


def origin_of(done: Done) -> object:
    """See `StoreBatch.origins`; None where *done* is of the store's own."""
    return getattr(done, "origin", None)


class Awaited:
    """A `Done` that a coroutine waits for, by `counts`. The coroutine may have been cancelled meanwhile."""

    __slots__ = ("counts", "origin")

    def __init__(self, origin: object) -> None:
        self.origin = origin
        self.counts: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()

    def counted(self, counts: Sequence[int]) -> None:
        """See `Done`."""
        if not self.counts.done():
            self.counts.set_result(counts)

    def failed(self, error: BackendError) -> None:
        """See `Done`."""
        if not self.counts.done():
            self.counts.set_exception(error)


def submit_as_task(counting: Coroutine[Any, Any, Sequence[int]], done: Done) -> None:
    """Run *counting*, which applies updates and returns the counts, as a task that tells *done*.

    For stores that have coroutines, and for the ways of a call that are not the usual one. An error of *counting* that is
    no BackendError is a bug: it fails this call, not others.
    """
    task = asyncio.get_running_loop().create_task(_tell(counting, done))
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


# A loop does not keep tasks alive.
_TASKS: set[asyncio.Task[None]] = set()


async def _tell(counting: Coroutine[Any, Any, Sequence[int]], done: Done) -> None:
    try:
        counts = await counting
    except BackendError as error:
        done.failed(error)
    except Exception as bug:  # noqa: BLE001 - a call that hears nothing waits for ever
        failed = BackendError(f"internal error in the store (please report): {bug!r}", in_doubt=True)
        failed.__cause__ = bug
        done.failed(failed)
    else:
        done.counted(counts)


def counts_of(error: BackendError, updates: Sequence[CounterUpdate]) -> Sequence[int | None]:
    """The counts that came with *error*, one for each of *updates*; None where an update has none."""
    return error.counts or (None,) * len(updates)


def kind_of(errors: Sequence[BackendError]) -> type[BackendError]:
    """What *errors* come to: CounterRefused or TimedOut only where all of them are."""
    for kind in (CounterRefused, TimedOut):
        if errors and all(isinstance(error, kind) for error in errors):
            return kind
    return BackendError
