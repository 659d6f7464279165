"""Lines to a file or to standard output, whatever these do: a disk that hangs or a pipe that nobody reads stops no check.

The loop collects lines, and hands them to a thread some times a second. The thread waits in `write`, which needs no GIL. What
comes while it is stuck is kept up to a bound, and then dropped and counted.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from rls.observe.seldom import Seldom

STUCK, FAILED = "stuck", "failed"
MOST_BYTES = 1 << 20
"""Of lines that wait while others are being written."""
_EVERY_SECONDS = 0.1
_TOLD_SECONDS = 60.0
_POLL_SECONDS = 0.01
_STDOUT = 1
_MODE = 0o640
"""Decisions hold values of requests: not for everybody on the machine."""


class _Chunk(NamedTuple):
    data: bytes
    lines: int


class LineWriter:
    """Writes lines of bytes to *path*, or to standard output where it is None.

    The file is opened again when another one has its name, or none, as after a rotation; and on `reopen`.

    Args:
        path: Where to.
        on_problem: Called with a reason when lines are lost, once a minute at most.

    Attributes:
        written: Lines so far.
        dropped: Lines so far that were lost: STUCK where the thread could not keep up, FAILED where a write failed.
    """

    def __init__(self, path: Path | None, on_problem: Callable[[str], None] = lambda _: None) -> None:
        self.written = 0
        self.dropped = {STUCK: 0, FAILED: 0}
        self._path = path
        self._on_problem = on_problem
        self._lines: list[bytes] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: SimpleQueue[_Chunk | None] = SimpleQueue()
        self._busy = False  # set in the loop, reset in the thread
        self._reopen = False
        self._error = ""
        self._seldom = Seldom(_TOLD_SECONDS)
        self._file: int | None = _STDOUT if path is None else None
        self._thread: threading.Thread | None = None

    def add(self, line: bytes) -> None:
        """Write *line*, without its end, some time soon. In the loop's thread."""
        if self._bytes > MOST_BYTES:
            self.dropped[STUCK] += 1
            self._tell(f"{self._name} does not take what is written")
            return
        self._lines.append(line)
        self._bytes += len(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._hand_over)

    def reopen(self) -> None:
        """Open the file again before the next line."""
        self._reopen = True

    async def aclose(self, seconds: float) -> None:
        """Write what waits, for at most *seconds*; what is lost all the same is counted."""
        deadline = time.monotonic() + seconds
        while (self._lines or self._busy) and time.monotonic() < deadline:
            if not self._busy:
                self._hand_over()
            await asyncio.sleep(_POLL_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
        self.dropped[STUCK] += len(self._lines)
        self._lines.clear()
        self._chunks.put(None)

    @property
    def _name(self) -> str:
        return "standard output" if self._path is None else str(self._path)

    def _hand_over(self) -> None:
        """Give the thread what waits, unless it is still at what it got before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._error:
            self._tell(self._error)
            self._error = ""
        if not self._busy:
            self._busy = True
            if self._thread is None and not self._start_thread():
                return
            self._chunks.put(_Chunk(b"\n".join((*self._lines, b"")), len(self._lines)))
            self._lines.clear()
            self._bytes = 0
        else:
            self._timer = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._hand_over)

    def _start_thread(self) -> bool:
        thread = threading.Thread(target=self._write_all, name="decision log", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no thread now
            self._busy = False
            self._tell(f"{self._name}: {error}")
            self._timer = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._hand_over)
            return False
        self._thread = thread
        return True

    def _tell(self, reason: str) -> None:
        if self._seldom.due("lost") is not None:
            self._on_problem(reason)

    def _write_all(self) -> None:
        """The thread's work. It waits nearly all of its time."""
        while (chunk := self._chunks.get()) is not None:
            try:
                self._write(self._opened(), chunk.data)
            except OSError as error:
                self.dropped[FAILED] += chunk.lines
                self._error = f"{self._name}: {error.strerror}"
            else:
                self.written += chunk.lines
            self._busy = False

    def _opened(self) -> int:
        """The file, opened anew where its name has another file now."""
        if self._path is None:
            return _STDOUT
        if self._file is not None and (self._reopen or not self._is_there(self._path, self._file)):
            os.close(self._file)
            self._file = None
        if self._file is None:
            self._reopen = False
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        return self._file

    @staticmethod
    def _is_there(path: Path, file: int) -> bool:
        try:
            return os.path.samestat(path.stat(), os.fstat(file))
        except FileNotFoundError:
            return False

    @staticmethod
    def _write(file: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(file, left) :]
            except BlockingIOError:  # others may have made standard output non-blocking
                select.select([], [file], [])
