"""`make reload`: what loads of rules do to the checks beside them.

A real `rls serve` answers 5,000 checks a second while 100,000 rules are added, changed and removed, and while a small file
beside them changes. The server tells how long turns of its loop take; the client tells how long its calls took.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from benches import arguments, processes, rule_files
from benches.frames import PATH
from benches.loop_turns import TURNS, longer_than, loop_turns
from benches.machine import cpu_seconds, describe, family, on_core, others_seconds, resident_mib
from benches.messages import RULES, message
from benches.processes import LOAD_CORE, SERVER_CORE, Missing, Running
from benches.reload_turns import Turns
from benches.reload_turns import measure as measure_turns
from benches.speed import Speed, watched
from examples.mesh.processes import free_port

CHECKS_PER_SECOND = 5_000
_CONNECTIONS = 10
_QUIET_SECONDS = 3.0
_LEAST_SECONDS = 0.2  # of a look at the speed of the core
_LONGEST_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a change of rules did.

    Attributes:
        name: What changed.
        seconds: From the change of the file to the rules in force.
        cpu: CPU of the server and of the process that compiles, in seconds.
        turns: Turns of the loop that were sampled, by the upper bound of their length in seconds.
        p50_ms: Of the calls that were made until `_QUIET_SECONDS` after the load.
        p999_ms: Of these calls.
        worst_ms: Of these calls.
        calls: Number of these calls.
        resident_mib: Memory of the server afterwards.
        others: CPU that anything else on the machine used meanwhile, in cores.
        piece_seconds: CPU of the same little piece of work on the server's core meanwhile: see `benches.speed`.
    """

    name: str
    seconds: float
    cpu: float
    turns: dict[str, int]
    p50_ms: float
    p999_ms: float
    worst_ms: float
    calls: int
    resident_mib: float
    others: float
    piece_seconds: float


