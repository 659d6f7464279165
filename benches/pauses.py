"""Pauses of a core: its host lets other guests run, and does not always count that as stolen time."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from benches.core_watch import watching

PAUSE_SECONDS = 0.003
"""A shorter one is not counted."""
_LOOK_SECONDS = 0.001


@dataclass(slots=True)
class Pauses:
    """When a core ran nothing, though a task with real-time priority was to run there.

    Attributes:
        found: When each ended, by `time.perf_counter`, and its seconds.
        are_measured: Whether they can be seen: it takes the right to real-time priority.
    """

    found: list[tuple[float, float]] = field(default_factory=list)
    are_measured: bool = False

    def note(self, at: float, seconds: float) -> None:
        """A core did not run for so many *seconds*, until *at*; 0 when the look at it begins."""
        self.are_measured = True
        if seconds:
            self.found.append((at, seconds))

    def between(self, began: float, ended: float) -> list[float]:
        """Seconds of each pause that ended between two times of `time.perf_counter`."""
        return [seconds for at, seconds in self.found if began <= at <= ended]


@contextlib.contextmanager
def watched(cores: Iterable[int]) -> Iterator[Pauses]:
    """The pauses of *cores*, seen by a process on each, which takes 2 % of it."""
    pauses = Pauses()
    with contextlib.ExitStack() as stack:
        for core in cores:
            stack.enter_context(watching(core, __name__, pauses.note))
        yield pauses


def main() -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        sys.exit(
            "benches: pauses of the machine are not measured: that takes the right to real-time priority, as root has it"
        )
    last = time.perf_counter()
    print(last, 0.0, flush=True)
    while True:
        time.sleep(_LOOK_SECONDS)
        now = time.perf_counter()
        if now - last > PAUSE_SECONDS:
            print(now, now - last, flush=True)
        last = now


if __name__ == "__main__":
    main()
