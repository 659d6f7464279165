"""A store from elsewhere behind a guard: whatever it does wrong is a `BackendError`, which policies decide."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, Done, origin_of

_LOG = logging.getLogger(__name__)


class GuardedStore(CounterStore):
    """*store*, which messages call *name*."""

    def __init__(self, store: CounterStore, name: str) -> None:
        self._store = store
        self._name = name

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        """See `CounterStore.submit`."""
        try:
            counts = self._store.submit(updates, _Checked(self, updates, done))
        except BackendError:
            raise
        except Exception as error:
            raise self._failed(repr(error)) from error
        if counts is not None and len(counts) != len(updates):
            raise self._failed(f"{len(counts)} counts for {len(updates)} updates")
        return counts

    def node_of(self, update: CounterUpdate) -> str:
        """See `CounterStore.node_of`."""
        return self._store.node_of(update)

    async def ping(self) -> None:
        """See `CounterStore.ping`."""
        try:
            await self._store.ping()
        except (BackendError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise self._failed(repr(error)) from error

    async def aclose(self) -> None:
        """See `CounterStore.aclose`."""
        try:
            await self._store.aclose()
        except Exception:  # noqa: BLE001 - it is over anyway
            _LOG.exception("%s cannot be closed", self._name)

    def _failed(self, what: str) -> BackendError:
        return BackendError(f"{self._name} failed: {what}", in_doubt=True)


class _Checked:
    """What waits for counts, and gets an error where they are not as many as the updates."""

    __slots__ = ("_done", "_store", "_updates")

    def __init__(self, store: GuardedStore, updates: Sequence[CounterUpdate], done: Done) -> None:
        self._store = store
        self._updates = updates
        self._done = done

    @property
    def origin(self) -> object:
        """See `StoreBatch`."""
        return origin_of(self._done)

    def counted(self, counts: Sequence[int]) -> None:
        """See `Done`."""
        if len(counts) == len(self._updates):
            self._done.counted(counts)
        else:
            what = f"{len(counts)} counts for {len(self._updates)} updates"
            self._done.failed(self._store._failed(what))  # noqa: SLF001 - it is a part of the store

    def failed(self, error: BackendError) -> None:
        """See `Done`."""
        self._done.failed(error)
