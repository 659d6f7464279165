"""What the batches of a node took, for metrics."""

from __future__ import annotations

from rls.histograms import SIZES, Histogram


class BatchNumbers:
    """What the batches of one node took.

    Attributes:
        calls: Calls that waited for a write.
        queue_seconds: From a batch's first call until it was written.
        round_trip_seconds: From a write until its replies came, or until the connection was given up.
    """

    __slots__ = ("calls", "queue_seconds", "round_trip_seconds")

    def __init__(self) -> None:
        self.calls = Histogram(SIZES)
        self.queue_seconds = Histogram()
        self.round_trip_seconds = Histogram()