class Server:
    """The server under load."""

    def __init__(self, process: Running, http: int, folder: Path, log: Path, speed: Speed) -> None:
        self.process = process
        self.rules = folder / "rules"
        self._http = http
        self._folder = folder
        self._log = log
        self._speed = speed

    def measure(self, name: str, change: Callable[[], object] | None) -> Load:
        """Make *change* under load, and wait until it is in force."""
        with self._calls() as calls:
            time.sleep(1.0)
            turns, loads = loop_turns(self._http), self._loads()
            pids = family(self.process.pid)
            used = cpu_seconds(pids) + self._children_seconds()
            others, began = others_seconds(pids), time.monotonic()
            if change is not None:
                change()
            while change is not None and self._loads() == loads:
                if time.monotonic() - began > _LONGEST_SECONDS:
                    raise TimeoutError(f"{name}: no load within {_LONGEST_SECONDS:g} s")
                time.sleep(0.02)
            seconds = time.monotonic() - began
            ended = time.perf_counter()
            time.sleep(_QUIET_SECONDS)  # the old rules are freed
            # The process that compiles has gone by now, and its parent knows what it used.
            used = cpu_seconds(pids) + self._children_seconds() - used
            passed = time.monotonic() - began
            others = others_seconds(pids) - others
            turns = {bound: number - turns.get(bound, 0) for bound, number in loop_turns(self._http).items()}
            took = calls.stop(passed + 1.0)
        return Load(
            name=name,
            seconds=round(seconds, 2),
            cpu=round(used, 2),
            turns=turns,
            p50_ms=_quantile(took, 0.5),
            p999_ms=_quantile(took, 0.999),
            worst_ms=_quantile(took, 1.0),
            calls=len(took),
            resident_mib=round(resident_mib(self.process.pid), 1),
            others=round(others / passed, 2),
            piece_seconds=self._speed.piece_seconds(ended - max(seconds, _LEAST_SECONDS), ended),
        )

    def _calls(self) -> _Calls:
        return _Calls(self.process, self._folder)

    def _loads(self) -> int:
        return rule_files.times_loaded(self._log)

    def _children_seconds(self) -> float:
        """CPU of children that have ended and were waited for (proc(5), stat: cutime, cstime)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


class _Calls:
    """h2load at a steady rate, until it is stopped."""

    def __init__(self, server: Running, folder: Path) -> None:
        payload = message(1)
        (folder / "body").write_bytes(b"\0" + len(payload).to_bytes(4, "big") + payload)
        self._times = folder / "times"
        self._times.unlink(missing_ok=True)
        command = [*on_core(LOAD_CORE), "h2load", "-D", f"{_LONGEST_SECONDS:.0f}s", "-c", str(_CONNECTIONS), "-t", "1"]
        command += ["--rps", str(CHECKS_PER_SECOND // _CONNECTIONS), "-m", "32", "-d", str(folder / "body")]
        command += ["--log-file", str(self._times)]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{server.address}{PATH}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self, seconds: float) -> list[float]:
        """Milliseconds that calls took, of those that were started in the last *seconds*, in order."""
        self._end()
        lines = [line.split() for line in self._times.read_text().splitlines()]
        calls = [(int(line[0]), int(line[2]) / 1000) for line in lines if len(line) == 3]
        last = max((started for started, _ in calls), default=0)
        return sorted(took for started, took in calls if started >= last - seconds * 1e6)

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def _quantile(ordered: list[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else 0.0


def changes_of(rules: Path) -> list[tuple[str, Callable[[], object]]]:
    """What changes, in this order."""
    big, small, beside = (rules / f"{name}.yaml" for name in ("big", "small", "beside"))
    first, second = rule_files.many(1), rule_files.many(2)
    return [
        ("a small file, without many rules beside it", lambda: rule_files.replace(small, rule_files.few("few", "b"))),
        (f"{rule_files.MANY:,} rules added", lambda: rule_files.replace(big, first)),
        ("a small file of another domain beside them", lambda: rule_files.replace(small, rule_files.few("few", "c"))),
        (
            "a small file of the same domain beside them",
            lambda: rule_files.replace(beside, rule_files.few("many", "d")),
        ),
        (f"{rule_files.MANY:,} rules changed", lambda: rule_files.replace(big, second)),
        (f"{rule_files.MANY:,} rules removed", big.unlink),
    ]


def first_rules(rules: Path) -> None:
    """What is in force before the changes."""
    rules.mkdir()
    (rules / "mesh.yaml").write_text(RULES)
    (rules / "small.yaml").write_text(rule_files.few("few", "a"))
    (rules / "beside.yaml").write_text(rule_files.few("many", "a"))


def loads(server: Server) -> list[Load]:
    """All that is measured with a server."""
    changes: list[tuple[str, Callable[[], object] | None]] = [("nothing, for comparison", None)]
    changes += changes_of(server.rules)
    changes.insert(-2, ("SIGHUP, nothing changed", lambda: os.kill(server.process.pid, signal.SIGHUP)))
    found = []
    for name, change in changes:
        found.append(server.measure(name, change))
        print(json.dumps(asdict(found[-1])), file=sys.stderr, flush=True)
    return found


def report(found: list[Load], turns: list[Turns], least_piece_seconds: float) -> str:
    """Markdown. *least_piece_seconds*: of the core at its fastest."""
    lines = ["# Loads of rules under 5,000 checks a second", ""]
    lines += [f"- {key}: {value}" for key, value in describe().items()]
    lines += [
        "- the server and the process that compiles share one core, the load has the other one",
        "",
        (
            "Turns are sampled 100 times a second (`rls_loop_turn_seconds`). *Calls* are all calls from the change until"
            f" {_QUIET_SECONDS:g} s after the load, as the client saw them. *Others* is CPU that other programs on the machine used,"
            " in cores: they lengthen turns and calls. *Speed* is that of the server's core until the rules were in force, of its fastest:"
            " its host has other guests. A little piece of work measures that, in 2 to 4 % of the core."
        ),
        "",
        (
            "| change | load s | CPU s | turns | over 1 ms | over 2.5 ms | over 5 ms | over 10 ms | p50 ms | p99.9 ms | worst ms"
            " | MiB | others | speed |"
        ),
        "| --- |" + " ---: |" * 13,
    ]
    for one in found:
        longer = " | ".join(str(longer_than(one.turns, bound)) for bound in TURNS)
        lines.append(
            f"| {one.name} | {one.seconds:.1f} | {one.cpu:.1f} | {sum(one.turns.values())} | {longer} | {one.p50_ms:.2f} |"
            f" {one.p999_ms:.2f} | {one.worst_ms:.1f} | {one.resident_mib:.0f} | {one.others:.2f} |"
            f" {least_piece_seconds / one.piece_seconds:.0%} |"
        )
    lines += [
        "",
        "## CPU of turns",
        "",
        "Each turn of a loop that only loads, in a process of its own, by the CPU that it takes: other programs do not count.",
        "",
        "| change | turns over 1 ms | over 2 ms | over 5 ms | over 10 ms | longest ms |",
        "| --- |" + " ---: |" * 5,
    ]
    lines += [f"| {one.name} | {' | '.join(map(str, one.longer))} | {one.longest_ms:.1f} |" for one in turns]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = arguments.parser("benches.reload", __doc__).parse_args()
    try:
        processes.need("h2load", "nghttp2-client")
        with tempfile.TemporaryDirectory(prefix="rls-reload-") as path:
            folder, http = Path(path), free_port()
            rules = folder / "rules"
            first_rules(rules)
            with processes.serve(folder, rules, "memory://", http, []) as process, watched(SERVER_CORE) as speed:
                log = folder / f"log-{process.address.rpartition(':')[2]}"
                found = loads(Server(process, http, folder, log, speed))
            rules = folder / "again"
            first_rules(rules)
            turns = measure_turns(rules, changes_of(rules))
    except Missing as missing:
        sys.exit(f"reload: {missing}")
    text = report(found, turns, speed.least_piece_seconds())
    (options.into / "reload.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
