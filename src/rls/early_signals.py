"""Signals during the start, before the event loop handles them: SIGHUP would end the process.

This module imports nothing slow: see `hold`.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def hold() -> None:
    """Ignore SIGHUP, since no rules are loaded yet, and exit with 0 on SIGTERM and SIGINT, since nothing is served yet.

    Call it before importing the rest, which takes half a second. The loop's handlers replace these.
    """
    signal.signal(signal.SIGHUP, _ignore)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _ignore(_: int, __: FrameType | None) -> None:
    """The start loads the rules anyway."""


def _end(_: int, __: FrameType | None) -> None:
    # No exception: a module being imported might catch it.
    os.write(2, b"rls: stopped during the start\n")
    os._exit(0)
