"""Refused requests do not spend: what they counted on other limits than the one that refuses them is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from rls.core.decide import Status
from rls.core.model import Code
from rls.errors import BackendError
from rls.stores.base import CounterStore, CounterUpdate, counts_of


def unspent(
    hits: Sequence[CounterUpdate], counts: Sequence[int | None], statuses: Sequence[Status]
) -> list[CounterUpdate]:
    """What takes back *hits* of a refused request, but the one on the limit that it exceeds the most.

    That one refuses, and a client that does not give up costs its backend half as much for it. Others that are over their
    limits may be so only for what requests like this one took, and are about to get back.

    Args:
        hits: What the request counted.
        counts: The counts after them; None where there was none, so that nothing is known to be taken.
        statuses: Of the request; those that count are as many as *hits*.
    """
    counted = [status for status in statuses if status.limit is not None]
    excess = [
        count / (status.limit.requests_per_unit or 0.5) if count is not None and status.code is Code.OVER_LIMIT else 0
        for count, status in zip(counts, counted, strict=True)
        if status.limit is not None
    ]
    kept = excess.index(max(excess)) if any(excess) else None
    return [
        hit._replace(amount=-hit.amount)
        for i, (hit, count) in enumerate(zip(hits, counts, strict=True))
        if hit.amount > 0 and count is not None and i != kept
    ]


class Refunds:
    """Gives hits back to *backend* with its next write, without anyone who waits for it.

    Attributes:
        given_back: Hits that were given back so far, and those of which that is not known.
    """

    def __init__(self, backend: CounterStore) -> None:
        self.given_back = {"sent": 0, "failed": 0}
        self._backend = backend
        self._under_way: set[asyncio.Task[None]] = set()

    def give_back(self, hits: Sequence[CounterUpdate]) -> None:
        """Give back *hits*, whose amounts are negative. They reach the backend before a call that is yet to arrive."""
        task = asyncio.get_running_loop().create_task(self._send(hits))
        self._under_way.add(task)  # a loop does not keep tasks alive
        task.add_done_callback(self._under_way.discard)

    async def aclose(self) -> None:
        """Wait for what is under way, which the backend bounds."""
        await asyncio.gather(*self._under_way)

    async def _send(self, hits: Sequence[CounterUpdate]) -> None:
        failed = 0
        try:
            await self._backend.hit(hits)
        except BackendError as error:
            counts = counts_of(error, hits)
            failed = -sum(hit.amount for hit, count in zip(hits, counts, strict=True) if count is None)
        self.given_back["sent"] -= sum(hit.amount for hit in hits) + failed
        self.given_back["failed"] += failed


class ImmediateRefunds(Refunds):
    """Gives hits back to a backend that never waits: no other request sees what a refused one had counted."""

    def give_back(self, hits: Sequence[CounterUpdate]) -> None:
        """Give back *hits*; done when this returns."""
        with suppress(StopIteration):
            self._send(hits).send(None)
            raise AssertionError("the backend waits")
