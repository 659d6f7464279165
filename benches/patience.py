"""`make patience`: how long a proxy must wait for `rls`, measured by one that waits for as long as it takes.

A sidecar as the manifests in istio/ make it asks two pods at a steady rate. Its own histogram says how long it waited:
for its turn, for a connection and its TLS, for `rls` and its Redis. Other programs take the machine's cores meanwhile:
none, or so many busy loops a core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benches.machine import describe
from benches.outages.cases import Load
from benches.outages.mesh import OutageMesh
from benches.outages.pods import Options
from examples.mesh.processes import Missing
from tests.mesh.running import patient
from tests.mesh.world import TO_RLS

BOUNDS = (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 200, 500, 1000)
SHOWN = (10, 20, 30, 50, 100, 200)
"""Milliseconds."""
MERGED_SECONDS = 6
"""Envoy merges the histograms of its threads every five seconds."""


class Waited(NamedTuple):
    """Of one case.

    Attributes:
        load: Processes that wanted to run, on average over the last minute.
        calls: How many there were.
        within: How many of them took at most so many milliseconds.
    """

    load: float
    calls: int
    within: dict[float, int]

    def later(self, milliseconds: float) -> float:
        """The share of the calls that took longer, in percent."""
        return 100 * (1 - self.within[milliseconds] / self.calls)


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many programs that never wait."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def histogram(mesh: OutageMesh) -> dict[float, int]:
    """How many calls the sidecar has waited for up to so many milliseconds."""
    stats = mesh.proxy.admin("/stats?format=json&histogram_buckets=cumulative&filter=upstream_rq_time$").json()["stats"]
    (found,) = (
        one for each in stats for one in each["histograms"] if one["name"] == f"cluster.{TO_RLS};.upstream_rq_time"
    )
    return {float(bucket["upper_bound"]): int(bucket["cumulative"]) for bucket in found["buckets"]}


def measure(folder: Path, *, sidecar: bool, rate: int, seconds: float, loops: int) -> Waited:
    """How long the calls took that came while so many *loops* were busy."""
    with OutageMesh(folder, [Options(sidecar)] * 2, change=patient, bounds=BOUNDS) as mesh:
        Load(mesh, rate, 1, folder / "warm").wait()
        time.sleep(MERGED_SECONDS)
        before = histogram(mesh)
        with busy(loops):
            calls = Load(mesh, rate, seconds, folder / "log").wait()
            load = os.getloadavg()[0]
        time.sleep(MERGED_SECONDS)
        within = {bound: count - before.get(bound, 0) for bound, count in histogram(mesh).items()}
        return Waited(load, calls, within)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make patience", description="How long a proxy must wait for rls.")
    parser.add_argument("--rate", type=int, default=300, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--loops", type=int, nargs="*", default=[0, 1, 4], help="busy loops a core")
    arguments = parser.parse_args()
    for name, value in describe().items():
        print(f"{name}: {value}")
    print(f"\n| before `rls` | busy loops a core | load average | {' | '.join(f'> {ms} ms' for ms in SHOWN)} |")
    print(f"|---|---|---|{'---|' * len(SHOWN)}")
    for sidecar in (False, True):
        for loops in arguments.loops:
            with TemporaryDirectory(prefix="rls-patience-") as name:
                total = loops * (os.cpu_count() or 1)
                found = measure(
                    Path(name), sidecar=sidecar, rate=arguments.rate, seconds=arguments.seconds, loops=total
                )
            shares = " | ".join(f"{found.later(ms):.2f} %" for ms in SHOWN)
            print(f"| {'a sidecar' if sidecar else 'nothing'} | {loops} | {found.load:.1f} | {shares} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Missing as error:
        sys.exit(f"patience: {error}")
