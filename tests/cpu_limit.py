"""A CPU limit for a process: a real one where a test may set it, else a `cpu.stat` of its own that says so."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from examples.mesh.processes import NotSo, wait_for

_CGROUPS = Path("/sys/fs/cgroup")
# Enters a cgroup, and becomes the program.
_ENTER = ("sh", "-c", 'echo $$ >"$0" && exec "$@"')
_BY_FILE = (
    "import sys; from pathlib import Path; from rls.observe.cpu import CpuStat; "
    "CpuStat.__init__.__defaults__ = (Path(sys.argv.pop(1)),); from rls.cli import app; app()"
)
_STAT = "nr_periods {}\nnr_throttled {}\nthrottled_usec 1\n"


class CpuLimit:
    """A limit that does not bind yet; *folder* is for a file in its place, and *stack* is left when the process has ended.

    Attributes:
        python: What runs `program` under it; see `RlsProcess`.
        program: What to run.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.python: Sequence[str | Path] = (sys.executable,)
        self.program: Sequence[str | Path] = ("-m", "rls")
        self._cgroup = _new_cgroup()
        self._file = folder / "sys/fs/cgroup/cpu.stat"
        if self._cgroup is not None:
            stack.callback(_remove, self._cgroup)
            self.python = (*_ENTER, self._cgroup / "cgroup.procs", sys.executable)
            return
        for path, text in ((folder / "proc/self/cgroup", "0::/\n"), (self._file, _STAT.format(0, 0))):
            path.parent.mkdir(parents=True)
            path.write_text(text)
        self.program = ("-c", _BY_FILE, folder)

    def lower(self) -> None:
        """From now on, the process gets a tenth of a CPU."""
        if self._cgroup is None:
            time.sleep(2.5)  # it has read the numbers before, which it does every second
            self._file.write_text(_STAT.format(100, 50))
        elif (self._cgroup / "cpu.max").exists():
            (self._cgroup / "cpu.max").write_text("10000 100000")
        else:
            (self._cgroup / "cpu.cfs_quota_us").write_text("10000")


def _new_cgroup() -> Path | None:
    """A cgroup whose CPU limit can be set; None where that is not allowed."""
    name = f"rls-test-{os.getpid()}"
    try:
        if (_CGROUPS / "cgroup.controllers").exists():
            (_CGROUPS / "cgroup.subtree_control").write_text("+cpu")
            found, limit = _CGROUPS / name, "cpu.max"
        else:
            found, limit = _CGROUPS / "cpu" / name, "cpu.cfs_quota_us"
        found.mkdir()
    except OSError:
        return None
    if (found / limit).exists():
        return found
    found.rmdir()
    return None


def _remove(cgroup: Path) -> None:
    def gone() -> bool:
        try:
            cgroup.rmdir()
        except OSError:  # the kernel has not taken the process out yet
            return False
        return True

    try:
        wait_for(gone, "the cgroup is removed")
    except NotSo:
        raise AssertionError(f"{cgroup} is still in use") from None
