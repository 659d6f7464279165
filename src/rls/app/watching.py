"""Polls for conditions that weaken limits little by little and that no other part reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from rls.app.telemetry import Telemetry
from rls.engine.enforcement import Reason, Reporter
from rls.observe.cpu import CpuStat, register_throttling_metrics
from rls.observe.drops import Drops
from rls.observe.shares import Share
from rls.settings import Settings
from rls.stores.redis import Inspection
from rls.transport.base import Calls, Dropped

_POLL_SECONDS = 1.0
_SHED = (Dropped.SHED, Dropped.QUEUED, Dropped.LARGE, Dropped.INCOMPLETE)
_GAVE_UP = (Dropped.EXPIRED, Dropped.LATE, Dropped.CANCELLED)


class Watching:
    """Counts calls that were not decided, and polls every second for conditions that weaken limits.

    Args:
        settings: What shed calls are answered with.
        telemetry: Gets counts, reasons, and log lines when shedding begins and ends.
        inspection: Asks the nodes of Redis; run here.
        unanswered: Requests answered with a gRPC error, by cause.
        cpu: Whether the CPU limit stops this process.

    Attributes:
        drops: Calls that were not decided, or not in time.
        calls: Where the server says how many calls are in progress.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        inspection: Inspection,
        unanswered: Callable[[], Mapping[str, int]],
        *,
        cpu: CpuStat | None = None,
    ) -> None:
        reporter, metrics = telemetry.enforcement.reporter, telemetry.metrics
        self._metrics = metrics
        self._inspection = inspection
        self._unanswered = unanswered
        self._concurrency_limit = 0
        reasons = {str(why): (why.kind, why.reason) for why in Dropped}
        self.drops = Drops(telemetry.log, reasons, _SHED, answer=settings.on_overload)
        self.drops.register(metrics)
        self.calls = Calls()
        metrics.register_gauge(
            "rls_calls_in_progress",
            "Calls that are whole and not answered.",
            lambda: self.calls.in_progress(),  # noqa: PLW0108 - which one is known later
        )
        metrics.register_gauge(
            "rls_concurrency_limit",
            "Maximum of calls in progress; lower while calls wait for the CPU, 0 for no limit.",
            lambda: self._concurrency_limit,
        )
        self._cpu = cpu or CpuStat()
        register_throttling_metrics(metrics, self._cpu)
        self._shares = [self._late_calls(reporter(Reason.CALLS_LATE)), self._throttling(reporter(Reason.CPU_THROTTLED))]
        if settings.on_overload != "deny":  # Envoy refuses those requests, so no limit is weaker
            self._shares.append(self._shed_calls(reporter(Reason.CALLS_SHED)))

    def limited(self, calls: int) -> None:
        """So many *calls* may be in progress from now on."""
        self._concurrency_limit = calls

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._inspection.run())
            while True:
                self.poll()
                await asyncio.sleep(_POLL_SECONDS)

    def poll(self) -> None:
        """Poll once."""
        for share in self._shares:
            share.poll()

    def _shed_calls(self, report: Reporter) -> Share:
        text = "more than {share} of the calls of the last minute were shed and not limited"
        return Share(lambda: (self.drops.shed, self._calls()), report, text, steps=(0.001, 0.01, 0.1, 0.5))

    def _late_calls(self, report: Reporter) -> Share:
        """Calls whose callers gave up before the answer. Some clients of Envoy always disconnect in the middle of calls."""

        def read() -> tuple[int, int]:
            late = sum(self.drops.counts[reason] for reason in _GAVE_UP)
            return late, self._calls() + late

        text = "in the last minute, callers gave up on more than {share} of the calls before the answer"
        return Share(read, report, text, steps=(0.01, 0.1, 0.5), at_least=10)

    def _throttling(self, report: Reporter) -> Share:
        """Periods in which the CPU limit throttled this process. Ten of them are one second, as at a start or reload."""

        def read() -> tuple[int, int] | None:
            found = self._cpu.read()
            return None if found is None else (found.throttled, found.periods)

        text = "in the last minute, the CPU limit throttled this process in more than {share} of the periods: calls are late"
        return Share(read, report, text, steps=(0.05, 0.1, 0.25, 0.5), at_least=10)

    def _calls(self) -> int:
        return self._metrics.requests + sum(self._unanswered().values()) + self.drops.shed
