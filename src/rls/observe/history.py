"""What happened: the last loads of rules, and the last changes of the enforcement state."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rls.core.overrides import Override
from rls.engine.changes import Changes
from rls.engine.enforcement import Reason, Weakness
from rls.engine.events import Observer, RulesLoaded, RulesRejected
from rls.errors import Diagnostic
from rls.utc import utc

REVISIONS, EVENTS = 20, 200
LONGEST_TEXT = 500
FILES = 20
LOADED, REJECTED = "rules_loaded", "rules_rejected"
OVERRIDE_BEGAN, OVERRIDE_ENDED = "override_began", "override_ended"
BEGAN, CHANGED, ENDED = "reason_began", "reason_changed", "reason_ended"


class Load(NamedTuple):
    """One load of rules.

    Attributes:
        at: When it was put in force, in Unix seconds.
        before: The revision before; "" for the first one.
        revision: The revision since.
        rules: Number of rules since.
        changes: What differs.
        files: The first `FILES` of the files that it was read from.
        files_total: Number of them.
        errors: The first errors for which parts of the files are not in force.
        errors_total: Number of them.
        began: Overrides that hold since then.
        ended: Overrides that hold no more.
    """

    at: float
    before: str
    revision: str
    rules: int
    changes: Changes
    files: tuple[str, ...]
    files_total: int
    errors: tuple[str, ...]
    errors_total: int
    began: tuple[Override, ...] = ()
    ended: tuple[Override, ...] = ()


class Event(NamedTuple):
    """One change of state.

    Attributes:
        at: When, in Unix seconds.
        kind: LOADED, REJECTED, OVERRIDE_BEGAN, OVERRIDE_ENDED, BEGAN, CHANGED or ENDED, or what somebody changed.
        text: What happened, for people.
        reason: Of the enforcement state; "" for loads.
        state: What the reason alone makes the enforcement state; "" for loads.
        seconds: How long a reason that ended had held; 0 for the others.
        revision: Since a load; "" for the others.
    """

    at: float
    kind: str
    text: str
    reason: str = ""
    state: str = ""
    seconds: float = 0.0
    revision: str = ""


class History(Observer):
    """An `Observer` that keeps the last loads and events.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._loads: deque[Load] = deque(maxlen=REVISIONS)
        self._events: deque[Event] = deque(maxlen=EVENTS)
        self._held: set[Reason] = set()

    @property
    def loads(self) -> Sequence[Load]:
        """The last `REVISIONS` loads, the newest first."""
        return tuple(reversed(self._loads))

    @property
    def events(self) -> Sequence[Event]:
        """The last `EVENTS` events, the newest first."""
        return tuple(reversed(self._events))

    def rules_loaded(self, event: RulesLoaded) -> None:
        """New rules are in force. A load that changes nothing, as on a signal, is not kept."""
        last = self._loads[-1] if self._loads else None
        before = "" if last is None else last.revision
        errors = event.diagnostics
        if last is not None and before == event.rules.revision and last.errors == _texts(errors):
            return
        self._loads.append(
            Load(
                event.at,
                before,
                event.rules.revision,
                event.rules.size(),
                event.changes,
                event.files[:FILES],
                len(event.files),
                _texts(errors),
                len(errors),
                tuple(event.began),
                tuple(event.ended),
            )
        )
        for kind, overrides in ((OVERRIDE_ENDED, event.ended), (OVERRIDE_BEGAN, event.began)):
            for one in overrides:
                said = f"{one} until {utc(one.until)}, by {one.author}: {one.reason}"[:LONGEST_TEXT]
                self._events.append(Event(event.at, kind, said, revision=event.rules.revision))
        if not event.is_load:
            return
        text = event.changes.counted + (f", {len(errors)} errors" if errors else "")
        self._events.append(Event(event.at, LOADED, text, revision=event.rules.revision))

    def rules_rejected(self, event: RulesRejected) -> None:
        """A configuration has mistakes."""
        first = _texts(event.diagnostics[:1])
        text = f"{len(event.diagnostics)} errors" + (f", first {first[0]}" if first else "")
        self._events.append(Event(event.at, REJECTED, text))

    def changed(self, kind: str, text: str) -> None:
        """Somebody changed something."""
        self._events.append(Event(self._clock(), kind, text[:LONGEST_TEXT]))

    def reason_changed(self, weakness: Weakness, holds: bool) -> None:
        """See `EnforcementState.listen`."""
        reason, now = weakness.reason, self._clock()
        kind = ENDED if not holds else CHANGED if reason in self._held else BEGAN
        if holds:
            self._held.add(reason)
        else:
            self._held.discard(reason)
        seconds = 0.0 if holds else max(0.0, now - weakness.since)
        text = weakness.text[:LONGEST_TEXT]
        self._events.append(Event(now, kind, text, str(reason), str(weakness.state), seconds))


def _texts(errors: Sequence[Diagnostic]) -> tuple[str, ...]:
    return tuple(str(error)[:LONGEST_TEXT] for error in errors[:FILES])
