"""How many calls are let in while calls wait too long for the CPU."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

WAIT = 0.008
"""Seconds that a call may wait for others here: with its ways there and back it stays in the 20 ms that Envoy waits."""

_LEAST = 8
_LOOK_EVERY = 0.005
_LOOKS = 10
# How late the loop is where calls wait for `WAIT`; where they wait for a backend it is not late at all.
_LATE = 0.002


class Admission:
    """Lowers the number of calls in progress to what is done in `WAIT`.

    The server below lets a fixed number of calls in, and refuses the others before Python sees them. That number is right
    for calls and CPUs of one kind; where they are slower, calls of that number wait for longer than their callers do. So
    calls that are done keep their places then, and only so many are left for new ones as, by Little's law, finish in
    `WAIT`. The places are given back, a few at a time, once the loop is no longer late.

    Attributes:
        limit: Calls that may be in progress.
        slow: Seconds; a call that took longer is to be told of. Below 0, so every call is, while it is watched.

    Args:
        at_most: Calls that the server lets in; 0 for no limit, which cannot be lowered.
        on_limit: Is told `limit`, at first and whenever it changes.
        clock: Seconds. Not the loop's: uvloop's has whole milliseconds.
    """

    def __init__(
        self,
        at_most: int,
        on_limit: Callable[[int], None] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = at_most
        self.slow = WAIT if at_most else float("inf")
        self._at_most = at_most
        self._on_limit = on_limit
        self._clock = clock
        self._places: list[asyncio.Future[None]] = []
        self._lags: list[float] = []
        self._rates: deque[float] = deque(maxlen=4)
        self._done = 0
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        on_limit(at_most)

    def watch(self) -> None:
        """Look how late the loop is, until all is well: a call waited too long."""
        if self._timer is None and self.slow > 0 and self._at_most:
            self.slow = -1.0
            self._begin()

    def done(self) -> None:
        """A call that took longer than `slow` is over."""
        self._done += 1
        self.watch()

    async def leave(self) -> None:
        """As `done`, and the call keeps its place for as long as must be."""
        self.done()
        if len(self._places) < self._at_most - self.limit:
            place = asyncio.get_running_loop().create_future()
            self._places.append(place)
            try:
                await place
            finally:
                if place in self._places:  # its connection is gone, and its place with it
                    self._places.remove(place)

    def close(self) -> None:
        """Give all places back, for good."""
        self.slow = float("inf")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._set(self._at_most)

    def _begin(self) -> None:
        self._lags.clear()
        self._done = 0
        self._since = self._clock()
        self._look_again()

    def _look_again(self) -> None:
        due = self._clock() + _LOOK_EVERY
        self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look, due)

    def _look(self, due: float) -> None:
        now = self._clock()
        self._lags.append(now - due)
        if len(self._lags) < _LOOKS:
            self._look_again()
            return
        self._rates.append(self._done / (now - self._since))
        # Without the longest, which may be a pause: to let fewer calls in does not shorten it.
        late = (sum(self._lags) - max(self._lags)) / (_LOOKS - 1)
        if late > _LATE:
            self._set(int(max(self._rates) * WAIT))
        elif late < _LATE / 2:
            self._set(self.limit + self.limit // 4 + 1)
        if self.limit < self._at_most:
            self._begin()
        else:
            self._timer = None
            self.slow = WAIT

    def _set(self, limit: int) -> None:
        limit = min(self._at_most, max(_LEAST, limit))
        if limit != self.limit:
            self.limit = limit
            self._on_limit(limit)
        while len(self._places) > self._at_most - limit:
            place = self._places.pop()
            if not place.done():
                place.set_result(None)
