"""Refused requests do not spend: what they counted on other limits than the one that refuses them is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rls.core.algorithms import algorithm_of, by_check
from rls.core.check import Status
from rls.core.model import Code
from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, counts_of


def unspent(
    updates: Sequence[CounterUpdate], counts: Sequence[int | None], statuses: Sequence[Status]
) -> list[CounterUpdate]:
    """What takes back *updates* of a refused request, but those of the limit that it exceeds the most.

    That one refuses, and a client that does not give up costs its store half as much for it. Others that are over their
    limits may be so only for what requests like this one took, and are about to get back.

    Args:
        updates: What the request counted.
        counts: The counts after them; None where there was none, so that nothing is known to be taken.
        statuses: Of the request, one for each of its checks.
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
    given_back = []
    for i, (check, (taken, own)) in enumerate(zip(checks, apart, strict=True)):
        if taken and i != kept:
            known = [update for update, count in zip(taken, own, strict=True) if count is not None]
            given_back += algorithm_of(check).refund(known)
    return given_back


class Refunds:
    """Gives hits back to *store*, without anyone who waits for it.

    A store that counts at once has them when `give_back` returns, so no other request sees what a refused one had counted.

    Attributes:
        given_back: Hits that were given back so far, and those of which that is not known.
    """

    def __init__(self, store: CounterStore) -> None:
        self.given_back = {"sent": 0, "failed": 0}
        self._store = store
        self._under_way: set[_Refund] = set()

    def give_back(self, updates: Sequence[CounterUpdate]) -> None:
        """Give back *updates*, whose amounts are negative. They reach the store before a call that is yet to arrive."""
        refund = _Refund(self, updates)
        try:
            counts = self._store.submit(updates, refund)
        except BackendError as error:
            refund.failed(error)
        else:
            if counts is not None:
                refund.counted(counts)
            elif not refund.told:
                self._under_way.add(refund)

    async def aclose(self) -> None:
        """Wait for what is under way; the store bounds how long that takes."""
        while self._under_way:
            landed = asyncio.get_running_loop().create_future()
            next(iter(self._under_way)).landed = landed
            await landed

    def settle(self, refund: _Refund, failed: int) -> None:
        """*refund* is done, but *failed* of its hits are not known to be given back."""
        self.given_back["sent"] -= sum(update.amount for update in refund.updates) + failed
        self.given_back["failed"] += failed
        self._under_way.discard(refund)


class _Refund:
    """Updates on their way.

    Attributes:
        told: Whether it is known what became of them.
        landed: What waits for that.
    """

    __slots__ = ("_refunds", "landed", "told", "updates")

    def __init__(self, refunds: Refunds, updates: Sequence[CounterUpdate]) -> None:
        self._refunds = refunds
        self.updates = updates
        self.told = False
        self.landed: asyncio.Future[None] | None = None

    def counted(self, counts: Sequence[int]) -> None:  # noqa: ARG002 - where a counter stands is for others to know
        """See `Done`."""
        self._settle(0)

    def failed(self, error: BackendError) -> None:
        """See `Done`."""
        counts = counts_of(error, self.updates)
        self._settle(-sum(update.amount for update, count in zip(self.updates, counts, strict=True) if count is None))

    def _settle(self, failed: int) -> None:
        self.told = True
        self._refunds.settle(self, failed)
        if self.landed is not None:
            self.landed.set_result(None)
