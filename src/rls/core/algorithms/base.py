"""The port between the engine and an algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rls.core.check import Check, Status
from rls.core.update import CounterUpdate


class Window(NamedTuple):
    """What to count for a check from the second *since* until before the second *until*."""

    updates: tuple[CounterUpdate, ...]
    since: int
    until: int


class Algorithm(Protocol):
    """How hits are counted against a limit: values in, values out, without a clock and without state of its own.

    The engine plans a check once for each window, applies the updates whenever the check is made, and has the counts judged.
    It does so whatever counts: a store, or this process while the store fails, then against a part of the limit.

    Attributes:
        name: What `algorithm` of a rate limit calls it.
        updates: How many updates a check takes, always as many.
    """

    @property
    def name(self) -> str: ...

    @property
    def updates(self) -> int: ...

    def plan(self, check: Check, now: int) -> Window:
        """What to count for *check*, which has a limit, at the Unix second *now*.

        A counter's key begins with `check.key`, and what follows says which window it counts: another window, another key.
        Keys of two algorithms differ where their counts mean different things. An update's `rule` and `cache_over` are those
        of the check. Its `expires_at` is when the last check has read the counter; its `limit` a count above which the check
        is over its limit, whatever other counters say.

        Returns:
            The updates, in the order in which `judge` gets their counts, and the seconds for which they hold: *now* is one
            of them. The end tells when a limit is reset, too, where no count says more.
        """

    def judge(self, check: Check, counts: Sequence[int], now: int) -> Status:
        """What *check* comes to at the Unix second *now*, where *counts* are those after its updates.

        A check that gives hits back is never over its limit, nor is one whose rule is in shadow mode, which still accounts
        for hits above the limit.
        """

    def refund(self, updates: Sequence[CounterUpdate]) -> list[CounterUpdate]:
        """What takes back *updates*, some or all of those of a check that were applied: nothing for those that only look."""
