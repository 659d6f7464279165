"""How long processes waited for a CPU: time that a busy machine takes, and nobody who is measured."""

from __future__ import annotations

import contextlib
from pathlib import Path


def waited(pid: int | str = "self") -> float:
    """Seconds for which the threads of a process could have run, and others did; 0 where the kernel does not count them."""
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it has ended
            nanoseconds += int(thread.read_text().split()[1])
    return nanoseconds / 1e9
