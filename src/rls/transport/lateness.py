"""Whether calls wait for the CPU: they do so in queues that nobody can look into, of the loop and of the kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LATE_SECONDS = 0.002
"""Calls wait for the CPU while the loop runs a timer so much too late. While they wait for Redis it is not late at all."""
_LOOK_SECONDS = 0.005
_WINDOW_SECONDS = 0.010
_BUSY = 0.8
"""A thread that used this share of the time is busy."""


class Lateness:
    """Looks at the loop from `watch` on, as long as there is anything to look at.

    Args:
        looked: Called after each look with whether the loop is late; returns whether to go on looking.
        clock: Seconds. Not the loop's: uvloop's has whole milliseconds.

    Attributes:
        late: Whether the loop was late at the last two looks. Once may be a pause of the process: to let fewer calls in does
            not shorten it.
        watching: Whether there will be another look.
    """

    def __init__(self, looked: Callable[[bool], bool], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.late = self.watching = self._was_late = False
        self._looked = looked
        self._clock = clock

    def watch(self) -> None:
        """Begin to look. Idempotent."""
        if not self.watching:
            self.watching = True
            self._look_later()

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look, self._clock() + _LOOK_SECONDS)

    def _look(self, due: float) -> None:
        late = self._clock() - due > LATE_SECONDS
        self.late, self._was_late = late and self._was_late, late
        if self._looked(self.late) or late:
            self._look_later()
        else:
            self.watching = False


class Strain:
    """Tells whether calls are shed since the CPU has no time for them: while a store is slow, this thread is idle.

    Args:
        clock: Seconds.
        cpu_clock: Seconds for which this thread has run.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, cpu_clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._began, self._cpu_began, self._shed = clock(), cpu_clock(), 0
        self._is_strained = False

    def look(self, shed: int) -> bool:
        """Whether calls were shed, and this thread was busy, in the last 10 ms that are over. *shed*: calls so far.

        While none is shed nothing is measured, so the first window may be much longer, and the thread idle in it.
        """
        if shed == self._shed and not self._is_strained:
            return False  # asked in every turn of the loop
        now = self._clock()
        seconds = now - self._began
        if seconds >= _WINDOW_SECONDS:
            cpu = self._cpu_clock()
            self._is_strained = shed > self._shed and cpu - self._cpu_began > _BUSY * seconds
            self._began, self._cpu_began, self._shed = now, cpu, shed
        return self._is_strained
