"""Signals during the start, before the event loop handles them: SIGHUP would end the process.

This module imports nothing slow: see `hold`.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType


def in_terminal() -> bool:
    """Whether somebody runs this in a terminal: a SIGHUP says then that the terminal is gone, and a SIGINT is a Ctrl-C."""
    try:
        return os.isatty(0)
    except OSError:
        return False


def hold() -> None:
    """Exit with 0 on SIGTERM and SIGINT, since nothing is served yet, and ignore SIGHUP, since no rules are loaded yet.

    In a terminal SIGHUP ends the process, too. Call it before importing the rest, which takes half a second. The loop's
    handlers replace these.
    """
    signal.signal(signal.SIGHUP, _end if in_terminal() else _ignore)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _ignore(_: int, __: FrameType | None) -> None:
    """The start loads the rules anyway."""


def _end(_: int, __: FrameType | None) -> None:
    # No exception: a module being imported might catch it.
    with contextlib.suppress(OSError):  # the terminal is gone
        os.write(2, b"rls: stopped during the start\n")
    os._exit(0)
