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
from rls.api.http import admin_app, public_app
from rls.api.json_token import JsonToken
from rls.api.readiness import Readiness, wait_for_cause
from rls.api.service import Service
from rls.app.interpreter import collect_garbage, freeze_garbage_collector, give_memory_back, switch_threads_often
from rls.app.loading import Loading
from rls.app.replicas import Replicas
from rls.app.stores import open_backend
from rls.app.supervise import Tasks
from rls.app.transports import Sockets, answers_of, handlers_of, open_transport
from rls.app.watching import Watching
from rls.core.decide import Modes
from rls.core.keys import KeyFormat
from rls.core.plan import CountingOptions
from rls.core.rules import OnBackendError, RuleSet
from rls.engine.enforcement import HOLD_SECONDS, EnforcementState, Reason, State
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.engine.refunds import ImmediateRefunds, Refunds
from rls.errors import Stopped
from rls.observe.enforcement import log_enforcement, register_enforcement_metrics
from rls.observe.failure_policies import register_failure_policy_metrics, register_refund_metrics
from rls.observe.logs import EventLog, Log, configure
from rls.observe.loop_turns import LoopTurns, register_loop_turn_metrics
from rls.observe.metrics import CONTENT_TYPE, Metrics
from rls.settings import Settings
from rls.stores.memory import MemoryStore
from rls.transport.base import ServerReports, Transport
from rls.transport.http1.listener import HttpListener

Started: TypeAlias = Callable[[Mapping[str, str], RuleSet], None]
"""Is told, once the server answers, where each of its servers listens and which rules are in force."""


