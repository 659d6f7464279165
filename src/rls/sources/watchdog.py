"""Reads files in threads, and survives a file system that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from rls.sources.disk import Disk
from rls.utc import utc

MAX_HUNG = 8
"""Threads that may hang at one time, each on a path of its own. While so many do, no other path is asked."""

T = TypeVar("T")


class NoAnswerError(OSError):
    """A path on which an earlier operation still waits for the file system."""

    def __init__(self, since: float) -> None:
        super().__init__(errno.ETIMEDOUT, f"no answer since {utc(since)}")


class NoThreadError(Exception):
    """The system gives no thread to a job."""


class Watchdog:
    """Runs jobs that read files, each in a thread of its own.

    An operation that takes longer than *seconds* costs its path, not the job: the thread is left behind, and the job
    starts again. Until the operation ends, everything that is asked of its path raises `NoAnswerError`. Threads are
    daemons and not the loop's: `asyncio.run` and the interpreter wait for the loop's threads at the end.

    Attributes:
        answered: How many operations have ended late.

    Args:
        disk: Where the files are.
        seconds: Longest that one operation may take; a large file is read in several.
    """

    def __init__(self, disk: Disk | None = None, *, seconds: float = 5.0) -> None:
        self._disk = disk or Disk()
        self._seconds = seconds
        self.answered = 0
        self._hung: dict[str, float] = {}

    async def run(self, job: Callable[[Disk], T]) -> T:
        """What *job* returns or raises; it must read through the disk that it is given, and may run more than once.

        Raises:
            NoThreadError: It cannot run.
        """
        while True:
            attempt = _Attempt(self._disk, dict(self._hung))
            future = self._start(job, attempt)
            try:
                while not attempt.hangs(self._seconds):
                    done, _ = await asyncio.wait([future], timeout=self._seconds / 4)
                    if done:
                        return future.result()
            finally:
                attempt.abandon()
                future.cancel()
            self._hung[attempt.path] = attempt.since

    def _start(self, job: Callable[[Disk], T], attempt: _Attempt) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def complete(result: T | None, error: BaseException | None) -> None:
            if isinstance(error, _Abandoned):
                self.answered += self._hung.pop(attempt.path, None) is not None
            elif not future.done() and error is not None:
                future.set_exception(error)
            elif not future.done():
                future.set_result(result)  # type: ignore[arg-type]  # there is one where there is no error

        def work() -> None:
            result, error = None, None
            try:
                result = job(attempt)
            except BaseException as raised:  # noqa: BLE001  # the loop's side raises it
                error = raised
            # The loop is closed where the process has ended in the meantime.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(complete, result, error)

        try:
            threading.Thread(target=work, name="rules", daemon=True).start()
        except RuntimeError as error:
            raise NoThreadError(str(error)) from None
        return future


class _Abandoned(BaseException):
    """Ends a job that nobody waits for any more."""


class _Attempt(Disk):
    """The disk of one thread, which notes what the thread waits for.

    Attributes:
        path: What the thread asks for, or asked for when it was abandoned.
        since: When it began, in Unix seconds.
    """

    def __init__(self, disk: Disk, hung: Mapping[str, float]) -> None:
        self.path = ""
        self.since = 0.0
        self._disk = disk
        self._hung = hung
        self._lock = threading.Lock()
        self._began: float | None = None
        self._abandoned = False

    def hangs(self, seconds: float) -> bool:
        """Whether the thread has waited for longer than *seconds*; if so, it is abandoned."""
        with self._lock:
            if self._began is not None and time.monotonic() - self._began > seconds:
                self._abandoned = True
            return self._abandoned

    def abandon(self) -> None:
        """End the job at its next operation."""
        with self._lock:
            self._abandoned = True

    def stat(self, path: str) -> os.stat_result:
        return self._do(path, self._disk.stat, path)

    def lstat(self, path: str) -> os.stat_result:
        return self._do(path, self._disk.lstat, path)

    def names(self, path: str) -> list[str]:
        return self._do(path, self._disk.names, path)

    def chunks(self, path: str) -> Iterator[bytes]:
        chunks = self._disk.chunks(path)
        while chunk := self._do(path, next, chunks, b""):
            yield chunk

    def _do(self, path: str, operation: Callable[..., T], *arguments: Any) -> T:
        if path in self._hung:
            raise NoAnswerError(self._hung[path])
        if len(self._hung) >= MAX_HUNG:
            raise NoAnswerError(min(self._hung.values()))
        with self._lock:
            if self._abandoned:
                raise _Abandoned
            self.path, self.since, self._began = path, time.time(), time.monotonic()
        try:
            return operation(*arguments)
        finally:
            with self._lock:
                self._began = None
                if self._abandoned:
                    raise _Abandoned
