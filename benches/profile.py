"""`python -m benches.profile`: where the CPU of a check goes: user and kernel, and by step of our own Python."""

from __future__ import annotations

import json
import sys
import tempfile
import timeit
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benches import arguments, processes
from benches.load import Case, h2load
from benches.machine import describe, thread_seconds
from benches.messages import RULES, message
from benches.processes import Missing, Running
from rls.api.decode import parse, read
from rls.api.encode import ResponseOptions, encode, status_prefixes
from rls.api.service import Service
from rls.core.decide import decide
from rls.engine.events import RequestContext
from rls.engine.limiter import Limiter
from rls.observe.metrics import Metrics
from rls.sources.load import load
from rls.stores.memory import MemoryStore

CASE = Case(in_flight=64, descriptors=1, keys=1)
_SECONDS, _ROUNDS = 2.0, 3
_TIMES = 20_000


@dataclass(frozen=True, slots=True)
class Split:
    """CPU of a check in microseconds."""

    server: str
    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system


def splits(folder: Path) -> Iterator[Split]:
    """The floor, and rls on each backend, all idle but the one that is asked; the median of the rounds."""
    with processes.redis(folder) as redis, ExitStack() as stack:
        served = {
            "HTTP/2 with a constant answer": stack.enter_context(processes.constant(folder)),
            "rls, memory": stack.enter_context(processes.rls(folder, backend="memory://")),
            "rls, Redis": stack.enter_context(processes.rls(folder, backend=f"redis://{redis.address}")),
        }
        for name, server in served.items():
            h2load(server, CASE, _SECONDS / 2, folder)
            found = sorted((_split(name, server, folder) for _ in range(_ROUNDS)), key=lambda split: split.total)
            yield found[len(found) // 2]


def _split(name: str, server: Running, folder: Path) -> Split:
    before = thread_seconds(server.pid)
    answered, *_ = h2load(server, CASE, _SECONDS, folder)
    after = thread_seconds(server.pid)
    used = [[b - a for a, b in zip(before[thread], after[thread], strict=True)] for thread in before]
    return Split(name, *(sum(seconds) / answered * 1e6 for seconds in zip(*used, strict=True)))


def steps() -> dict[str, float]:
    """Microseconds of each step of a check in memory, alone and warm: what it is made of, rather than what it adds up to."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.yaml"
        path.write_text(RULES)
        loaded = load([path])
    metrics, backend = Metrics(), MemoryStore()
    limiter = Limiter(backend, observers=(metrics,))
    limiter.load(loaded.rules)
    service, asked = Service(limiter), message(CASE.descriptors)
    prepared = limiter.prepare(read(parse(asked)))
    decision = _finish(limiter.run(prepared))
    prefixes, answers, modes, context = (
        status_prefixes(prepared.plan),
        ResponseOptions(),
        limiter.modes,
        RequestContext(),
    )
    context.decision, context.seconds = decision, 1e-5
    return {
        "parse and plan a message that is not remembered": _time(lambda: limiter.prepare(read(parse(asked)))),
        "count in memory": _time(lambda: _finish(backend.update(prepared.updates))),
        "decide": _time(lambda: decide(prepared.plan, [5], 1_000, modes)),
        "encode": _time(lambda: encode(decision, prefixes, answers, modes)),
        "metrics": _time(lambda: metrics.decided(context)),
        "all of a remembered message, from bytes to bytes": _time(lambda: _finish(service.answer(asked))),
    }


def _finish(work: Coroutine[Any, Any, Any]) -> Any:
    """What *work* returns, which does not wait for anything."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def _time(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=_TIMES, repeat=5)) / _TIMES * 1e6


def main() -> None:
    options = arguments.parser("benches.profile", __doc__).parse_args()
    try:
        processes.need("h2load", "nghttp2-client")
        with tempfile.TemporaryDirectory(prefix="rls-bench-") as folder:
            found = list(splits(Path(folder)))
    except Missing as missing:
        sys.exit(f"benches: {missing}")
    text = _write(options.into, found, steps())
    print(text)


def _write(into: Path, found: list[Split], timed: dict[str, float]) -> str:
    about = describe()
    lines = ["# Where the CPU of a check goes", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += [
        "64 in flight on 4 connections, 1 descriptor, one hot key, the server alone on its core. Microseconds a check.",
        "",
        "| server | user | kernel | all |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [f"| {one.server} | {one.user:.1f} | {one.system:.1f} | {one.total:.1f} |" for one in found]
    lines += ["", "Steps of our own Python, each timed alone in a loop:", "", "| step | µs |", "| --- | ---: |"]
    lines += [f"| {step} | {microseconds:.2f} |" for step, microseconds in timed.items()]
    text = "\n".join(lines) + "\n"
    (into / "profile.md").write_text(text)
    plain = {"about": about, "cpu": [asdict(one) for one in found], "steps": timed}
    (into / "profile.json").write_text(json.dumps(plain, indent=1) + "\n")
    return text


if __name__ == "__main__":
    main()