def run(settings: Settings, warnings: Sequence[str] = (), started: Started = lambda _, __: None) -> None:
    """Serve until told to stop; *warnings* are logged first.

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
        self.log: Log = configure(settings.log_level, settings.log_format)
        self.metrics = Metrics(version=__version__)
        self.enforcement = EnforcementState()
        self.watching = Watching(settings, self.log, self.metrics, self.enforcement, lambda: self.service.unanswered)
        self.backend = open_backend(
            settings, self.metrics, self.enforcement.reporter(Reason.TTL_REFUSED), self.watching.inspection
        )
        log_enforcement(self.log, self.enforcement)
        register_enforcement_metrics(self.metrics, self.enforcement)
        self.sockets = Sockets(self.metrics, self.enforcement)
        self.event_log = EventLog(self.log)
        self.replicas = Replicas(
            settings.replicas,
            on_count=self._report_sharing,
            unknown=self.enforcement.reporter(Reason.REPLICAS_UNKNOWN),
        )
        self.policies = FailurePolicies(
            self.backend,
            default=OnBackendError(settings.on_backend_error),
            replicas=lambda: self.replicas.count,
            on_change=self._backend_changed,
            on_no_room=self.enforcement.reporter(Reason.NO_ROOM, seconds=HOLD_SECONDS),
            on_refused=self.enforcement.reporter(Reason.COUNTER_REFUSED, seconds=HOLD_SECONDS),
        )
        self.limiter = Limiter(
            self.backend,
            policies=self.policies,
            refunds=(ImmediateRefunds if isinstance(self.backend, MemoryStore) else Refunds)(self.backend),
            counting=CountingOptions(
                settings.near_limit_ratio,
                KeyFormat(settings.key_format),
                settings.key_prefix,
                charge_refused=settings.charge_refused,
            ),
            modes=Modes(settings.shadow_mode, settings.quota_mode),
            observers=(self.metrics, self.event_log),
        )
        self.service = Service(self.limiter, answers=answers_of(settings), on_ignored=self.event_log.override_ignored)
        self.health = Health(on_stall=self._stalled)
        self.loop_turns = LoopTurns()
        self.readiness = Readiness(
            self.enforcement,
            self.health,
            self.policies.ping,
            failing=lambda: self.policies.reason,
            needs_backend=self.policies.default is OnBackendError.ERROR,
            on_change=self._readiness_changed,
        )
        self._report_modes()
        self._show_numbers()
        self.loading = Loading(settings, self.limiter, self.enforcement, self.event_log)
        self._stop = asyncio.Event()
        self._tasks = Tasks(self._task_ended)
        self._ended = ""

    async def serve(self, warnings: Sequence[str], started: Started) -> None:
        """Start, serve until told to stop, drain.

        Raises:
            SettingsError: It cannot start.
            Stopped: A part of it ended, so it drained as if told to.
        """
        self._handle_signals()
        for warning in warnings:
            self.log.warning("setting_ignored", reason=warning)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.backend.aclose)
            stack.push_async_callback(self.policies.aclose)
            stack.push_async_callback(self.limiter.refunds.aclose)
            grpc = await self._unless_stopped(self._start(stack, started))
            if grpc is not None:
                await self._stop.wait()
                self.log.info("draining", seconds=self.settings.drain)
                self.readiness.drain()
                await asyncio.sleep(self.settings.drain)
                await grpc.aclose()
        self.log.info("stopped")
        if self._ended:
            raise Stopped(self._ended)

    async def _start(self, stack: AsyncExitStack, started: Started) -> Transport:
        """Load, listen and answer; what is to be closed goes to *stack*."""
        await self.loading.start()
        await self.replicas.look()
        http, admin = self._http()
        grpc = self._grpc()
        servers = {"grpc": grpc, "http": http, "admin": admin}
        for server in servers.values():
            if server is not None:
                stack.push_async_callback(server.aclose)
                await server.start()
        stack.push_async_callback(self._tasks.aclose)
        for name, server in servers.items():
            if server is not None:
                self._tasks.keep(f"{name} server", server.ended())
                self._tasks.keep(f"{name} listener", server.listening())
        self._tasks.keep("health", self.health.run())
        self._tasks.keep("loop turns", self.loop_turns.run())
        await wait_for_cause(self.backend.ping)
        await self.readiness.poll()
        self._tasks.keep("readiness", self.readiness.run())
        if not self.replicas.fixed:
            self._tasks.keep("replicas", self.replicas.run())
        self._tasks.keep("loading", self.loading.run())
        self._tasks.keep("watching", self.watching.run())
        self._tasks.keep("garbage collection", collect_garbage())
        self._tasks.keep("memory", give_memory_back())
        freeze_garbage_collector()
        addresses = {"grpc": grpc.address, "http": _address(http), "admin": _address(admin)}
        self.log.info("started", version=__version__, backend=str(self.settings.backend), **addresses)
        started(addresses, self.limiter.rules)
        return grpc

    async def _unless_stopped(self, start: Coroutine[Any, Any, Transport]) -> Transport | None:
        """What *start* returns; None where it was cut short, since the process is to stop.

        Raises:
            SettingsError: It cannot start.
        """
        starting, stopping = asyncio.create_task(start), asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            return starting.result()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return None

    def _show_numbers(self) -> None:
        """Add to the metrics what is counted elsewhere."""
        metrics = self.metrics
        metrics.register_gauge("rls_ready", "1 where /readyz says yes, else 0.", lambda: int(self.readiness.ready))
        metrics.register_counter(
            "rls_unanswered_total",
            "Requests that got an error for an answer.",
            lambda: self.service.unanswered,
            "reason",
        )
        register_failure_policy_metrics(metrics, self.policies, lambda: self.replicas.count)
        register_refund_metrics(metrics, self.limiter.refunds)
        register_loop_turn_metrics(metrics, self.loop_turns)

    def _report_modes(self) -> None:
        """Report the modes of the whole server that weaken rules."""
        report, modes = self.enforcement.report, self.limiter.modes
        report(Reason.SHADOW_MODE, "--shadow-mode answers OK to every request" if modes.shadow_mode else "")
        report(
            Reason.QUOTA_MODE, "--quota-mode lets a request pass if any of its limits does" if modes.quota_mode else ""
        )

    def _report_sharing(self, replicas: int) -> None:
        """Report whether *replicas* servers count apart."""
        apart = replicas > 1 and self.settings.backend.scheme == "memory"
        text = f"{replicas} servers count in memory, each for itself: they let {replicas} times the limits pass"
        self.enforcement.report(Reason.MEMORY_NOT_SHARED, text if apart else "")

    def _stalled(self, seconds: float) -> None:
        text = f"the event loop stood still for {seconds:.1f} s" if seconds else ""
        self.enforcement.report(Reason.STALLED, text, state=State.OFF)

    def _backend_changed(self, reason: str) -> None:
        self.event_log.backend_changed(reason)
        self.readiness.report_backend()

    def _readiness_changed(self, ready: bool) -> None:
        if ready:
            self.log.info("ready")
        else:
            texts = [found.text for found in self.enforcement.weaknesses if found.state is State.OFF]
            self.log.warning("not_ready", reason="; ".join(texts))

    def _grpc(self) -> Transport:
        sockets = self.sockets
        reports = ServerReports(self.watching.drops.add, self.watching.limited, sockets.grpc, sockets.certificate)
        handlers = handlers_of(self.settings, self.service, self.health)
        return open_transport(self.settings, handlers, reports)

    def _http(self) -> tuple[HttpListener | None, HttpListener | None]:
        """The public and the admin server, where they are asked for."""
        settings = self.settings
        public = public_app(
            self.service,
            self.readiness,
            lambda: self.limiter.problems,
            self.metrics.expose,
            CONTENT_TYPE,
            json_checks=settings.json_checks,
            json_token=JsonToken(settings.json_token_file) if settings.json_token_file else None,
        )
        return (
            HttpListener(public, settings.http, counted=self.sockets.http) if settings.http else None,
            HttpListener(admin_app(self.limiter), settings.admin, name="admin", counted=self.sockets.admin)
            if settings.admin
            else None,
        )

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped_by, number)
        loop.add_signal_handler(signal.SIGHUP, self.loading.request)

    def _stopped_by(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            self.log.warning("stopped_at_once", signal=number.name)
            os._exit(128 + number)
        self._stop.set()

    def _task_ended(self, name: str, error: BaseException | None) -> None:
        """Something ended that the service lives by: say so, drain, and end with an error, for a fresh start."""
        if self._stop.is_set():
            return
        self._ended = f"the {name} ended: {error or 'nobody knows why'}"
        self.log.error("task_ended", task=name, exc_info=error)
        self.enforcement.report(Reason.STOPPED, self._ended, state=State.OFF)
        self._stop.set()


def _address(server: HttpListener | None) -> str:
    return "off" if server is None else server.address
