"""What the over-limit cache knows of a counter."""

from __future__ import annotations

from rls.core.update import CounterUpdate

FRESH_SECONDS = 1.0
"""What is remembered is used for no longer than this without asking the store."""


def is_over(update: CounterUpdate, count: int) -> bool:
    """Whether a counter that stands at *count* is over the limit of *update*, in a way that may be remembered."""
    return update.cache_over and count > update.limit


class KnownCounter:
    """One that is over its limit.

    Attributes:
        update: The last one that the store found over its limit.
        count: Where it stands, with what is *uncounted*.
        at: When the store was asked for that.
        uncounted: What was answered from memory, and the store has not got.
    """

    __slots__ = ("at", "count", "uncounted", "update")

    def __init__(self, update: CounterUpdate, count: int, at: float) -> None:
        self.update = update
        self.count = count
        self.at = at
        self.uncounted = 0

    def refuses(self, update: CounterUpdate, now: float) -> bool:
        """Whether it is known well enough that hits of *update* are over the limit."""
        return update.amount >= 0 and is_over(update, self.count) and now - self.at <= FRESH_SECONDS

    def take(self) -> int:
        """What is uncounted, which the store is about to get."""
        taken, self.uncounted = self.uncounted, 0
        return taken
