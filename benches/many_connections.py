"""`python -m benches.many_connections`: many connections with few calls each, as of many sidecars, at a rate that the server can answer.

The capacity is what the connections get when each makes its next call once the last is answered, however long that takes. Then
calls come at 70 % of that rate, whatever becomes of them, and clients give up after 20 ms, as Envoy does. All connections are
new when that begins, as after a restart of the server: the first second counts by itself.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from benches import arguments, processes
from benches.client import Phase, Result, measure
from benches.machine import describe, on_core, others_seconds
from benches.processes import LOAD_CORE, Missing, Running

CONNECTIONS = (200, 1_000)
SHARE = 0.7
TIMEOUT_MS = 20
SOON_MS = 10
"""The goal: an answer within so many milliseconds."""
_FIRST_SECONDS, _SECONDS, _ROUNDS, _KEYS = 1.0, 5.0, 3, 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """What so many connections got: of one run with each call after the last, and of a run at `SHARE` of that rate.

    Attributes:
        first: The first second of the latter, when all connections are new.
        others: CPU that other programs used meanwhile, in cores.
    """

    connections: int
    full: Result
    first: Result
    partly: Result
    others: float


def rows() -> list[Row]:
    """The median of the rounds by what was answered soon, for each number of connections."""
    found = []
    with tempfile.TemporaryDirectory(prefix="rls-bench-") as folder, processes.redis(Path(folder)) as redis:
        for connections in CONNECTIONS:
            with processes.rls(Path(folder), backend=f"redis://{redis.address}") as server:
                _load(server, connections, Phase(2.0, in_flight=connections), timeout_ms=0)
                rounds = [_round(server, redis, connections) for _ in range(_ROUNDS)]
            found.append(sorted(rounds, key=lambda row: soon(row.partly))[_ROUNDS // 2])
            print(f"{connections} connections: {soon(found[-1].partly):.2%}", file=sys.stderr, flush=True)
    return found


def _round(server: Running, redis: Running, connections: int) -> Row:
    pids = [server.pid, redis.pid]
    others = others_seconds(pids)
    _, full = _load(server, connections, Phase(_SECONDS, in_flight=connections), timeout_ms=0)
    first, partly = _load(server, connections, Phase(_SECONDS, rate=SHARE * full.goodput))
    seconds = 2 * (_FIRST_SECONDS + _SECONDS)
    return Row(connections, full, first, partly, max(0.0, (others_seconds(pids) - others) / seconds))


def _load(server: Running, connections: int, phase: Phase, timeout_ms: int = TIMEOUT_MS) -> list[Result]:
    """*phase*, for a first second and then as long as it says."""
    return measure(
        server.address,
        [replace(phase, seconds=_FIRST_SECONDS), phase],
        connections=connections,
        keys=_KEYS,
        timeout_ms=timeout_ms,
        prefix=on_core(LOAD_CORE),
    )


def soon(result: Result) -> float:
    """The share of calls that were answered within `SOON_MS`."""
    return result.soon / result.sent if result.sent else 0.0


def report(found: list[Row]) -> str:
    """Markdown."""
    lines = ["# Many connections", "", *(f"- {key}: {value}" for key, value in describe().items()), ""]
    lines += [
        "The server is on core 0; load and Redis are on core 1. Each call has one descriptor, one of 10,000 keys. *Full*: each",
        "connection has one call in flight, and waits for it. *At 70 %*: calls come at 70 % of that rate, and clients give up",
        f"after {TIMEOUT_MS} ms. The median of {_ROUNDS} rounds of {_SECONDS:g} s, after a first second in which all connections are",
        "new. *Others* is CPU of other programs, in cores.",
        "",
        "| connections | load | calls/s | within 10 ms | p50 ms | p99 ms | shed | given up or late | client CPU | others |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        for name, one in (("full", row.full), ("at 70 %, first second", row.first), ("at 70 %", row.partly)):
            refused = sum(one.refused.values()) / max(1, one.sent)
            lost = (one.timed_out + one.late + one.lost) / max(1, one.sent)
            lines.append(
                f"| {row.connections:,} | {name} | {one.sent / one.seconds:,.0f} | {soon(one):.2%} | {one.p50_ms:.1f} |"
                f" {one.p99_ms:.1f} | {refused:.2%} | {lost:.2%} | {one.client_cpu:.2f} | {row.others:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    options = arguments.parser("benches.many_connections", __doc__).parse_args()
    try:
        processes.need("taskset", "util-linux")
        text = report(rows())
    except Missing as missing:
        sys.exit(f"benches: {missing}")
    (options.into / "many_connections.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
