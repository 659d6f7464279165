"""`python -m benches.observing`: what observing adds to a check: metrics, logs, traces that are off, top talkers.

One process, pinned by `taskset -c 1`. Checks are decided in batches, as Redis decides them, with the observers that a server has by
default and without any. Other programs only add, so the least of many rounds counts.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benches import arguments
from benches.machine import describe
from benches.messages import DOMAIN, KEYS, LIMIT, RULES
from rls.app.telemetry import Telemetry
from rls.config.compile import compile_file
from rls.core.decide import Decision
from rls.core.model import Descriptor, Entry, Request
from rls.core.rules import Domain, RuleSet
from rls.core.update import CounterUpdate
from rls.engine.events import Observer, RulesLoaded, methods_of, tell_all
from rls.engine.limiter import Limiter
from rls.engine.pending_check import PendingCheck
from rls.settings import Settings
from rls.slices import finish
from rls.stores.base import CounterStore, Done, StoreBatch, origin_of
from rls.stores.memory import MemoryStore

COMPANIES = 10_000
BATCH = 64
_CHECKS = 6_400
_ROUNDS = 40
_WEIGHTS = [1 / (rank + 1) for rank in range(COMPANIES)]


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of a check, from its start until it is decided, by number of descriptors and share of refused checks."""

    name: str
    descriptors: int
    refused: float
    without: float
    observed: float


class _Batches(CounterStore):
    """Counts in memory, and completes calls as Redis does: a batch at a time, of which observers hear."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._memory = MemoryStore()
        self._on_batch = tell_all(methods_of(observers, "batch_done"))
        self._waiting: list[tuple[Sequence[CounterUpdate], Done]] = []

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> None:
        self._waiting.append((updates, done))

    def send(self) -> None:
        """Count what waits."""
        waiting, self._waiting = self._waiting, []
        began = time.time()
        merged: dict[bytes, CounterUpdate] = {}
        counts: dict[bytes, int] = {}
        answers = []
        for updates, done in waiting:
            found = self._memory.submit(updates, done)
            assert found is not None
            for update, count in zip(updates, found, strict=True):
                merged[update.key] = update
                counts[update.key] = count
            answers.append((done, found))
        if self._on_batch is not None:
            origins = [origin_of(done) for _, done in waiting]
            self._on_batch(StoreBatch("memory", began, 0.001, [*merged.values()], [*counts.values()], origins))
        for done, found in answers:
            done.counted(found)

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...


class _Check(PendingCheck):
    __slots__ = ()

    def decided(self, decision: Decision) -> None: ...

    def undecided(self, error: Exception) -> None:
        raise error


def _rules() -> RuleSet:
    """A rule for each key."""
    document = compile_file("rules.yaml", RULES.encode()).documents[0]
    return RuleSet({document.domain: Domain(document.domain, document.root)})


def _request(company: int, descriptors: int, hits: int = 0) -> Request:
    value = f"company-{company:05}"
    return Request(DOMAIN, tuple(Descriptor((Entry(key, value),)) for key in KEYS[:descriptors]), hits)


class _Limited:
    """A limiter with its requests.

    Args:
        refuses: Whether it refuses the second company, which makes about 5 % of all checks.
    """

    def __init__(self, descriptors: int, observers: Sequence[Observer], *, refuses: bool) -> None:
        self._store = _Batches(observers)
        self._limiter = Limiter(self._store, observers=observers)
        rules = _rules()
        self._limiter.load(rules)
        for observer in observers:
            finish(observer.prepare_rules(rules))
            observer.rules_loaded(RulesLoaded(rules, ("rules.yaml",), (), 0.0))
        self._requests = [self._limiter.prepare(_request(company, descriptors)) for company in range(COMPANIES)]
        self._random = Random(1)
        self.least = float("inf")
        self.refused = self.decided = 0
        if refuses:
            self._run([_Check(self._limiter, self._limiter.prepare(_request(1, descriptors, LIMIT)))])

    def round(self) -> None:
        """Some checks; notes how many microseconds each took."""
        checks = [_Check(self._limiter, one) for one in self._random.choices(self._requests, _WEIGHTS, k=_CHECKS)]
        began = time.process_time()
        self._run(checks)
        self.least = min(self.least, (time.process_time() - began) / _CHECKS * 1e6)
        self.refused += sum(check.decision.limited_by is not None for check in checks)
        self.decided += len(checks)

    def _run(self, checks: Sequence[PendingCheck]) -> None:
        start = self._limiter.start
        for first in range(0, len(checks), BATCH):
            for check in checks[first : first + BATCH]:
                start(check)
            self._store.send()


def costs() -> list[Cost]:
    """Each case, with the observers of a server as it ships and without, in turns."""
    found = []
    for name, descriptors, refuses in (
        ("1 descriptor", 1, False),
        ("1 descriptor, some refused", 1, True),
        ("10 descriptors", 10, False),
    ):
        observers = Telemetry(Settings(config=(Path("rules.yaml"),), log_level="error")).observers
        without, observed = (_Limited(descriptors, some, refuses=refuses) for some in ((), observers))
        gc.collect()
        gc.freeze()
        for _ in range(_ROUNDS):
            without.round()
            observed.round()
        found.append(Cost(name, descriptors, observed.refused / observed.decided, without.least, observed.least))
    return found


def report(found: Sequence[Cost]) -> str:
    """Markdown."""
    lines = ["# What observing costs", "", *(f"- {key}: {value}" for key, value in describe().items()), ""]
    lines += [
        "CPU of a check in microseconds, from its start until it is decided, without transport and Redis: with the observers that",
        f"a server has by default and without any. {COMPANIES:,} companies by Zipf, in batches of {BATCH}.",
        "",
        "| checks | refused | without µs | observed µs | observing µs | for each descriptor µs |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.name} | {one.refused:.0%} | {one.without:.2f} | {one.observed:.2f} | {one.observed - one.without:.2f} |"
        f" {(one.observed - one.without) / one.descriptors:.2f} |"
        for one in found
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = arguments.parser("benches.observing", __doc__).parse_args()
    text = report(costs())
    (options.into / "observing.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
