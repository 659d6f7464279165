"""`make outages`: all cases, and their table in docs/high-availability.md."""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benches.machine import describe
from benches.outages import cases
from benches.outages.mesh import OutageMesh
from benches.outages.pods import Options
from examples.mesh.processes import Missing, exit_on_signals
from tests.mesh.manifests import Object, of
from tests.mesh.mistakes import RATE_LIMIT

PAGE = Path(__file__).parents[2] / "docs" / "high-availability.md"
TABLE = re.compile(r"(?<=<!-- outages: made by `make outages` -->\n).*(?=<!-- /outages -->)", re.DOTALL)


class Case(NamedTuple):
    """What happens, in words; how; and for how many seconds there is load afterwards."""

    text: str
    fault: cases.Fault
    seconds: float = 8


ALL = (
    Case("nothing", cases.nothing),
    Case("a pod hangs (`SIGSTOP`)", cases.hang),
    Case("a pod vanishes: no packet arrives", cases.vanish),
    Case("`rls` is killed, and starts again", cases.kill),
    Case("`rls` is asked to end, drains, and starts again", cases.restart, 10),
    Case("rolling update", cases.rolling_update, 25),
    Case("as many pods are added as there are", cases.scale_up, 12),
    Case("a pod runs for 30 of each 100 ms", cases.throttled),
    Case("all pods do", cases.all_throttled),
)


def as_before(objects: list[Object]) -> list[Object]:
    """With what Envoy does by itself: it waits for 20 ms, and never asks a second time."""
    changed = copy.deepcopy(objects)
    for each in of(changed, "EnvoyFilter"):
        for entry in each["spec"]["configPatches"]:
            value = entry["patch"].get("value", {})
            if value.get("name") == RATE_LIMIT:
                value["typed_config"]["timeout"] = "0.02s"
                value["typed_config"]["rate_limit_service"]["grpc_service"].pop("retry_policy", None)
    return changed


def measure(
    case: Case, pods: int, *, sidecar: bool, rate: int, change: Callable[[list[Object]], list[Object]] = list
) -> cases.Outcome:
    options = Options(sidecar)
    made = [options._replace(vanishing=case.fault is cases.vanish), *[options] * (pods - 1)]
    with TemporaryDirectory(prefix="rls-outages-") as name, OutageMesh(Path(name), made, change=change) as mesh:
        return cases.run(mesh, options, case.fault, rate=rate, seconds=case.seconds, log=Path(name) / "log")


def rows(chosen: Sequence[Case], pods: Sequence[int], rate: int) -> Iterator[str]:
    yield "| what happens | pods | sidecar | calls | passed unlimited | the last after | ejections | second tries | before |"
    yield f"|{'---|' * 9}"
    for case in chosen:
        for number in pods:
            for sidecar in (False, True):
                now = measure(case, number, sidecar=sidecar, rate=rate)
                before = measure(case, number, sidecar=sidecar, rate=rate, change=as_before) if number == 2 else None
                after = f"{now.well_after:.1f} s" if now.failed_open else "–"
                yield (
                    f"| {case.text} | {number} | {'yes' if sidecar else 'no'} | {now.calls} | **{now.failed_open}** "
                    f"| {after} | {now.ejections} | {now.retries} | {before.failed_open if before else ''} |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make outages", description="What requests get while pods of rls fail.")
    parser.add_argument("--rate", type=int, default=200, help="requests a second")
    parser.add_argument("--pods", type=int, nargs="*", default=[2, 3])
    parser.add_argument("--only", default="", help="cases whose text has this; the page stays as it is")
    arguments = parser.parse_args()
    exit_on_signals()
    began = os.getloadavg()[0]
    lines = []
    for line in rows([case for case in ALL if arguments.only in case.text], arguments.pods, arguments.rate):
        print(line, flush=True)
        lines.append(line)
    lines += ["", *(f"- {name}: {value}" for name, value in describe().items())]
    lines.append(f"- load average: {began:.0f} at the beginning, {os.getloadavg()[0]:.0f} at the end")
    lines.append(f"- {arguments.rate} requests a second at one sidecar")
    print("\n".join(lines[-9:]))
    if not arguments.only:
        text = "\n".join(["", *lines, "", ""])
        PAGE.write_text(TABLE.sub(lambda _: text, PAGE.read_text()))


if __name__ == "__main__":
    try:
        main()
    except Missing as error:
        sys.exit(f"outages: {error}")
