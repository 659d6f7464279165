"""Signals that arrive while the server starts, before its loop handles them: SIGHUP would end the process.

Imports nothing that takes long: see `hold`.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def hold() -> None:
    """Ignore SIGHUP, as no rules have been read yet, and end with 0 on SIGTERM and SIGINT, as nothing is served yet.

    To be called before the rest is imported, which takes half a second. The loop's handlers replace these.
    """
    signal.signal(signal.SIGHUP, _ignore)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _ignore(_: int, __: FrameType | None) -> None:
    """The rules will be read anyway."""


def _end(_: int, __: FrameType | None) -> None:
    # No exception: whatever is being imported might catch it.
    os.write(2, b"rls: stopped before it had started\n")
    os._exit(0)
