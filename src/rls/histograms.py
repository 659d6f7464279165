"""Histograms as plain numbers: cheap enough to fill on the way of a check."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Bounds for durations: from what a check should take to what its caller never waits for. The goals are among them: a check
takes 10 ms at most, Redis 5 ms."""
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""Bounds for numbers of things."""


class Histogram:
    """How many values lie in which range.

    Args:
        bounds: Upper bounds of the ranges, each included, ascending. A value above the last is counted, too.

    Attributes:
        bounds: See above.
        counts: How many values lie in each range; one more than *bounds*.
        sum: Of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
