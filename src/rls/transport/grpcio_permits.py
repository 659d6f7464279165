"""Permits of the grpcio transport, where calls wait in queues that nobody can look into."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

from rls.transport.base import Calls, Dropped
from rls.transport.permits import Permits
from rls.transport.wire import Aborted, StatusCode

LATE_SECONDS = 0.002
"""Calls wait for the CPU where the loop runs a timer so much too late. While they wait for Redis it is not late at all."""
_LOOK_SECONDS = 0.005


class Gate:
    """Counts the calls whose message has come and that are not answered; looks how late the loop is while there are any.

    Args:
        calls: Say how long a caller waits that sends no deadline, and what a call is answered with that is shed.
        limit: Calls in progress; 0 for no limit.
        clock: Seconds. Not the loop's: uvloop's has whole milliseconds.
    """

    def __init__(self, calls: Calls, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._permits = Permits(limit, calls.caller_timeout, on_limit=calls.on_limit)
        self._caller_timeout = calls.caller_timeout
        self._shed_answer = calls.shed_answer
        self._on_drop = calls.on_drop
        self._clock = clock
        self._in_progress = 0
        self._by_client = Counter[str]()
        self._answered = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether any call is let in at present: `allow` need not be asked."""
        return not self._permits.late and self._in_progress < self._permits.free

    def allow(self, client: str, seconds: float | None) -> bool:
        """Whether one more call of *client* is let in, which waits for so many *seconds*; None where it does not say."""
        mine, clients = self._by_client.get(client, 0), len(self._by_client) or 1
        return self._permits.allow(
            mine, self._in_progress, clients, self._caller_timeout if seconds is None else seconds
        )

    def shed(self) -> bytes:
        """Count a call that is not let in; returns its answer.

        Raises:
            Aborted: RESOURCE_EXHAUSTED where the answer is an error.
        """
        self._on_drop(Dropped.SHED)
        if self._shed_answer is None:
            raise Aborted(StatusCode.RESOURCE_EXHAUSTED, "too many calls are in progress")
        return self._shed_answer

    @contextlib.contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Count a call of *client* as in progress."""
        by_client = self._by_client
        self._in_progress += 1
        by_client[client] += 1
        try:
            yield
        finally:
            self._in_progress -= 1
            by_client[client] -= 1
            if not by_client[client]:
                del by_client[client]
            self._answered += 1
            if self._timer is None:
                self._look_later()

    def _look_later(self) -> None:
        due = self._clock() + _LOOK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look, due)

    def _look(self, due: float) -> None:
        late = self._clock() - due > LATE_SECONDS
        answered, self._answered = self._answered, 0
        self._permits.note(answered, late=late)
        if late or answered:
            self._look_later()
        else:
            self._timer = None
