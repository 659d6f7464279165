"""Permits of the grpcio transport, where calls wait in queues that nobody can look into."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

from rls.transport.base import Calls, Shed
from rls.transport.permits import Permits

LATE_SECONDS = 0.002
"""Calls wait for the CPU where the loop runs a timer so much too late. While they wait for Redis it is not late at all."""
_LOOK_SECONDS = 0.005


class Gate:
    """Counts the calls whose message has come and that are not answered; looks how late the loop is while there are any.

    Args:
        calls: Say how long a caller waits that sends no deadline.
        limit: Calls in progress; 0 for no limit.
        clock: Seconds. Not the loop's: uvloop's has whole milliseconds.
    """

    def __init__(self, calls: Calls, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._permits = Permits(limit, calls.caller_timeout, on_limit=calls.on_limit)
        self._caller_timeout = calls.caller_timeout
        self._clock = clock
        self._in_progress = 0
        self._by_client = Counter[str]()
        self._answered = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether any call is let in at present: `check` need not be called."""
        return not self._permits.late and self._in_progress < self._permits.free

    def check(self, client: str, seconds: float | None) -> None:
        """Ask for a permit for a call of *client*, which waits for so many *seconds*; None where it does not say.

        Raises:
            Shed: It would be one too many, or come too late.
        """
        mine, clients = self._by_client.get(client, 0), len(self._by_client) or 1
        seconds = self._caller_timeout if seconds is None else seconds
        if not self._permits.allow(mine, self._in_progress, clients, seconds):
            raise Shed("too many calls are in progress")

    @contextlib.contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Count a call of *client* as in progress."""
        by_client = self._by_client
        self._in_progress += 1
        by_client[client] += 1
        if self._timer is None:
            self._look_later()
        try:
            yield
        finally:
            self._in_progress -= 1
            by_client[client] -= 1
            if not by_client[client]:
                del by_client[client]
            self._answered += 1

    def _look_later(self) -> None:
        due = self._clock() + _LOOK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look, due)

    def _look(self, due: float) -> None:
        late = self._clock() - due > LATE_SECONDS
        answered, self._answered = self._answered, 0
        self._permits.note(answered, late=late)
        if late or answered or self._in_progress:
            self._look_later()
        else:
            self._timer = None
