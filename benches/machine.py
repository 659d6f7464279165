"""Where it runs and on what, and what processes cost there."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_ROOT = Path(__file__).parent.parent
_NAMED = ("istio-rate-limiter", "uvloop", "grpcio", "protobuf", "redis", "hiredis")


def on_core(core: int) -> list[str]:
    """The start of a command that keeps a process on *core*; empty on a machine with only one core."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 else []


def pin(core: int) -> None:
    """Keep this process on *core*, and what it starts without `on_core`; nothing on a machine with only one core."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


def family(pid: int) -> list[int]:
    """*pid* and its descendants."""
    pids = [pid]
    for parent in pids:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            pids += map(int, children.read_text().split())
    return pids


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time that the processes have used (proc(5), stat: utime, stime)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK


def thread_seconds(pid: int) -> dict[int, tuple[float, float]]:
    """User and system time of each thread of a process; the thread that started it has its number."""
    times = {}
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        fields = stat.read_text().rsplit(")", 1)[1].split()
        times[int(stat.parent.name)] = (int(fields[11]) / _TICK, int(fields[12]) / _TICK)
    return times


def resident_mib(pid: int) -> float:
    """Resident set of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def busy_seconds() -> float:
    """CPU time that all of the machine has used, stolen time included (proc(5), stat)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICK


def stolen_seconds() -> float:
    """CPU time that the host has given to others while this machine wanted it (proc(5), stat: steal)."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / _TICK


def others_seconds(pids: Iterable[int]) -> float:
    """CPU time that all but *pids*, and but the children of this process that have ended, have used."""
    times = os.times()
    return busy_seconds() - cpu_seconds(pids) - times.children_user - times.children_system


def describe() -> dict[str, str]:
    """What a result is worth nothing without."""
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "interpreter": f"{platform.python_implementation()} {platform.python_version()}, {_optimizations()}",
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "versions": ", ".join(f"{name} {version(name)}" for name in _NAMED),
    }


def _commit() -> str:
    git = ("git", "-C", str(_ROOT))
    commit = _output(*git, "rev-parse", "--short=12", "HEAD") or "unknown"
    # A result that was written a moment ago changes nothing that is measured.
    changed = _output(*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)benches/results")
    return f"{commit}-dirty" if changed else commit


def _optimizations() -> str:
    """What sysconfig says of how the interpreter was built."""
    flags = " ".join(str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "PY_CFLAGS_NODIST", "LDFLAGS"))
    said = [
        name
        for name, signs in (("PGO", ("--enable-optimizations", "-fprofile-use")), ("LTO", ("--with-lto", "-flto")))
        if any(sign in flags for sign in signs)
    ]
    if said:
        return f"built with {' and '.join(said)}"
    if Path(sys.executable).resolve().parent == Path("/usr/bin") and Path("/etc/debian_version").exists():
        return "Debian's, which is built with PGO and LTO but does not record it"
    return "built without PGO and LTO, as far as it records that"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
