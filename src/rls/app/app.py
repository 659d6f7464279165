"""The composition root: settings → a running service, in which order it starts, and in which it stops."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import uvloop

from rls import __version__
from rls.api.health import Health
from rls.api.readiness import Readiness, wait_for_cause
from rls.api.service import Service
from rls.app.engine import Engine
from rls.app.interpreter import collect_garbage, freeze_garbage_collector, give_memory_back, switch_threads_often
from rls.app.listeners import Listeners
from rls.app.loading import Loading
from rls.app.overrides import open_overrides
from rls.app.supervise import Tasks
from rls.app.telemetry import Telemetry
from rls.app.transports import answers_of
from rls.app.watching import Watching
from rls.core.rules import OnBackendError, RuleSet
from rls.early_signals import in_terminal
from rls.engine.enforcement import HOLD_SECONDS, Reason, State
from rls.errors import SettingsError, Stopped, origin
from rls.settings import Settings
from rls.stores.redis import Inspection

Started: TypeAlias = Callable[[Mapping[str, str], RuleSet], None]
"""Called once the server answers, with the address of each listener and the rules in force."""


def run(settings: Settings, warnings: Sequence[tuple[str, str]] = (), started: Started = lambda _, __: None) -> None:
    """Serve until a signal stops it. *warnings*, event and text, are logged first.

    Raises:
        SettingsError: It cannot start.
        Stopped: A part of it ended.
    """
    switch_threads_often()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(App(settings).serve(warnings, started))


class App:
    """A service and everything around it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.telemetry = Telemetry(settings)
        self.log, enforcement = self.telemetry.log, self.telemetry.enforcement
        inspection = Inspection(
            on_skew=enforcement.reporter(Reason.CLOCK_SKEW),
            on_evictions=enforcement.reporter(Reason.REDIS_EVICTS),
            on_lost=enforcement.reporter(Reason.COUNTERS_LOST),
        )
        self.engine = Engine(settings, self.telemetry, inspection, self._store_changed)
        limiter, policies = self.engine.limiter, self.engine.policies
        self.loading = Loading(settings, self.engine.rulebook, enforcement, self.telemetry.events)
        self.service = Service(
            limiter,
            answers=answers_of(settings),
            on_ignored=self.telemetry.events.override_ignored,
            on_bug=self._check_failed,
        )
        self.health = Health(on_stall=self._stalled)
        self.readiness = Readiness(
            enforcement,
            self.health,
            policies.ping,
            failing=lambda: policies.reason,
            needs_backend=policies.default is OnBackendError.ERROR,
            on_change=self._readiness_changed,
        )
        self.overrides = open_overrides(settings, self.telemetry, self.engine)
        self.watching = Watching(settings, self.telemetry, inspection, lambda: self.service.unanswered)
        self.listeners = Listeners(
            settings,
            self.telemetry,
            self.engine,
            self.service,
            self.health,
            self.readiness,
            self.watching,
            self.overrides,
        )
        self._show_numbers()
        self._stop = asyncio.Event()
        self._tasks = Tasks(self._task_ended)
        self._ended = ""
        self._drain_seconds = settings.drain_timeout

    async def serve(self, warnings: Sequence[tuple[str, str]], started: Started) -> None:
        """Start, serve until a signal stops it, drain.

        Raises:
            SettingsError: It cannot start.
            Stopped: A part of it ended, so the service drained and stopped.
        """
        self._handle_signals()
        for event, text in warnings:
            self.log.warning(event, reason=text)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.telemetry.aclose)
            stack.push_async_callback(self.engine.aclose)
            if await self._unless_stopped(self._start(stack, started)):
                await self._stop.wait()
                self.log.info("drain_started", seconds=self._drain_seconds)
                self.readiness.drain()
                await asyncio.sleep(self._drain_seconds)
                await self.listeners.grpc.aclose()
        self.log.info("server_stopped")
        if self._ended:
            raise Stopped(self._ended)

    async def _start(self, stack: AsyncExitStack, started: Started) -> None:
        """Load, listen and answer; *stack* gets what is to be closed."""
        self.telemetry.tracing.start()
        await self.loading.start()
        await self.engine.replicas.poll()
        for name, server in self.listeners.all.items():
            stack.push_async_callback(server.aclose)
            try:
                await server.start()
            except SettingsError as error:
                raise SettingsError(f"--{name}: {error}") from error
        stack.push_async_callback(self._tasks.aclose)
        self._keep_listeners()
        await wait_for_cause(self.engine.store.ping)
        await self.overrides.poll()
        await self.readiness.poll()
        self._keep_tasks()
        freeze_garbage_collector()
        addresses = self.listeners.addresses
        pseudonyms = self.engine.pseudonyms
        hashing = {} if pseudonyms is None else {"hash_secret_id": pseudonyms.secret_id}
        self.log.info("server_started", version=__version__, backend=str(self.settings.backend), **addresses, **hashing)
        started(addresses, self.engine.limiter.rules)

    def _keep_listeners(self) -> None:
        for name, server in self.listeners.all.items():
            self._tasks.keep(f"{name} server", server.ended())
            self._tasks.keep(f"{name} listener", server.listening())
        self._tasks.keep("health", self.health.run())

    def _keep_tasks(self) -> None:
        self._tasks.keep("loop turns", self.telemetry.loop_turns.run())
        self._tasks.keep("traffic", self.telemetry.traffic.run())
        self._tasks.keep("readiness", self.readiness.run())
        if not self.engine.replicas.fixed:
            self._tasks.keep("replicas", self.engine.replicas.run())
        self._tasks.keep("loading", self.loading.run())
        self._tasks.keep("overrides", self.overrides.run())
        self._tasks.keep("watching", self.watching.run())
        self._tasks.keep("garbage collection", collect_garbage())
        self._tasks.keep("memory", give_memory_back())

    async def _unless_stopped(self, start: Coroutine[Any, Any, None]) -> bool:
        """Whether *start* ended; False where a signal to stop came first and it was cut short.

        Raises:
            SettingsError: It cannot start.
        """
        starting, stopping = asyncio.create_task(start), asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            starting.result()
            return True
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False

    def _show_numbers(self) -> None:
        """Add to the metrics what is counted elsewhere."""
        metrics = self.telemetry.metrics
        metrics.register_gauge("rls_ready", "1 if /readyz answers 200, else 0.", lambda: int(self.readiness.ready))
        metrics.register_counter(
            "rls_request_errors_total",
            "Requests answered with a gRPC error.",
            lambda: self.service.unanswered,
            "reason",
        )

    def _stalled(self, seconds: float) -> None:
        text = f"the event loop was blocked for {seconds:.1f} s" if seconds else ""
        self.telemetry.enforcement.report(Reason.STALLED, text, state=State.OFF)

    def _check_failed(self, error: BaseException) -> None:
        kind = type(error).__name__
        text = f"a check failed and was not limited: {kind} in {origin(error)}; the log has the traceback"
        self.telemetry.enforcement.report(Reason.INTERNAL_ERROR, text, seconds=HOLD_SECONDS)

    def _store_changed(self, reason: str) -> None:
        self.telemetry.events.backend_changed(reason)
        self.readiness.report_backend()

    def _readiness_changed(self, ready: bool) -> None:
        if ready:
            self.log.info("server_ready")
        else:
            weaknesses = self.telemetry.enforcement.weaknesses
            self.log.warning(
                "server_not_ready", reason="; ".join(found.text for found in weaknesses if found.state is State.OFF)
            )

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopped_by, signal.SIGTERM)
        attended = in_terminal()
        loop.add_signal_handler(signal.SIGINT, self._stopped_by, signal.SIGINT, attended)
        if attended:
            loop.add_signal_handler(signal.SIGHUP, self._stopped_by, signal.SIGHUP, attended)
        else:
            loop.add_signal_handler(signal.SIGHUP, self._hung_up)

    def _hung_up(self) -> None:
        self.loading.request()
        self.telemetry.decisions.reopen()

    def _stopped_by(self, number: signal.Signals, attended: bool = False) -> None:
        """Stop; where somebody in a terminal does so, without the time in which callers move to other servers."""
        if self._stop.is_set():
            self.log.warning("forced_shutdown", signal=number.name)
            os._exit(128 + number)
        if attended:
            self._drain_seconds = 0.0
        self._stop.set()

    def _task_ended(self, name: str, error: BaseException | None) -> None:
        """A task that the service needs ended: report it, drain, and exit with an error, so that Kubernetes restarts it."""
        if self._stop.is_set():
            return
        self._ended = f"the {name} ended: {error or 'unknown cause'}"
        self.log.error("task_ended", task=name, exc_info=error)
        self.telemetry.enforcement.report(Reason.STOPPED, self._ended, state=State.OFF)
        self._stop.set()
