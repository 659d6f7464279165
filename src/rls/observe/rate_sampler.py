"""Samples events, so that what they cost in a second is bounded."""

from __future__ import annotations

import math
from random import random


class RateSampler:
    """Takes every event while there are few. Of many it takes one in N; N follows their number in the last second.

    The gaps between those that are taken are random, and N on average: else it could meet the rhythm of what comes in turns.

    On a hot path, count `left` down while it is above 0 and `until` is not over, and call `take` only otherwise.

    Args:
        most: Events a second that are taken, about.

    Attributes:
        left: Events to be left out before the next one is taken.
        until: The Unix second from which on `left` does not hold any more.
    """

    __slots__ = ("_every", "_most", "_seen", "_taken", "left", "until")

    def __init__(self, most: int) -> None:
        self.left = 0
        self.until = 0.0
        self._most = most
        self._every = 1
        self._seen = self._taken = 0

    def take(self, now: float) -> int:
        """For how many events the one at *now* (Unix seconds) stands: 1 where all are taken, 0 where it is left out."""
        if not self.until - 1.0 <= now < self.until:  # or the clock went back
            second = int(now)
            last_second = self._seen if second == self.until else 0
            self._every = max(1, math.ceil(last_second / self._most))
            self._seen = self._taken = 0
            self.until = second + 1.0
            self.left = int(random() * self._every)  # noqa: S311 - it is no secret
        if self.left:
            self.left -= 1
            return 0
        stands_for = self._every
        self._seen += stands_for
        self._taken += 1
        if self._taken >= self._most:
            self._every, self._taken = 2 * stands_for, 0
        self.left = int(random() * (2 * self._every - 1))  # noqa: S311
        return stands_for
