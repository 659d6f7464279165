"""What share of all that happened in the last minute went wrong."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from rls.engine.enforcement import Reporter

WINDOW_SECONDS = 60.0


class Share:
    """Reports while more than a share of what happened in the last minute went wrong.

    The text names the highest of *steps* that was passed since it began, not the share itself: each text is a log line. It
    ends when the share is half of the lowest step, so that a share near that step does not begin and end all the time.

    Args:
        read: Totals so far of what went wrong, and of everything; None where they are not known.
        report: Gets the text, and "" when it ends.
        text: What to report, with "{share}" where "1 %" is to stand.
        steps: Shares of 1, ascending. It begins above the first.
        at_least: It begins with so many in a minute that went wrong; fewer happen anywhere.
        clock: Seconds.
    """

    def __init__(
        self,
        read: Callable[[], tuple[float, float] | None],
        report: Reporter,
        text: str,
        *,
        steps: Sequence[float],
        at_least: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._report = report
        self._text = text
        self._steps = steps
        self._at_least = at_least
        self._clock = clock
        self._seen: deque[tuple[float, float, float]] = deque()
        self._step = 0.0

    def look(self) -> None:
        """Read once, and report; to be called every second or so."""
        found = self._read()
        if found is None:
            return
        wrong, all_ = self._grown(*found)
        share = wrong / all_ if all_ > 0 else 0.0
        if self._step and share <= self._steps[0] / 2:
            self._step = 0.0
            self._report("")
        step = max((step for step in self._steps if share > step), default=0.0)
        if step > self._step and (self._step or wrong >= self._at_least):
            self._step = step
            self._report(self._text.format(share=f"{100 * step:g} %"))

    def _grown(self, wrong: float, all_: float) -> tuple[float, float]:
        """By how much both totals have grown over the last minute."""
        seen, now = self._seen, self._clock()
        seen.append((now, wrong, all_))
        while len(seen) > 1 and seen[1][0] <= now - WINDOW_SECONDS:
            seen.popleft()
        _, wrong_before, all_before = seen[0]
        return wrong - wrong_before, all_ - all_before
