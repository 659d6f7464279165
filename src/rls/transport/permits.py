"""Which calls are let in: the one place where a transport refuses a call, before its message is looked at.

A call is refused only where it could not be answered in its own time, or where its class or its connection has more than its
share. All counts are the transport's; there is no loop and no socket in here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WORTH = 0.6
"""Part of its time that a call may spend waiting for its turn: the rest is for its answer, and its ways there and back."""

_WINDOW = 0.010
_WINDOWS = 4
_FIRST_RATE = 50_000.0
_LEAST = 8
import os
WORTH = float(os.environ.get("WORTH", "0.6"))
HALF = float(os.environ.get("HALF", "0.5"))
EARLY=os.environ.get("EARLY","1")=="1"
_NONE = 1 << 62


class Permits:
    """The pool of calls in progress: begun, or waiting for their turn, and not answered.

    While the CPU keeps up with the calls, only `limit` bounds them. While it does not, the pool is as large as what the CPU
    does in a call's own time (Little's law): the rate at which calls were begun lately, times their time. The newest are
    refused first.

    **Connections.** While a part of `limit` is left, it is for connections that have less than an equal share. And since
    connections take turns, a call waits for no more than what its own connection has, on each connection: so one with many
    calls keeps no other from its permits.

    Args:
        limit: Calls in progress; 0 for no limit.
        clock: Seconds.

    Attributes:
        late: Whether calls wait for the CPU.
        rate: Calls that were begun in a second, while they waited for the CPU.
    """

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit or _NONE
        self.late = False
        self.rate = _FIRST_RATE
        self._clock = clock
        # What is left above it is for connections that have less than their share.
        self.shared = self.limit - self.limit // 8 if limit else _NONE
        self._rates: deque[float] = deque(maxlen=_WINDOWS)
        self._since = 0.0
        self._begun = 0

    def allow(self, mine: int, total: int, connections: int, seconds: float) -> bool:
        """Whether one more call is let in.

        Args:
            mine: Calls in progress on its connection.
            total: Calls in progress.
            connections: That have any.
            seconds: That the call still has.
        """
        if total >= self.shared and (total >= self.limit or mine * connections >= self.limit):
            return False
        if not self.late:
            return True
        if not mine: return EARLY
        ahead = min(total, (mine + 1) * (connections + 1))
        return ahead < _LEAST or ahead <= self.rate * seconds * WORTH

    def note(self, begun: int, *, late: bool) -> None:
        """So many calls have been *begun* since the last time; *late*: others wait for the CPU."""
        if not late:
            self.late = False
            return
        now = self._clock()
        if not self.late:
            self.late = True
            self._since = now
            self._begun = 0
            return
        self._begun += begun
        seconds = now - self._since
        if seconds >= _WINDOW:
            self._rates.append(self._begun / seconds)
            # The highest: a pause of the whole process says nothing about what a call costs.
            self.rate = max(self._rates)
            self._since = now
            self._begun = 0
