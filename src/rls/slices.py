"""Long work that leaves the loop to others in between."""

from __future__ import annotations

import asyncio
import time

_SECONDS = 0.0005


class Slices:
    """Work that gives way after half a millisecond."""

    def __init__(self) -> None:
        self._end = time.monotonic() + _SECONDS

    async def next(self) -> None:
        """Let whatever waits have its turn, if it is time."""
        if time.monotonic() > self._end:
            await asyncio.sleep(0)
            self._end = time.monotonic() + _SECONDS
