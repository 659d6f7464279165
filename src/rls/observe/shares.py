"""The share of failures among the events of the last minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from rls.engine.enforcement import Reporter

WINDOW_SECONDS = 60.0


class Share:
    """Reports while the share of failures in the last minute is too high.

    The text names the highest of *steps* that was exceeded since the report began, not the share itself: each new text is a
    log line. The report ends at half of the lowest step, so that a share near that step does not start and end it again
    and again.

    Args:
        read: Returns the totals so far of failures and of all events; None while unknown.
        report: Gets the text, and "" at the end.
        text: The text, with "{share}" in place of "1 %".
        steps: Shares of 1, ascending. A report begins above the first.
        at_least: Failures in a minute without which no report begins: a few happen everywhere.
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

    def poll(self) -> None:
        """Read once, and report. Call it about every second."""
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
