"""Permits of the grpcio transport."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

from rls.transport.base import Calls, Shed
from rls.transport.lateness import Lateness
from rls.transport.permits import Permits


class Gate:
    """Counts the calls that Python knows of, but for those that are half sent.

    Args:
        calls: Say how long a caller waits that sends no deadline.
        limit: Calls in progress; 0 for no limit.
        half_sent: How many calls are counted here whose message does not come.
    """

    def __init__(self, calls: Calls, limit: int, half_sent: Callable[[], int]) -> None:
        self._permits = Permits(limit, calls.caller_timeout, on_limit=calls.on_limit)
        self._lateness = Lateness(self._looked)
        self._caller_timeout = calls.caller_timeout
        self._half_sent = half_sent
        self._held = 0
        self._by_client = Counter[str]()
        self._answered = 0

    @property
    def is_open(self) -> bool:
        """Whether any call is let in at present: `check` need not be called."""
        return not self._permits.late and self._held < self._permits.free

    def check(self, client: str, seconds: float | None) -> None:
        """Ask for a permit for a call of *client*, which waits for so many *seconds*; None where it does not say.

        Raises:
            Shed: It would be one too many, or come too late.
        """
        mine, clients = self._by_client.get(client, 0), len(self._by_client) or 1
        seconds = self._caller_timeout if seconds is None else seconds
        if not self._permits.allow(mine, max(0, self._held - self._half_sent()), clients, seconds):
            raise Shed("too many calls are in progress")

    @contextlib.contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Count a call of *client*."""
        by_client = self._by_client
        self._held += 1
        by_client[client] += 1
        self._lateness.watch()
        try:
            yield
        finally:
            self._held -= 1
            by_client[client] -= 1
            if not by_client[client]:
                del by_client[client]
            self._answered += 1

    def _looked(self, late: bool) -> bool:
        answered, self._answered = self._answered, 0
        self._permits.note(answered, late=late)
        return bool(answered or self._held)
