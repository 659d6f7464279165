"""What a server shows of itself: its log, its metrics and its enforcement state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from rls import __version__, plugins
from rls.app.decision_logging import DecisionLogging
from rls.app.stores import store_of
from rls.app.tracing import Tracing
from rls.core.decide import Modes
from rls.engine.enforcement import EnforcementState
from rls.engine.events import OBSERVERS, Observer
from rls.engine.guards import guarded
from rls.observe.enforcement import log_enforcement, register_enforcement_metrics
from rls.observe.history import History
from rls.observe.logs import EventLog, Log, configure
from rls.observe.loop_turns import LoopTurns, register_loop_turn_metrics
from rls.observe.metrics import Metrics
from rls.observe.seldom import Seldom
from rls.observe.top import TopTalkers
from rls.observe.top_metrics import register_top_metrics
from rls.observe.traffic import Traffic
from rls.settings import Settings

_LOG_SECONDS = 60.0


def installed_observers(log: Log) -> list[Observer]:
    """One of each that an installed distribution offers, by the names of their entry points.

    What one raises is logged, at most once a minute, and ends nothing.

    Raises:
        SettingsError: One cannot be made.
    """
    seldom = Seldom(_LOG_SECONDS)

    def reporter(name: str) -> Callable[[Exception], None]:
        def report(error: Exception) -> None:
            left_out = seldom.due(name)
            if left_out is not None:
                log.error("observer_failed", observer=name, more_since_last=left_out, exc_info=error)

        return report

    return [
        guarded(plugins.make(point, Observer), reporter(plugins.named(point))) for point in plugins.points(OBSERVERS)
    ]


class Telemetry:
    """Log, metrics and enforcement state, joined: each reason is a log line and a metric.

    Attributes:
        log: Lines for operators.
        events: Logs the limiter's events.
        metrics: What `/metrics` shows.
        observers: All that hear events: our own, and those of installed distributions (see `Observer`).
        enforcement: Whether limits are enforced as written.
        loop_turns: Measures turns of the loop; to be run.
        traffic: Keeps how much there was to decide; to be run.
        tracing: Exports spans; to be started.
        decisions: Logs decisions.
        top: Knows who is limited.
        history: Keeps the last loads and changes of state.
        nodes: Returns the nodes of the backend, and whether each is available.
        began: When the server began, in Unix seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self.log: Log = configure(settings.log_level, settings.log_format)
        self.events = EventLog(self.log)
        self.metrics = Metrics(version=__version__)
        self.tracing = Tracing(self.metrics, self.log, settings.backend.scheme)
        self.decisions = DecisionLogging(settings, self.metrics, self.log)
        self.top = TopTalkers(
            modes=Modes(settings.shadow_mode, settings.quota_mode),
            store=store_of(settings.backend.scheme),
            on_unknown_domain=self.events.unknown_domain,
        )
        self.history = History()
        self.nodes: Callable[[], Mapping[str, bool]] = dict
        self.began = time.time()
        self.observers: tuple[Observer, ...] = (
            self.metrics,
            self.events,
            self.top,
            self.history,
            *self.tracing.observers,
            *self.decisions.observers,
            *installed_observers(self.log),
        )
        self.enforcement = EnforcementState()
        self.loop_turns = LoopTurns()
        self.traffic = Traffic(self.metrics)
        log_enforcement(self.log, self.enforcement)
        register_enforcement_metrics(self.metrics, self.enforcement)
        register_loop_turn_metrics(self.metrics, self.loop_turns)
        register_top_metrics(self.metrics, self.top)
        self.enforcement.listen(self.history.reason_changed)

    async def aclose(self) -> None:
        """Let out what waits: spans, and lines of the decision log."""
        await asyncio.gather(self.tracing.aclose(), self.decisions.aclose())
