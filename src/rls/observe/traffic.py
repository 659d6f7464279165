"""How many checks there were in the last 15 minutes, how many were refused, and how long they took."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rls.histograms import SECONDS
from rls.observe.metrics import Metrics

EVERY_SECONDS = 5.0
POINTS = 180


class Point(NamedTuple):
    """Some seconds of checks.

    Attributes:
        checks: Decided, per second.
        refused: Those that were over a limit, per second.
        p99: The time within which 99 of 100 were decided, in seconds; 0 without any.
    """

    checks: float
    refused: float
    p99: float


class Traffic:
    """Reads *metrics* every `EVERY_SECONDS`: checks pay nothing for it.

    Args:
        metrics: Counts checks.
        clock: Unix seconds.
        timer: Seconds that never step back.

    Attributes:
        at: When the last point ended, in Unix seconds; 0 before the first.
    """

    def __init__(
        self,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.at = 0.0
        self._metrics = metrics
        self._clock = clock
        self._timer = timer
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._requests, self._refused, self._durations = metrics.requests, metrics.refused, metrics.durations
        self._began = timer()

    @property
    def points(self) -> Sequence[Point]:
        """The last `POINTS` points, the oldest first."""
        return tuple(self._points)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            self.look()

    def look(self) -> None:
        """Add the point of the time since the last look."""
        now, found = self._timer(), self._metrics
        seconds = max(0.001, now - self._began)
        requests, refused, durations = found.requests, found.refused, found.durations
        since = [after - before for after, before in zip(durations, self._durations, strict=True)]
        self._points.append(
            Point((requests - self._requests) / seconds, (refused - self._refused) / seconds, quantile(since, 0.99))
        )
        self._began, self._requests, self._refused, self._durations = now, requests, refused, durations
        self.at = self._clock()


def quantile(counts: Sequence[int], share: float) -> float:
    """The duration that *share* of them do not exceed, in seconds, as `histogram_quantile` of Prometheus finds it.

    Args:
        counts: How many lie in each range of `SECONDS`.
        share: Above 0, up to 1.

    Returns:
        0 where there are none, and the highest bound where it lies above.
    """
    rank, below, lower = share * sum(counts), 0, 0.0
    if not rank:
        return 0.0
    for upper, count in zip(SECONDS, counts, strict=False):
        if below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below, lower = below + count, upper
    return SECONDS[-1]
