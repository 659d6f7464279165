"""Refunds of over-limit requests: their hits on the limits that they did not exceed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from rls.core.algorithms import algorithm_of, by_check
from rls.core.check import Status
from rls.core.model import Code
from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, counts_of


def refund_of(
    updates: Sequence[CounterUpdate], counts: Sequence[int | None], statuses: Sequence[Status], now: int
) -> list[CounterUpdate]:
    """Updates that undo *updates* of an over-limit request, except those on the limit that it exceeds the most.

    The statuses of the others then show what remains with the refund. That limit keeps its hits: refunding them would double the writes for a client that keeps trying. Other limits may be
    exceeded only because of requests like this one, whose hits are about to be refunded.

    Args:
        updates: What the request counted.
        counts: The counts after *updates*; None for one that is not known to be counted.
        statuses: One for each check of the request.
        now: The Unix second in which they were judged.
    """
    checks = [status.check for status in statuses]
    apart = list(zip(by_check(checks, updates), by_check(checks, counts), strict=True))
    excess = [
        status.count / (status.limit.requests_per_unit or 0.5)
        if status.limit is not None and status.code is Code.OVER_LIMIT and None not in own
        else 0
        for status, (_, own) in zip(statuses, apart, strict=True)
    ]
    kept = excess.index(max(excess)) if any(excess) else None
    refund: list[CounterUpdate] = []
    refunded = []
    for i, (check, (taken, own)) in enumerate(zip(checks, apart, strict=True)):
        if taken and i != kept:
            known = [update for update, count in zip(taken, own, strict=True) if count is not None]
            refund += algorithm_of(check).refund(known)
            if len(known) == len(taken):
                refunded.append((statuses[i], taken))
    if refund:
        _show(refunded, _after(updates, counts, refund), now)
    return refund


def _after(
    updates: Sequence[CounterUpdate], counts: Sequence[int | None], refund: Sequence[CounterUpdate]
) -> dict[bytes, int]:
    """Where each counter of a request stands with *refund*, by its key. Of several hits on one the last count holds."""
    after = {update.key: count for update, count in zip(updates, counts, strict=True) if count is not None}
    for update in refund:
        after[update.key] += update.amount
    return after


def _show(refunded: Sequence[tuple[Status, Sequence[CounterUpdate]]], after: Mapping[bytes, int], now: int) -> None:
    """Let statuses, each with the updates of its check, show what remains where the counters stand *after* the refund."""
    for status, updates in refunded:
        counts = [after[update.key] for update in updates]
        status.limit_remaining = algorithm_of(status.check).judge(status.check, counts, now).limit_remaining


class Refunds:
    """Refunds hits to *store*; no request waits for it.

    A store that counts at once has them when `refund` returns, so no other request sees the hits of an over-limit one.

    Attributes:
        refunded: Hits refunded so far ("sent"), and hits of which that is not known ("failed").
    """

    def __init__(self, store: CounterStore) -> None:
        self.refunded = {"sent": 0, "failed": 0}
        self._store = store
        self._under_way: set[_Refund] = set()

    def refund(self, updates: Sequence[CounterUpdate]) -> None:
        """Apply *updates*, whose amounts are negative. They reach the store before those of any later call."""
        refund = _Refund(self, updates)
        try:
            counts = self._store.submit(updates, refund)
        except BackendError as error:
            refund.failed(error)
        else:
            if counts is not None:
                refund.counted(counts)
            elif not refund.done:
                self._under_way.add(refund)

    async def aclose(self) -> None:
        """Wait for what is under way; the store bounds how long that takes."""
        while self._under_way:
            landed = asyncio.get_running_loop().create_future()
            next(iter(self._under_way)).landed = landed
            await landed

    def finish(self, refund: _Refund, failed: int) -> None:
        """*refund* is done, except that *failed* of its hits are not known to be refunded."""
        self.refunded["sent"] -= sum(update.amount for update in refund.updates) + failed
        self.refunded["failed"] += failed
        self._under_way.discard(refund)


class _Refund:
    """Updates that the store has not answered.

    Attributes:
        done: Whether the store has answered.
        landed: Set then, for whoever waits.
    """

    __slots__ = ("_refunds", "done", "landed", "updates")

    def __init__(self, refunds: Refunds, updates: Sequence[CounterUpdate]) -> None:
        self._refunds = refunds
        self.updates = updates
        self.done = False
        self.landed: asyncio.Future[None] | None = None

    def counted(self, counts: Sequence[int]) -> None:  # noqa: ARG002 - where a counter stands is for others to know
        """See `Done`."""
        self._finish(0)

    def failed(self, error: BackendError) -> None:
        """See `Done`."""
        counts = counts_of(error, self.updates)
        self._finish(-sum(update.amount for update, count in zip(self.updates, counts, strict=True) if count is None))

    def _finish(self, failed: int) -> None:
        self.done = True
        self._refunds.finish(self, failed)
        if self.landed is not None:
            self.landed.set_result(None)
