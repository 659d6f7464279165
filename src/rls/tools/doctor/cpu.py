"""The CPU limit of the container in which this command runs: that of the server, where it runs in the pod."""

from __future__ import annotations

from pathlib import Path

from rls.tools.doctor.result import Result, bad, good, unknown


def cpu_limit(root: Path = Path("/")) -> float | None:
    """CPUs; None for no limit, or where nobody knows. *root* is where /sys is (Linux, admin-guide/cgroup-v2; scheduler/sched-bwc)."""
    mount = root / "sys/fs/cgroup"
    words = _text(mount / "cpu.max").split()
    if len(words) != 2:
        words = [_text(mount / "cpu" / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = map(float, words)
    except ValueError:  # `max` means no limit
        return None
    return quota / period if quota > 0 and period > 0 else None


def look_at_cpu(root: Path = Path("/")) -> Result:
    """Whether the limit leaves room for bursts."""
    limit = cpu_limit(root)
    if limit is None:
        return good("cpu limit", "no CPU limit here")
    if limit < 2:
        advice = "give the pod a request of 1 CPU, and a limit of 2 or none: at the limit all calls wait, up to 100 ms"
        return bad("cpu limit", f"the CPU limit here is {limit:g}", advice)
    return good("cpu limit", f"the CPU limit here is {limit:g}")


def elsewhere() -> Result:
    """The server runs somewhere else."""
    return unknown("cpu limit", "the server is on another machine", "run rls doctor in its pod")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
