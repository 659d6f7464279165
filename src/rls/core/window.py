"""Fixed windows, aligned to the Unix epoch."""

from __future__ import annotations


def window_start(now: int, length: int) -> int:
    """First second of the window of *length* seconds that holds the second *now*."""
    return now - now % length


def seconds_until_reset(now: int, length: int) -> int:
    """Seconds from *now* to the next window, 1 to *length*."""
    return length - now % length
