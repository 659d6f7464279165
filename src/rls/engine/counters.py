"""Counters as people ask for them: by the entries of a descriptor. They are read, reset, and given hits back.

No ability of a store is needed beside `CounterStore.submit`: an amount of 0 reads, and a negative amount gives hits back, down
to 0. So each works with every store. The over-limit cache of this process hears of it at once; those of other processes ask
the store within a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from rls.core.algorithms import algorithm_of, by_check
from rls.core.check import Check, Status
from rls.core.model import Descriptor, Entry, Request
from rls.core.plan import MOST_GIVEN_BACK, Planner
from rls.core.pseudonyms import DIGEST_TAG, Hide, plain
from rls.core.rules import RuleSet
from rls.core.update import CounterUpdate
from rls.engine.limiter import Limiter
from rls.stores.base import CounterStore


class CounterState(NamedTuple):
    """What a limit stands at for certain entries.

    Attributes:
        check: What a request with these entries is checked against. Values in it are hidden already.
        status: What a request without hits comes to now.
        keys: The counters in the store, one for each window that the algorithm looks at.
        before: Hits that counted before a change; where there was none, as `used`.
    """

    check: Check
    status: Status
    keys: tuple[bytes, ...]
    before: int

    @property
    def used(self) -> int:
        """Hits that count against the limit now."""
        return used_of(self.status)


class Counters:
    """The counters of *limiter*.

    Args:
        limiter: Has the rules in force, and plans as for a request.
        store: Where its counters are.
        clock: Unix seconds.
    """

    def __init__(self, limiter: Limiter, store: CounterStore, clock: Callable[[], float] = time.time) -> None:
        self._limiter = limiter
        self._store = store
        self._clock = clock

    @property
    def rules(self) -> RuleSet:
        """Those in force."""
        return self._limiter.rules

    async def read(self, domain: str, entries: Sequence[Entry]) -> list[CounterState]:
        """What each limit stands at for a descriptor of *entries*; empty where no rule limits it.

        The value of an entry may be its digest, where values are hidden.

        Raises:
            BackendError: The store did not say.
        """
        return await self._change(self._checks(domain, entries, 0))

    async def reset(self, domain: str, entries: Sequence[Entry]) -> list[CounterState]:
        """Let the counters of a descriptor begin at 0 again; see `read`."""
        return await self._change(self._checks(domain, entries, 0), lambda update: update.with_amount(-MOST_GIVEN_BACK))

    async def give(self, domain: str, entries: Sequence[Entry], hits: int) -> list[CounterState]:
        """Give *hits* back on each limit of a descriptor, down to 0; see `read`."""
        return await self._change(self._checks(domain, entries, hits), _as_planned)

    def checks(self, domain: str, entries: Sequence[Entry]) -> list[Check]:
        """What a request with one descriptor of *entries* is checked against; without a limit where no rule has one."""
        return self._checks(domain, entries, 0)

    def _checks(self, domain: str, entries: Sequence[Entry], given_back: int) -> list[Check]:
        limiter = self._limiter
        counting = replace(limiter.counting, hide=_digests_too(limiter.counting.hide))
        asked = Descriptor(tuple(entries), hits_addend=given_back, is_negative_hits=given_back > 0)
        return list(Planner(limiter.rules, counting).plan(Request(domain, (asked,))).checks)

    async def _change(
        self, checks: Sequence[Check], change: Callable[[CounterUpdate], CounterUpdate] | None = None
    ) -> list[CounterState]:
        """Read the counters of *checks*, apply what *change* makes of each update, and read them again, all in one call."""
        now = int(self._clock())
        limited = [check for check in checks if check.limit is not None]
        planned = [update for check in limited for update in algorithm_of(check).plan(check, now).updates]
        reads = [replace(update, amount=0, cache_over=False) for update in planned]  # the cache may be a second old
        changes = [] if change is None else list(map(change, planned))
        counts = await self._store.update([*reads, *changes, *(reads if changes else ())])
        before, after = counts[: len(reads)], counts[-len(reads) :]
        looks = [replace(check, amount=0) for check in limited]
        return [
            CounterState(
                look,
                algorithm_of(look).judge(look, now_at, now),
                tuple(update.key for update in updates),
                used_of(algorithm_of(look).judge(look, was, now)),
            )
            for look, was, now_at, updates in zip(
                looks, by_check(looks, before), by_check(looks, after), by_check(looks, reads), strict=True
            )
        ]


def _as_planned(update: CounterUpdate) -> CounterUpdate:
    return update


def used_of(status: Status) -> int:
    """Hits that count against the limit of *status*, which is that of a check without hits."""
    limit = status.check.requests_per_unit
    return status.count or max(0, limit - status.limit_remaining)


def _digests_too(hide: Hide) -> Hide:
    """*hide*, which leaves digests as they are: people have them from the admin API."""
    if hide is plain:
        return plain
    return lambda key, value: value if value.startswith(DIGEST_TAG) else hide(key, value)
