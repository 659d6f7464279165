"""Whether the service can be relied upon, and if not, why: one answer for `/readyz` and for gRPC health."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rls.core.rules import OnBackendError
from rls.errors import BackendError
from rls.limiter import Limiter
from rls.transport.health import Health

_EVERY = 0.5
_PING_TIMEOUT = 1.0


class Readiness:
    """Watches the rules and the backend, and tells *health*.

    Not ready: no rules, no backend while no policy answers in its place, or draining. A pod that can still answer must
    stay in the load balancer. A configuration with mistakes is no reason: the last good rules are in force, and the pod
    that would take over has the same configuration.

    Args:
        ping: Asks the backend.
        on_change: Is told the reasons when they are others than before; none when it has become ready. Not of a drain,
            which its caller knows of.
    """

    def __init__(
        self,
        limiter: Limiter,
        ping: Callable[[], Awaitable[None]],
        health: Health,
        on_change: Callable[[list[str]], None] = lambda _: None,
    ) -> None:
        self._limiter = limiter
        self._ping = ping
        self._health = health
        self._on_change = on_change
        self._told: list[str] | None = None
        self._unreachable = "the backend has not been asked yet"
        self._asked = False
        self._draining = False

    @property
    def reasons(self) -> list[str]:
        """Why it is not ready; empty where it is."""
        needs_backend = self._limiter.policies.default is OnBackendError.ERROR
        reasons = []
        if self._draining:
            reasons.append("draining")
        if not self._limiter.loaded:
            reasons.append("no rules are loaded")
        if self._unreachable and (needs_backend or not self._asked):
            reasons.append(self._unreachable)
        return reasons

    @property
    def lacking(self) -> list[str]:
        """What it does without, whether or not it is ready."""
        failing = self._limiter.policies.reason
        if self._unreachable or failing:
            return [self._unreachable or f"the backend fails: {failing}"]
        return []

    @property
    def problems(self) -> list[str]:
        """Mistakes in the configuration, for which parts of it are not in force."""
        return list(map(str, self._limiter.problems))

    def drain(self) -> None:
        """Be ready no more."""
        self._draining = True
        self._told = self.reasons
        self._tell()

    async def look(self) -> None:
        """Find out anew."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT):
                await self._ping()
        except BackendError as error:
            self._unreachable = f"the backend cannot be reached: {error}"
        except TimeoutError:
            self._unreachable = "the backend does not answer"
        else:
            self._unreachable = ""
        self._asked = True
        self._tell()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    def _tell(self) -> None:
        reasons = self.reasons
        self._health.set(serving=not reasons)
        if reasons != self._told:
            self._told = reasons
            self._on_change(reasons)
