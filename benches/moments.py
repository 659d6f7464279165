"""What went on in each tenth of a second of a run, and how many calls were late meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benches.client import BUCKET_SECONDS, Result
from benches.machine import stolen_seconds
from benches.pauses import Pauses
from benches.speed import Speed

PAUSED = "a pause of the machine"
HOST = "the host took CPU"
SLOW = "a slow core"
SLOW_SHARE = 0.75
"""Of the fastest that a core was: below it, it is slow."""
NOTHING = "none of these"
_LATE_SECONDS = 0.010
_SETTLES = 2  # /proc/stat tells of the host's CPU in steps of 10 ms, and late


@dataclass(frozen=True, slots=True)
class Moment:
    """Of all tenths of a second in which the same went on: how many, calls sent, and those that were not answered within 10 ms."""

    tenths: int
    sent: int
    late: int


@dataclass(slots=True)
class Moments:
    """Where a run notes what goes on."""

    _what: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    _stolen: float = field(default_factory=stolen_seconds)

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """While *name* goes on."""
        began = _bucket()
        try:
            yield
        finally:
            for bucket in range(began, _bucket() + 1):
                self._what[bucket].add(name)

    def look_at_host(self) -> None:
        """To be called ten times a second."""
        before, self._stolen = self._stolen, stolen_seconds()
        if self._stolen > before:
            for bucket in range(_bucket() - _SETTLES, _bucket() + 1):
                self._what[bucket].add(HOST)

    def note_speed(self, speed: Speed, got: Result) -> None:
        """Find the tenths of a second of *got* in which the core was slow."""
        slow = speed.least_piece_seconds() / SLOW_SHARE
        first = int(got.began / BUCKET_SECONDS)
        for bucket in range(first, first + len(got.buckets)):
            began = bucket * BUCKET_SECONDS
            with contextlib.suppress(LookupError):  # nothing was measured, as the server had the core
                if speed.piece_seconds(began, began + BUCKET_SECONDS) > slow:
                    self._what[bucket].add(SLOW)

    def note_pauses(self, pauses: Pauses) -> None:
        """Find the tenths of a second with a pause of the machine, or with calls that waited for its end."""
        for ended, seconds in pauses.found:
            for bucket in range(_bucket(ended - seconds - _LATE_SECONDS), _bucket(ended) + 1):
                self._what[bucket].add(PAUSED)

    def of(self, got: Result, names: Sequence[str]) -> dict[str, Moment]:
        """Each tenth of a second by the first of *names* that went on, or as `NOTHING`."""
        found = {name: Moment(0, 0, 0) for name in (*names, NOTHING)}
        first = int(got.began / BUCKET_SECONDS)
        for number, (sent, _, soon) in enumerate(got.buckets):
            name = next((name for name in names if name in self._what.get(first + number, ())), NOTHING)
            one = found[name]
            found[name] = Moment(one.tenths + 1, one.sent + sent, one.late + sent - soon)
        return found


def _bucket(at: float | None = None) -> int:
    """Of *at*, by `time.perf_counter`; of now if left out."""
    return int((time.perf_counter() if at is None else at) / BUCKET_SECONDS)
