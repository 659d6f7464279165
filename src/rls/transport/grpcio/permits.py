"""Permits of the grpcio transport."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

from rls.transport.base import Shed
from rls.transport.lateness import Lateness
from rls.transport.permits import Permits


class Gate:
    """Counts the calls that Python knows of, but for those that are half sent.

    Args:
        default_deadline: Seconds that a caller without a deadline is assumed to wait.
        limit: Calls in progress; 0 for no limit.
        incomplete: How many calls are counted here whose message does not come.
        on_limit: See `Permits`.
    """

    def __init__(
        self, default_deadline: float, limit: int, incomplete: Callable[[], int], on_limit: Callable[[int], None]
    ) -> None:
        self._permits = Permits(limit, default_deadline, on_limit=on_limit)
        self._lateness = Lateness(self._looked)
        self._default_deadline = default_deadline
        self._incomplete = incomplete
        self._held = 0
        self._by_client = Counter[str]()
        self._answered = 0

    @property
    def in_progress(self) -> int:
        """Calls in progress, without those that are half sent."""
        return max(0, self._held - self._incomplete())

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
        seconds = self._default_deadline if seconds is None else seconds
        if not self._permits.room(mine, self.in_progress, clients, seconds):
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
