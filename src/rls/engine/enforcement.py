"""Whether limits are enforced as the YAML says, and if not, why.

One object holds the answer. `/readyz`, gRPC health, metrics, the log and the admin address read it. Whatever makes limits
weaker reports its reason here; docs/operations.md says for each reason what it means and what to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

HOLD_SECONDS = 60.0
"""How long a reason holds that single events bring about, such as a connection that is refused, after the last of them."""


class State(StrEnum):
    """ENFORCED: as written. DEGRADED: something is weaker than written. OFF: nothing is limited, or nothing is answered."""

    ENFORCED = "enforced"
    DEGRADED = "degraded"
    OFF = "off"


class Reason(StrEnum):
    """Why limits are not enforced as written."""

    STARTING = "starting"
    NO_RULES = "no_rules"
    RULES_INVALID = "rules_invalid"
    RULES_LOST = "rules_lost"
    RULES_NOT_READ = "rules_not_read"
    RULES_NOT_POLLED = "rules_not_polled"
    BACKEND_UNAVAILABLE = "backend_unavailable"
    COUNTER_REFUSED = "counter_refused"
    TTL_REFUSED = "ttl_refused"
    NO_ROOM = "no_room"
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
    STALLED = "stalled"
    STOPPED = "stopped"


class Weakness(NamedTuple):
    """One reason that holds.

    Attributes:
        reason: Which one.
        text: What happened, for people.
        state: OFF or DEGRADED.
        since: When it began, in Unix seconds; a text that changes does not begin it anew.
    """

    reason: Reason
    text: str
    state: State
    since: float


Reporter: TypeAlias = Callable[[str], None]
"""Is given the text of a reason that begins, goes on or changes; "" ends it."""


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

    def find(self, reason: Reason) -> Weakness | None:
        """What holds for *reason*; None where it does not hold."""
        return self._found.get(reason)

    @property
    def weaknesses(self) -> Sequence[Weakness]:
        """The reasons that hold: OFF first, then by the time when they began."""
        return sorted(self._found.values(), key=lambda found: (found.state is not State.OFF, found.since))

    def listen(self, listener: Callable[[Weakness, bool], None]) -> None:
        """Call *listener* when a reason begins or changes (True), and when it has ended (False)."""
        self._listeners.append(listener)

    def report(self, reason: Reason, text: str, *, state: State = State.DEGRADED, seconds: float | None = None) -> None:
        """*reason* holds, for *text*; "" ends it.

        Args:
            reason: Which one.
            text: What happened, for people.
            state: OFF or DEGRADED.
            seconds: How long it holds unless it is reported again; until it is ended where None. Requests report such
                reasons, each with a text of its own: the first text stays, so that clients cannot fill the log.
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
        self._settle()
        for listener in self._listeners:
            listener(found, True)

    def reporter(self, reason: Reason, *, state: State = State.DEGRADED, seconds: float | None = None) -> Reporter:
        """`report` for one *reason*, for those who know nothing of this object."""
        return lambda text: self.report(reason, text, state=state, seconds=seconds)

    def expire(self) -> None:
        """End the reasons whose time is over; to be called every second or so."""
        now = self._clock()
        for reason in [reason for reason, until in self._until.items() if until <= now]:
            self._end(reason)

    def _end(self, reason: Reason) -> None:
        self._until.pop(reason, None)
        ended = self._found.pop(reason, None)
        if ended is not None:
            self._settle()
            for listener in self._listeners:
                listener(ended, False)

    def _settle(self) -> None:
        states = {found.state for found in self._found.values()}
        state = State.OFF if State.OFF in states else State.DEGRADED if states else State.ENFORCED
        if state is not self._state:
            self._state, self.since = state, self._clock()
