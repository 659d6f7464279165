"""Traces, where OpenTelemetry's environment variables ask for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from rls.app.stores import store_of
from rls.engine.events import Observer
from rls.observe.logs import Log
from rls.observe.metrics import Metrics
from rls.observe.otel import TraceVariables
from rls.observe.span_export import ENDED, FAILED, FULL, SpanExport
from rls.observe.traces import Traces

FLUSH_SECONDS = 3.0
"""What spans have to be exported after the last call."""


class Tracing:
    """Traces of one server. Off, it does nothing and costs nothing.

    Args:
        metrics: Shows what became of the spans.
        log: Gets what is wrong.
        scheme: Of the URL of the backend.
        environ: The environment variables.

    Attributes:
        observers: What hears events: nothing while traces are off.
    """

    def __init__(
        self,
        metrics: Metrics,
        log: Log,
        scheme: str,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._log = log
        self._export: SpanExport | None = None
        self._task: asyncio.Task[None] | None = None
        self.observers: Sequence[Observer] = ()
        variables = TraceVariables.read(environ)
        for problem in variables.problems:
            log.warning("tracing_setting_ignored", reason=problem)
        if variables.exporter:
            self._export = SpanExport(
                variables.exporter, most=variables.queue, delay=variables.delay, on_problem=self._lost
            )
            self._traces = Traces(self._export, variables, store=store_of(scheme))
            self.observers = (self._traces,)
        _register(metrics, self._export)

    def start(self) -> None:
        """Begin to export, in a task of the running loop."""
        if self._export is not None:
            self._task = asyncio.create_task(self._run(self._export), name="traces")

    async def _run(self, export: SpanExport) -> None:
        async with asyncio.TaskGroup() as tasks:
            forgetting = tasks.create_task(self._forget())
            await export.run()
            forgetting.cancel()

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._traces.forget()

    async def aclose(self) -> None:
        """Export what waits, for at most `FLUSH_SECONDS`."""
        if self._export is not None and self._task is not None:
            await self._export.aclose(self._task, FLUSH_SECONDS)

    def _lost(self, reason: str) -> None:
        self._log.warning("spans_lost", reason=reason)


def _register(metrics: Metrics, export: SpanExport | None) -> None:
    nothing = dict.fromkeys((FULL, FAILED, ENDED), 0)
    metrics.register_counter(
        "rls_spans_exported_total",
        "Spans that the collector of traces has accepted.",
        lambda: 0 if export is None else export.exported,
    )
    metrics.register_counter(
        "rls_spans_dropped_total",
        "Spans that could not be exported.",
        lambda: nothing if export is None else export.dropped,
        "reason",
    )
