"""The decision log, where the settings ask for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rls.app.stores import store_of
from rls.engine.events import Observer
from rls.observe.decision_log import RATE, DecisionLog
from rls.observe.line_writer import FAILED, STUCK, LineWriter
from rls.observe.logs import Log
from rls.observe.metrics import Metrics
from rls.settings import Settings

FLUSH_SECONDS = 1.0
"""What lines have to be written after the last call."""
STDOUT = "stdout"


class DecisionLogging:
    """The decision log of one server. Off, it does nothing and costs nothing.

    Attributes:
        observers: What hears events: nothing while it is off.
    """

    def __init__(self, settings: Settings, metrics: Metrics, log: Log) -> None:
        self.observers: Sequence[Observer] = ()
        self._writer: LineWriter | None = None
        if settings.decision_log:
            path = None if settings.decision_log == STDOUT else Path(settings.decision_log)
            self._writer = LineWriter(path, lambda reason: log.warning("decision_log_lines_lost", reason=reason))
            self._decisions = DecisionLog(
                self._writer.add,
                refusals=settings.decision_log_rate,
                share=settings.decision_log_share,
                rules=settings.decision_log_rules,
                store=store_of(settings.backend.scheme),
            )
            self.observers = (self._decisions,)
        metrics.register_counter(
            "rls_decision_log_lines_total",
            "Lines that the decision log wrote.",
            lambda: 0 if self._writer is None else self._writer.written,
        )
        metrics.register_counter(
            "rls_decision_log_dropped_total", "Lines that the decision log did not write.", self._dropped, "reason"
        )

    def reopen(self) -> None:
        """Open the file again: whoever rotates it has moved it."""
        if self._writer is not None:
            self._writer.reopen()

    async def aclose(self) -> None:
        """Write what waits, for at most `FLUSH_SECONDS`."""
        if self._writer is not None:
            await self._writer.aclose(FLUSH_SECONDS)

    def _dropped(self) -> Mapping[str, int]:
        if self._writer is None:
            return dict.fromkeys((RATE, STUCK, FAILED), 0)
        return {RATE: self._decisions.skipped, **self._writer.dropped}
