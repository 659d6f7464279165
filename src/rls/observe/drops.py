"""Dropped calls as a metric; the start and end of shedding as log lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

from rls.observe.logs import Log
from rls.observe.metrics import Metrics

QUIET_SECONDS = 10.0
"""Shedding ends when no call was shed for this long."""


class Drops:
    """Counts dropped calls by reason. Logs one line when shedding starts and one when it ends, however many calls are shed.

    Args:
        reasons: All reasons, each with its labels: which calls it is about, and what happened to them.
        shed: The reasons of shed calls.
        answer: The answer to shed calls, for the log.
        call_later: Calls a function after some seconds; the running loop's by default.
        clock: Seconds.

    Attributes:
        counts: Calls so far, by reason.
    """

    def __init__(
        self,
        log: Log,
        reasons: Mapping[str, tuple[str, str]],
        shed: Collection[str],
        *,
        answer: str,
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = {str(reason): 0 for reason in reasons}
        self._reasons = {str(reason): labels for reason, labels in reasons.items()}
        self._log = log
        self._shed = frozenset(map(str, shed))
        self._answer = answer
        self._call_later = call_later
        self._clock = clock
        self._shedding = False
        # When shedding started; calls shed by then, and by the last poll.
        self._since = 0.0
        self._before = self._seen = 0

    def add(self, reason: str, count: int = 1) -> None:
        """Count so many calls."""
        self.counts[reason] += count
        if not self._shedding and reason in self._shed:
            self._start(count)

    def register(self, metrics: Metrics) -> None:
        """Add the counts to *metrics*."""

        def read() -> Mapping[tuple[str, ...], int]:
            return {labels: self.counts[reason] for reason, labels in self._reasons.items()}

        metrics.register_counter(
            "rls_dropped_total",
            "Calls rejected under overload, or not answered before their deadline.",
            read,
            "class",
            "reason",
        )

    def _start(self, count: int) -> None:
        self._shedding = True
        self._since = self._clock()
        self._seen = self.shed
        self._before = self._seen - count
        self._log.warning("shedding_started", answer=self._answer)
        self._poll_later()

    def _poll(self) -> None:
        total = self.shed
        if total != self._seen:
            self._seen = total
            self._poll_later()
            return
        self._shedding = False
        seconds = max(0.0, self._clock() - self._since - QUIET_SECONDS)
        self._log.info("shedding_ended", calls=total - self._before, seconds=round(seconds, 1))

    def _poll_later(self) -> None:
        call_later = self._call_later or asyncio.get_running_loop().call_later
        call_later(QUIET_SECONDS, self._poll)

    @property
    def shed(self) -> int:
        """Calls so far that were shed, whatever the reason."""
        return sum(self.counts[reason] for reason in self._shed)
