"""How long turns of the event loop take: everything waits for the turn that is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rls.histograms import Histogram
from rls.observe.metrics import Metrics

EVERY_SECONDS = 0.01
"""Every turn that takes longer is seen. A shorter one is seen with the probability of its share of this."""


class LoopTurns:
    """Sees turns by timers: one that is late had to wait for the rest of a turn.

    Args:
        clock: Seconds. Not the loop's: uvloop's has whole milliseconds, and so have its timers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = Histogram()
        self._clock = clock

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            due = self._clock() + EVERY_SECONDS
            await asyncio.sleep(EVERY_SECONDS)
            self.seconds.add(max(0.0, self._clock() - due))


def register_loop_turn_metrics(metrics: Metrics, turns: LoopTurns) -> None:
    """Add the histogram of *turns* to *metrics*."""
    metrics.register_histogram(
        "rls_loop_turn_seconds",
        "How long a call may wait for the current turn of the event loop, sampled every 10 ms, in seconds.",
        turns.seconds,
    )
