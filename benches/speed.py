"""How fast a core is from moment to moment. Its host has other guests, who may halve that for seconds; no counter of ours tells."""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from statistics import mean, quantiles

from benches.core_watch import watching

_PAUSE_SECONDS = 0.02
_PIECE = 8_000
"""Additions, in 0.2 to 0.4 ms. Two pieces every 20 ms take 2 to 4 % of the core."""


class Speed:
    """What the same piece of work took on a core, again and again."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._seconds: list[float] = []

    def note(self, at: float, seconds: float) -> None:
        """A piece took so many *seconds* of CPU; *at* is of `time.perf_counter`, and later than all before."""
        self._times.append(at)
        self._seconds.append(seconds)

    def piece_seconds(self, began: float, ended: float) -> float:
        """The mean of the pieces between two times of `time.perf_counter`: a core that is half as fast has twice as much.

        Raises:
            LookupError: None was taken then.
        """
        found = self._seconds[bisect_left(self._times, began) : bisect_right(self._times, ended)]
        if not found:
            raise LookupError("the speed of the core was not measured in that time")
        return mean(found)

    def least_piece_seconds(self) -> float:
        """What a piece takes when the core is at its fastest: one of twenty took less, since a single one may do so by chance."""
        return quantiles(self._seconds, n=20)[0]


@contextlib.contextmanager
def watched(core: int) -> Iterator[Speed]:
    """The speed of *core*, measured by a process of its own."""
    speed = Speed()
    with watching(core, __name__, speed.note):
        yield speed


def _piece() -> float:
    began = time.process_time()
    total = 0
    for number in range(_PIECE):
        total += number & 7
    return time.process_time() - began


def main() -> None:
    while True:
        time.sleep(_PAUSE_SECONDS)
        # The first may have to fetch its code into the caches.
        print(time.perf_counter(), min(_piece(), _piece()), flush=True)


if __name__ == "__main__":
    main()
