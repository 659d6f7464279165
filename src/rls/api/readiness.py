"""Whether to send calls here: one answer for `/readyz` and for gRPC health, from the enforcement state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rls.api.health import Health
from rls.engine.enforcement import EnforcementState, Reason, State
from rls.errors import BackendError, TimedOut

_POLL_SECONDS = 0.5
_PING_TIMEOUT = 1.0
_CANNOT_COUNT = "the backend cannot count"


async def wait_for_cause(ping: Callable[[], Awaitable[None]], seconds: float = 0.7) -> None:
    """Return when *ping* succeeds or says why it cannot; after *seconds* at the latest.

    A call has a few milliseconds, and a connection that is yet to be opened needs more: that it was not there in time says
    nothing of a wrong password.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        try:
            async with asyncio.timeout_at(end):
                await ping()
        except TimedOut:
            await asyncio.sleep(0.02)
        except (BackendError, TimeoutError):
            return
        else:
            return


class Readiness:
    """Polls the backend, reports what it finds to *enforcement*, and sets *health*.

    A pod is ready as long as it limits anything: in the states `enforced` and `degraded`. It is not ready in the state
    `off`, while it drains, and while its loop stands still.

    Args:
        enforcement: Why limits are weaker than written.
        health: What gRPC health checks are answered.
        ping: Asks the backend. Its error has counts where some nodes can count.
        failing: Why the backend fails, found out by calls and by *ping*; "" while it does not. Its text is reported, so
            that one cause has one text.
        needs_backend: Whether no policy answers while the backend is away, so that nothing is answered then.
        on_change: Called with `ready` after each change, but for a drain.
    """

    def __init__(
        self,
        enforcement: EnforcementState,
        health: Health,
        ping: Callable[[], Awaitable[None]],
        *,
        failing: Callable[[], str] = lambda: "",
        needs_backend: bool = False,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.enforcement = enforcement
        self.draining = False
        self._health = health
        self._ping = ping
        self._failing = failing
        self._needs_backend = needs_backend
        self._on_change = on_change
        self._was_ready: bool | None = None
        self._silent = ""
        self._state = State.DEGRADED
        enforcement.report(Reason.STARTING, "the backend has not been polled yet", state=State.OFF)
        enforcement.listen(lambda _, __: self._update())

    @property
    def ready(self) -> bool:
        """Whether to send calls here."""
        return self._usable and self._health.turning

    @property
    def _usable(self) -> bool:
        return not self.draining and self.enforcement.state is not State.OFF

    def drain(self) -> None:
        """Be ready no more."""
        self.draining = True
        self._update()

    async def poll(self) -> None:
        """Ask the backend once."""
        self._silent, self._state = "", State.DEGRADED
        some_answer = False
        try:
            async with asyncio.timeout(_PING_TIMEOUT):
                await self._ping()
        except BackendError as error:
            self._silent, some_answer = f"{_CANNOT_COUNT}: {error}", bool(error.counts)
        except TimeoutError:
            self._silent = "the backend does not answer"
        if self._silent and self._needs_backend and not some_answer:
            self._state = State.OFF
        self.report_backend()
        self.enforcement.report(Reason.STARTING, "")
        self.enforcement.expire()
        self._update()

    def report_backend(self) -> None:
        """Report what the last poll and the calls since then found."""
        failing = self._failing()
        text = f"{_CANNOT_COUNT}: {failing}" if failing else self._silent
        self.enforcement.report(Reason.BACKEND_UNAVAILABLE, text, state=self._state)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(_POLL_SECONDS)

    def _update(self) -> None:
        usable = self._usable
        self._health.set(serving=usable)
        starting = self.enforcement.find(Reason.STARTING) is not None
        if usable is not self._was_ready and not self.draining and not starting:
            self._was_ready = usable
            self._on_change(usable)
