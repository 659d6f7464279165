"""Programs that run beside this one: started, waited for, watched, and stopped by their pid."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self, TypeVar

T = TypeVar("T")

PATIENT = 60.0
LOOK_SECONDS = 0.02
"""Between two looks of `wait_for`, or more on a busy machine."""
"""Seconds to wait for a program: more than any busy machine needs."""


class Missing(Exception):
    """A part that is needed is not installed; the text says which, and how to get it."""


class NotSo(Exception):
    """What was waited for did not come to be."""


def exit_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise `SystemExit`, with the status that a shell gives to a program that they end.

    Python drops an exception that is raised while a destructor runs. The exit, or the KeyboardInterrupt of SIGINT, is raised again
    then, a moment later.
    """
    unraisable = sys.unraisablehook

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    def on_unraisable(dropped: sys.UnraisableHookArgs) -> None:
        error = dropped.exc_value
        if not isinstance(error, SystemExit | KeyboardInterrupt):
            unraisable(dropped)
            return

        def raise_again(_: int, __: FrameType | None) -> None:
            raise error

        signal.signal(signal.SIGALRM, raise_again)
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    sys.unraisablehook = on_unraisable


def sleep_until_signal() -> NoReturn:
    """Until a signal raises. `signal.pause` would miss one that comes just before it."""
    while True:
        time.sleep(1.0)


class Ports:
    """Ports of the loopback address, given out one after the other, so that none comes again soon.

    Below the range that outgoing connections take theirs from, so that they stay free until they are used, and while
    what used them is to start again. Processes that run at one time need ranges of their own.
    """

    def __init__(self, numbers: range) -> None:
        start = random.randrange(len(numbers))
        self._next: Iterator[int] = itertools.cycle([*numbers[start:], *numbers[:start]])

    def free(self) -> int:
        """One that nothing listens on."""
        while True:
            port = next(self._next)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port


PORTS = Ports(range(22_000, 32_000))


def free_port() -> int:
    """A port of `PORTS`."""
    return PORTS.free()


def wait_for(condition: Callable[[], T], what: str, seconds: float = PATIENT) -> T:
    """The first true value of *condition*; a refused or broken connection is not yet one.

    Raises:
        NotSo: There was none in time.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = value = condition()
            if value:
                return value
        except OSError as error:
            last = error
        time.sleep(LOOK_SECONDS)
    raise NotSo(f"not in {seconds:g} s: {what} (last: {last!r})")


class Process:
    """A running program; what it prints goes to the file *log*.

    With *new_group* it leads a process group of its own. *env* is added to its environment.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        new_group: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0 if new_group else None,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._popen.poll()

    def output(self) -> str:
        """All that it has printed."""
        return self.log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], T], what: str, seconds: float = PATIENT) -> T:
        """As `wait_for`, but without patience for a program that has ended.

        Raises:
            NotSo: With the end of what it printed.
        """

        def while_it_runs() -> T:
            if self.returncode is not None:
                raise NotSo(f"{self.name} has ended with {self.returncode}, before {what}")
            return condition()

        try:
            return wait_for(while_it_runs, what, seconds)
        except NotSo as error:
            lines = self.output().splitlines()[-30:]
            raise NotSo("\n".join([f"{self.name}: {error}", *lines])) from None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()
        self._popen.wait()

    def wait(self, seconds: float = PATIENT) -> int:
        """Its exit status."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotSo(f"{self.name} has not ended in {seconds:g} s") from None

    def stop(self, seconds: float = PATIENT) -> int:
        """Ask it to end, make it end where it does not in time; its exit status."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGCONT)
            self._popen.terminate()
            try:
                self._popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._popen.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()
