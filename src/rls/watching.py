"""What makes limits weaker little by little: nobody reports it, so it is looked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from rls.backends.redis import Inspection
from rls.enforcement import EnforcementState, Reason
from rls.observe.cpu import CpuStat, show_throttling
from rls.observe.drops import Drops
from rls.observe.logs import Log
from rls.observe.metrics import Metrics
from rls.observe.shares import Share
from rls.settings import Settings
from rls.transport.base import Dropped

_LOOK_SECONDS = 1.0
_STEPS_OF_CALLS = (0.001, 0.01, 0.1, 0.5)
_STEPS_OF_PERIODS = (0.05, 0.1, 0.25, 0.5)
_FEWEST_PERIODS = 10
"""A second of throttling in a minute; fewer periods are those of a start or of a reload."""


class Watching:
    """Counts calls that were not decided, and looks every second at what makes limits weaker.

    Args:
        settings: What shed calls are answered with.
        log: Gets a line when shedding begins, and when it has ended.
        metrics: Get the counts; know how many requests were decided.
        enforcement: Gets the reasons.
        unanswered: How many requests got an error for an answer, by cause.
        cpu: Whether the CPU limit stops this process.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        metrics: Metrics,
        enforcement: EnforcementState,
        unanswered: Callable[[], Mapping[str, int]],
        *,
        cpu: CpuStat | None = None,
    ) -> None:
        reporter = enforcement.reporter
        self.inspection = Inspection(on_skew=reporter(Reason.CLOCK_SKEW), on_evictions=reporter(Reason.REDIS_EVICTS))
        """Asks the nodes of Redis."""
        self._metrics = metrics
        self._unanswered = unanswered
        self._concurrency_limit = 0
        self.drops = Drops(log, Dropped, (Dropped.SHED, Dropped.QUEUED), answer=settings.on_overload)
        self.drops.show(metrics)
        metrics.read_gauge(
            "rls_concurrency_limit",
            "Calls that may be in progress: fewer while calls wait for the CPU; 0 for no limit.",
            lambda: self._concurrency_limit,
        )
        self._cpu = cpu or CpuStat()
        show_throttling(metrics, self._cpu)
        text = "the CPU limit stopped this process in more than {share} of the periods of a minute: calls are late"
        report = enforcement.reporter(Reason.CPU_THROTTLED)
        self._shares = [
            Share(self._throttled, report, text, steps=_STEPS_OF_PERIODS, at_least=_FEWEST_PERIODS),
        ]
        if settings.on_overload != "deny":  # Envoy refuses those requests, so no limit is weaker
            text = "more than {share} of the calls of a minute were shed: they were not limited"
            self._shares.append(Share(self._shed, enforcement.reporter(Reason.CALLS_SHED), text, steps=_STEPS_OF_CALLS))

    def limited(self, calls: int) -> None:
        """So many *calls* may be in progress from now on."""
        self._concurrency_limit = calls

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.inspection.run())
            while True:
                self.look()
                await asyncio.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """Look once."""
        for share in self._shares:
            share.look()

    def _shed(self) -> tuple[int, int]:
        """Calls that were shed, and all calls."""
        return self.drops.shed, self._calls()

    def _throttled(self) -> tuple[int, int] | None:
        """Periods in which the CPU limit stopped this process, and all periods in which it ran."""
        found = self._cpu.read()
        return None if found is None else (found.throttled, found.periods)

    def _calls(self) -> int:
        return self._metrics.requests + sum(self._unanswered().values()) + self.drops.shed
