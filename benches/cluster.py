"""`python -m benches.cluster`: checks per second, commands and round trips a check, counting in a Redis Cluster."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from benches import arguments, processes
from benches.load import Case, Cost, cost
from benches.machine import describe
from benches.processes import Missing, Running

DESCRIPTORS = (1, 2, 4, 10)
IN_FLIGHT = (1, 64)
KEYS = (1, 10_000)
_HEAD = (
    *("load", "server", "checks/s", "p50 ms", "p99 ms", "CPU µs", "Redis µs", "commands"),
    "reads of the busiest node",
)


@contextlib.contextmanager
def servers(folder: Path, nodes: Sequence[Running]) -> Iterator[dict[str, Running]]:
    """Ours, and the Go server where PEERS has it."""
    addresses = ",".join(node.address for node in nodes)
    with contextlib.ExitStack() as stack:
        started = {"rls": stack.enter_context(processes.rls(folder, backend=f"redis+cluster://{addresses}"))}
        if program := processes.peer(folder, "ratelimit"):
            go = processes.envoyproxy_ratelimit(folder, program, addresses, "cluster")
            started["ratelimit (Go)"] = stack.enter_context(go)
        yield started


def run(seconds: float, folder: Path) -> list[str]:
    """The rows of the table."""
    rows = []
    with processes.cluster(folder) as nodes, servers(folder, nodes) as started:
        for in_flight, keys, descriptors in product(IN_FLIGHT, KEYS, DESCRIPTORS):
            case = Case(in_flight, descriptors, keys)
            for name, server in started.items():
                cost(server, nodes, case, seconds / 2, folder)
                rows.append(_row(name, case, cost(server, nodes, case, seconds, folder)))
    return rows


def _row(name: str, case: Case, found: Cost) -> str:
    load = f"{case.in_flight} in flight, {case.descriptors} descriptors, {case.keys:,} keys"
    cells = [load, name, f"{found.rate:,.0f}", f"{found.p50_ms:.2f}", f"{found.p99_ms:.2f}", f"{found.cpu_us:.1f}"]
    cells += [f"{found.redis_us:.1f}", f"{found.commands:.2f}", f"{found.reads:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = arguments.parser("benches.cluster", __doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each case")
    options = parser.parse_args()
    try:
        processes.need("h2load", "nghttp2-client")
        processes.need("taskset", "util-linux")
        with tempfile.TemporaryDirectory(prefix="rls-bench-") as folder:
            rows = run(options.seconds, Path(folder))
    except Missing as missing:
        sys.exit(f"benches: {missing}")
    about = [f"- {key}: {value}" for key, value in describe().items()]
    head = [f"| {' | '.join(_HEAD)} |", "| --- | --- |" + " ---: |" * (len(_HEAD) - 2)]
    lines = ["# Counting in a cluster of three primaries", "", *about, "", *head, *rows]
    text = "\n".join(lines) + "\n"
    (options.into / "cluster.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
