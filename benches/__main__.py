"""`python -m benches`: checks per second, latency and CPU, beside a grpc.aio echo and whatever PEERS holds."""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path

from benches import arguments, processes, report
from benches.load import Case, Cost, cost
from benches.machine import describe
from benches.processes import Missing, Running

ECHO, RLS, RLS_GRPCIO, GO, LIMITADOR = "grpc.aio echo", "rls", "rls on grpcio", "ratelimit (Go)", "Limitador"
MEMORY, REDIS = "memory", "Redis"
_ATTEMPTS = 3
_QUIET = 0.15
"""Cores that may be busy with something else; above it a measurement is tried again."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that is up, and what it counts in: MEMORY, REDIS, or nothing."""

    name: str
    backend: str
    process: Running

    def takes(self, case: Case) -> bool:
        """Limitador's limits name one descriptor."""
        return self.name != LIMITADOR or case.descriptors == 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    in_flight: Sequence[int]
    descriptors: Sequence[int]
    keys: Sequence[int]
    seconds: float
    rounds: int

    def cases(self) -> list[Case]:
        return [Case(*case) for case in product(self.in_flight, self.descriptors, self.keys)]


FULL = Plan((1, 16, 64, 256), (1, 4), (1, 10_000), seconds=1.0, rounds=3)
QUICK = Plan((1, 64), (1, 4), (1, 10_000), seconds=0.5, rounds=1)


@contextlib.contextmanager
def servers(folder: Path, redis: Running) -> Iterator[list[Served]]:
    """All of them, idle until they get calls."""
    url = f"redis://{redis.address}"
    started = [
        (ECHO, "", processes.echo(folder)),
        (RLS, MEMORY, processes.rls(folder, backend="memory://")),
        (RLS, REDIS, processes.rls(folder, backend=url)),
        (RLS_GRPCIO, MEMORY, processes.rls(folder, backend="memory://", transport="grpcio")),
        (RLS_GRPCIO, REDIS, processes.rls(folder, backend=url, transport="grpcio")),
    ]
    if program := processes.peer(folder, "ratelimit"):
        started.append((GO, REDIS, processes.envoyproxy_ratelimit(folder, program, redis.address)))
    if program := processes.peer(folder, "limitador-server"):
        started.append((LIMITADOR, MEMORY, processes.limitador(folder, program)))
        started.append((LIMITADOR, REDIS, processes.limitador(folder, program, redis.address)))
    with contextlib.ExitStack() as stack:
        yield [Served(name, backend, stack.enter_context(start)) for name, backend, start in started]


def run(plan: Plan, folder: Path) -> list[report.Row]:
    """Every case on every server, round after round, so that a quiet or a busy moment meets all of them."""
    with processes.redis(folder) as redis, servers(folder, redis) as served:
        jobs = [(case, server) for case in plan.cases() for server in served if server.takes(case)]
        rows = []
        for number, (case, group) in enumerate(_by_case(jobs), 1):
            costs: dict[Served, list[Cost]] = {server: [] for server in group}
            for server in group:
                cost(server.process, [redis], case, plan.seconds / 2, folder)
            for _ in range(plan.rounds):
                for server, measured in costs.items():
                    _progress(f"{number} of {len(plan.cases())}: {report.load_text(case)}, {server.name}")
                    measured.append(_measure(server, redis, case, plan.seconds, folder))
            rows += [report.Row(server.name, server.backend, case, _median(costs[server])) for server in group]
        _progress("")
    return rows


def _by_case(jobs: Sequence[tuple[Case, Served]]) -> Iterator[tuple[Case, list[Served]]]:
    for case in dict.fromkeys(case for case, _ in jobs):
        yield case, [server for other, server in jobs if other == case]


def _measure(server: Served, redis: Running, case: Case, seconds: float, folder: Path) -> Cost:
    """The cost when least else was going on, of a few attempts."""
    best = None
    for _ in range(_ATTEMPTS):
        new = cost(server.process, [redis] if server.backend == REDIS else [], case, seconds, folder)
        if best is None or new.others < best.others:
            best = new
        if best.others < _QUIET:
            break
    assert best is not None
    return best


def _median(costs: Sequence[Cost]) -> Cost:
    values = [asdict(one) for one in costs]
    return Cost(**{field.name: statistics.median(value[field.name] for value in values) for field in fields(Cost)})


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = arguments.parser("benches", __doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases, once each: two minutes instead of twenty")
    options = parser.parse_args()
    try:
        processes.need("h2load", "nghttp2-client")
        processes.need("taskset", "util-linux")
        about = describe()
        with tempfile.TemporaryDirectory(prefix="rls-bench-") as folder:
            rows = run(QUICK if options.quick else FULL, Path(folder))
    except Missing as missing:
        sys.exit(f"benches: {missing}")
    except KeyboardInterrupt:
        sys.exit("\nbenches: interrupted; everything that was started is stopped")
    print(report.write(options.into, "quick" if options.quick else "checks", about, rows))


if __name__ == "__main__":
    main()
