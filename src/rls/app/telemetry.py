"""What a server shows of itself: its log, its metrics and its enforcement state."""

from __future__ import annotations

from importlib.metadata import entry_points

from rls import __version__
from rls.engine.enforcement import EnforcementState
from rls.engine.events import OBSERVERS, Observer
from rls.observe.enforcement import log_enforcement, register_enforcement_metrics
from rls.observe.logs import EventLog, Log, configure
from rls.observe.loop_turns import LoopTurns, register_loop_turn_metrics
from rls.observe.metrics import Metrics
from rls.settings import Settings


def installed_observers() -> list[Observer]:
    """One of each that an installed distribution offers, by the names of their entry points."""
    return [point.load()() for point in sorted(entry_points(group=OBSERVERS), key=lambda point: point.name)]


class Telemetry:
    """Log, metrics and enforcement state, joined: each reason is a log line and a metric.

    Attributes:
        log: Lines for operators.
        events: Logs the limiter's events.
        metrics: What `/metrics` shows.
        observers: All that hear events: our own, and those of installed distributions (see `Observer`).
        enforcement: Whether limits are enforced as written.
        loop_turns: Measures turns of the loop; to be run.
    """

    def __init__(self, settings: Settings) -> None:
        self.log: Log = configure(settings.log_level, settings.log_format)
        self.events = EventLog(self.log)
        self.metrics = Metrics(version=__version__)
        self.observers: tuple[Observer, ...] = (self.metrics, self.events, *installed_observers())
        self.enforcement = EnforcementState()
        self.loop_turns = LoopTurns()
        log_enforcement(self.log, self.enforcement)
        register_enforcement_metrics(self.metrics, self.enforcement)
        register_loop_turn_metrics(self.metrics, self.loop_turns)
