"""How often and how long the kernel throttled this process at its CPU limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rls.observe.families import Number
from rls.observe.metrics import Metrics


class Throttling(NamedTuple):
    """Totals of a cgroup.

    Attributes:
        periods: Periods (100 ms by default) in which it ran; counted only where it has a limit.
        throttled: Periods in which it used up its share and was stopped until the next one.
        seconds: For how long its threads were stopped, in total.
    """

    periods: int
    throttled: int
    seconds: float


class CpuStat:
    """The `cpu.stat` of this process' cgroup, of version 2 or 1 (Linux, admin-guide/cgroup-v2, scheduler/sched-bwc).

    Args:
        root: Where /proc and /sys are.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._path = next((path for path in _candidates(root) if _read(path) is not None), None)

    def read(self) -> Throttling | None:
        """The current totals; None without such a file."""
        return None if self._path is None else _read(self._path)


def register_throttling_metrics(metrics: Metrics, stat: CpuStat) -> None:
    """Add the numbers of *stat*, read at each scrape, to *metrics*; nothing without such a file."""

    def throttled() -> Mapping[tuple[str, ...], Number]:
        found = stat.read()
        return {} if found is None else {(): found.throttled}

    def seconds() -> Mapping[tuple[str, ...], Number]:
        found = stat.read()
        return {} if found is None else {(): found.seconds}

    metrics.register_counter(
        "rls_cpu_throttled_periods_total",
        "Scheduler periods in which the CPU limit throttled this container.",
        throttled,
    )
    metrics.register_counter(
        "rls_cpu_throttled_seconds_total",
        "Time that the CPU limit throttled this container's threads, in seconds.",
        seconds,
    )


def _candidates(root: Path) -> Iterator[Path]:
    """Where `cpu.stat` may be. A container sees its own cgroup as the root of the mount, whatever /proc calls it."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            directories = [mount]
        elif "cpu" in controllers.split(","):
            directories = [mount / controllers, mount / "cpu"]
        else:
            continue
        for directory in directories:
            yield directory / path.lstrip("/") / "cpu.stat"
            yield directory / "cpu.stat"


def _read(path: Path) -> Throttling | None:
    """The numbers of the file at *path*; None where it has none, as that of the root of version 2."""
    numbers = dict(words for line in _text(path).splitlines() if len(words := line.split()) == 2)
    try:
        # Version 2 has microseconds, version 1 nanoseconds.
        is_v2 = "throttled_usec" in numbers
        seconds = int(numbers["throttled_usec"]) / 1e6 if is_v2 else int(numbers["throttled_time"]) / 1e9
        return Throttling(int(numbers["nr_periods"]), int(numbers["nr_throttled"]), seconds)
    except (KeyError, ValueError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
