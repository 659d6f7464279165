"""What happens to the stage when it is asked for: four minutes with a hanging Valkey, new rules and a pod that is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console

from examples.observe.stage import Stage


class Event(NamedTuple):
    """What happened, and when in Unix seconds."""

    at: float
    text: str


class _Step(NamedTuple):
    after_seconds: float
    text: str
    do: Callable[[Stage], None]


def _tighten(running: Stage) -> None:
    running.rules.write_text(running.rules.read_text().replace("requests_per_unit: 20", "requests_per_unit: 8"))


STEPS: Sequence[_Step] = (
    _Step(60, "Valkey hangs", lambda running: running.valkey.send(signal.SIGSTOP)),
    _Step(30, "Valkey answers again", lambda running: running.valkey.send(signal.SIGCONT)),
    _Step(40, "a push: companies get 8 a second instead of 20", _tighten),
    _Step(50, "both rls hang: Envoy asks in vain", lambda running: _both(running, signal.SIGSTOP)),
    _Step(10, "both rls go on", lambda running: _both(running, signal.SIGCONT)),
    _Step(50, "the end", lambda _: None),
)


def _both(running: Stage, number: signal.Signals) -> None:
    for rls in running.rls:
        rls.send(number)


def act(console: Console, running: Stage) -> list[Event]:
    """Go through `STEPS`; what happened."""
    happened = []
    for step in STEPS:
        time.sleep(step.after_seconds)
        step.do(running)
        happened.append(Event(time.time(), step.text))
        console.print(f"{time.strftime('%H:%M:%S')} {step.text}")
    return happened
