"""How much memory a process takes."""

from __future__ import annotations

from pathlib import Path


def memory(pid: int, field: str = "VmRSS") -> int:
    """Bytes, by a field of /proc/PID/status: `VmRSS` is what it takes now, `VmHWM` the most that it took."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.removesuffix("kB")) * 1024
    raise KeyError(field)
