"""How much CPU each turn of the loop takes while rules are loaded.

In this process, without a server: other programs on the machine make a turn longer by the clock, but not in CPU. A task that
gives way at once, again and again, sees each turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from rls.app.interpreter import freeze_garbage_collector, switch_threads_often
from rls.app.loading import Loading
from rls.engine.enforcement import EnforcementState
from rls.engine.limiter import Limiter
from rls.engine.rulebook import Rulebook
from rls.observe.logs import EventLog, configure
from rls.observe.metrics import Metrics
from rls.settings import Settings
from rls.stores.memory import MemoryStore

Change = Callable[[], object]

BOUNDS = (0.001, 0.002, 0.005, 0.01)
_QUIET_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns from a change until `_QUIET_SECONDS` after it was in force.

    Attributes:
        name: What changed.
        longer: Turns that took more CPU than each of `BOUNDS`.
        longest_ms: CPU of the longest turn.
    """

    name: str
    longer: tuple[int, ...]
    longest_ms: float


class _Probe:
    """Sees each turn."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.longer = Counter[float]()
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            took = time.thread_time() - before
            self.longest = max(self.longest, took)
            if took > BOUNDS[0]:
                self.longer.update(bound for bound in BOUNDS if took > bound)


def measure(rules: Path, changes: Sequence[tuple[str, Change]]) -> list[Turns]:
    """Make each change of the files in *rules*, and measure what loading it takes."""
    return uvloop.run(_measure(rules, changes))


async def _measure(rules: Path, changes: Sequence[tuple[str, Change]]) -> list[Turns]:
    switch_threads_often()
    metrics = Metrics()
    limiter = Limiter(MemoryStore(), observers=[metrics])
    rulebook = Rulebook(limiter, [metrics])
    settings = Settings(config=(rules,))
    loading = Loading(settings, rulebook, EnforcementState(), EventLog(configure("error", "text")))
    await loading.start()
    freeze_garbage_collector()
    probe, found = _Probe(), []
    tasks = [asyncio.create_task(loading.run()), asyncio.create_task(probe.run())]
    for name, change in changes:
        change()
        await asyncio.sleep(0.01)
        before = rulebook.loaded_at
        probe.reset()
        while rulebook.loaded_at == before:  # noqa: ASYNC110 - the rulebook says no more
            await asyncio.sleep(0.02)
        await asyncio.sleep(_QUIET_SECONDS)  # the old rules are freed
        longer = tuple(probe.longer[bound] for bound in BOUNDS)
        found.append(Turns(name, longer, round(probe.longest * 1000, 2)))
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return found
