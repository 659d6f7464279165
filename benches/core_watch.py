"""Processes of our own that measure a core while something else runs on it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from benches.machine import on_core

_ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def watching(core: int, module: str, note: Callable[[float, float], None]) -> Iterator[None]:
    """Run *module* on *core*, and *note* the two numbers of each line that it writes: a time of `time.perf_counter`, and seconds."""
    command = [*on_core(core), sys.executable, "-m", module]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT, start_new_session=True) as process:
        reader = threading.Thread(target=_read, args=(process, note), daemon=True)
        reader.start()
        try:
            yield
        finally:
            process.kill()
            reader.join()


def _read(process: subprocess.Popen[str], note: Callable[[float, float], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        at, seconds = map(float, line.split())
        note(at, seconds)
