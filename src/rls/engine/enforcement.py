"""Whether limits are enforced as configured, and if not, why.

One object holds the state. `/readyz`, gRPC health, metrics, the log and the admin address read it. Every condition that
weakens limits is reported here; docs/operations.md says what each reason means and what to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

HOLD_SECONDS = 60.0
"""How long a reason of single events, such as refused connections, holds after the last event."""


class State(StrEnum):
    """ENFORCED: as configured. DEGRADED: some limits are weaker. OFF: nothing is limited, or nothing is answered."""

    ENFORCED = "enforced"
    DEGRADED = "degraded"
    OFF = "off"


class Reason(StrEnum):
    """Why limits are not enforced as configured."""

    STARTING = "starting"
    NO_RULES = "no_rules"
    RULES_INVALID = "rules_invalid"
    RULES_LOST = "rules_lost"
    RULES_NOT_READ = "rules_not_read"
    RULES_NOT_POLLED = "rules_not_polled"
    RULE_SOURCE_FAILED = "rule_source_failed"
    OVERRIDES_NOT_READ = "overrides_not_read"
    BACKEND_UNAVAILABLE = "backend_unavailable"
    COUNTER_REFUSED = "counter_refused"
    TTL_REFUSED = "ttl_refused"
    NO_ROOM = "no_room"
    INTERNAL_ERROR = "internal_error"
    REPLICAS_UNKNOWN = "replicas_unknown"
    MEMORY_NOT_SHARED = "memory_not_shared"
    SHADOW_MODE = "shadow_mode"
    QUOTA_MODE = "quota_mode"
    CONNECTIONS_REFUSED = "connections_refused"
    FILE_DESCRIPTORS_EXHAUSTED = "file_descriptors_exhausted"
    CERTIFICATE_NOT_LOADED = "certificate_not_loaded"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CALLS_SHED = "calls_shed"
    CALLS_LATE = "calls_late"
    CPU_THROTTLED = "cpu_throttled"
    CLOCK_SKEW = "clock_skew"
    REDIS_EVICTS = "redis_evicts"
    COUNTERS_LOST = "counters_lost"
    STALLED = "stalled"
    STOPPED = "stopped"


class Weakness(NamedTuple):
    """One reason that holds.

    Attributes:
        reason: Which one.
        text: What happened, for users.
        state: OFF or DEGRADED.
        since: When it began, in Unix seconds. A new text does not restart it.
    """

    reason: Reason
    text: str
    state: State
    since: float


Reporter: TypeAlias = Callable[[str], None]
"""Takes the text of a reason that begins, goes on or changes; "" ends it."""


class EnforcementState:
    """The reasons that hold now. Belongs to one thread.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._found: dict[Reason, Weakness] = {}
        self._until: dict[Reason, float] = {}
        self._listeners: list[Callable[[Weakness, bool], None]] = []
        self.since = clock()
        """When `state` took its value, in Unix seconds."""
        self._state = State.ENFORCED

    @property
    def state(self) -> State:
        """The worst of all reasons."""
        return self._state

    def state_besides(self, reason: Reason) -> State:
        """The worst of all reasons but *reason*."""
        return _worst(found.state for found in self._found.values() if found.reason is not reason)

    def find(self, reason: Reason) -> Weakness | None:
        """The weakness of *reason*; None while it does not hold."""
        return self._found.get(reason)

    @property
    def weaknesses(self) -> Sequence[Weakness]:
        """The reasons that hold: OFF first, then in the order of their begin."""
        return sorted(self._found.values(), key=lambda found: (found.state is not State.OFF, found.since))

    def listen(self, listener: Callable[[Weakness, bool], None]) -> None:
        """Call *listener* when a reason begins or changes (True) and when it ends (False)."""
        self._listeners.append(listener)

    def report(self, reason: Reason, text: str, *, state: State = State.DEGRADED, seconds: float | None = None) -> None:
        """Report that *reason* holds because of *text*; "" ends it.

        Args:
            reason: Which one.
            text: What happened, for users.
            state: OFF or DEGRADED.
            seconds: How long it holds unless it is reported again; None: until it is ended. Requests report such reasons,
                each with its own text: the first text stays, so that clients cannot fill the log.
        """
        before = self._found.get(reason)
        if not text:
            self._end(reason)
            return
        if seconds is None:
            self._until.pop(reason, None)
        else:
            self._until[reason] = self._clock() + seconds
        if before is not None and before.state is state and (seconds is not None or before.text == text):
            return
        found = Weakness(reason, text, state, self._clock() if before is None else before.since)
        self._found[reason] = found
        self._update_state()
        for listener in self._listeners:
            listener(found, True)

    def reporter(self, reason: Reason, *, state: State = State.DEGRADED, seconds: float | None = None) -> Reporter:
        """`report` for one *reason*, for modules that do not know this object."""
        return lambda text: self.report(reason, text, state=state, seconds=seconds)

    def expire(self) -> None:
        """End the reasons whose time is over. Call it about every second."""
        now = self._clock()
        for reason in [reason for reason, until in self._until.items() if until <= now]:
            self._end(reason)

    def _end(self, reason: Reason) -> None:
        self._until.pop(reason, None)
        ended = self._found.pop(reason, None)
        if ended is not None:
            self._update_state()
            for listener in self._listeners:
                listener(ended, False)

    def _update_state(self) -> None:
        state = _worst(found.state for found in self._found.values())
        if state is not self._state:
            self._state, self.since = state, self._clock()


def _worst(states: Iterable[State]) -> State:
    found = set(states)
    return State.OFF if State.OFF in found else State.DEGRADED if found else State.ENFORCED
