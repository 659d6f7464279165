"""Which calls are admitted. A unary call without a permit is shed: answered at once, before its message is looked at.

A call is shed only if it could not be answered in its own time, or if its connection has more than its share of the calls in
progress. Half-sent calls and streaming calls have bounds of their own, so they take nothing from the calls that are whole.
The transport counts; there is no loop and no socket in here.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable

from rls.transport.status import Aborted, StatusCode

WAIT = 0.2
"""The part of its time that a call may be expected to wait for its turn. The rest is for its answer, its ways there and back,
and for what the expectation does not see: time before the call was read, and work that comes between. Measured under
overload: with 4 ms of 20 ms expected, the median of the answers takes 5 to 12 ms, the 99th percentile 13 to 20 ms."""
TOO_LATE = 0.6
"""A call that has waited for this part of its time is not begun: its answer would come too late, and those behind it have
waited less."""

_WINDOW_SECONDS = 0.010
_WINDOWS = 4
_FIRST_RATE = 50_000.0
# So many may always wait: whatever was measured, they are soon done.
_LEAST = 8
_UNLIMITED = 1 << 62


def room_for(limit: int, total: int, mine: int, connections: int) -> int:
    """How many more one connection may add to *total*, of which it has *mine*, and so many *connections* any.

    The last eighth of *limit* is for connections that have less than an equal share, one more connection counted.
    """
    share = -(-limit // (connections + 1))
    return max(0, limit - limit // 8 - total, min(limit - total, share - mine))


class Permits:
    """Decides for one server, by how many calls are in progress: begun or about to be, and not answered.

    **The bound.** Over `limit` calls in progress, only the first call of a connection is let in. A connection with many
    calls leaves room for others: see `room_for`.

    **While calls wait for the CPU**, as many are let in as can be begun in time: by Little's law, the rate at which calls
    were begun lately, times the seconds that the new call has. So the newest are shed first. Connections take turns, so
    a call waits only for as many calls of each other connection as its own has.

    Args:
        limit: Calls in progress; 0 for no limit.
        usual_seconds: That a usual call has.
        on_limit: Called with how many usual calls may be in progress, at first and whenever that changes; 0 for no limit.
        clock: Seconds.

    Attributes:
        late: Whether calls wait for the CPU, or are shed while it is busy.
        most: Usual calls that may be in progress at present.
        free: With so many calls in progress or fewer, and if not `late`, every call is let in.
        rate: Calls begun in a second, as measured when it was last `late`.
    """

    def __init__(
        self,
        limit: int,
        usual_seconds: float = 0.02,
        *,
        on_limit: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.late = False
        self.rate = _FIRST_RATE
        self._limit = limit or _UNLIMITED
        self.free = self._limit - self._limit // 8
        self._usual_seconds = usual_seconds
        self._on_limit = on_limit
        self._clock = clock
        # Of the last windows of time that were late throughout; of the present window, when it began and calls begun.
        self._rates = deque([self.rate] * _WINDOWS, maxlen=_WINDOWS)
        self._since = 0.0
        self._begun = 0
        self.most = self._limit
        on_limit(limit)

    def room(self, mine: int, total: int, connections: int, seconds: float) -> int:
        """How many more calls of one connection are let in, one after another.

        Args:
            mine: Calls that the connection has in progress.
            total: Calls that all have.
            connections: How many connections have any.
            seconds: How long its callers still wait.
        """
        room = room_for(self._limit, total, mine, connections)
        if self.late:
            # A call has to wait for all calls, or for as many of each connection as its own has.
            most = max(_LEAST - 1, int(self.rate * seconds * WAIT))
            room = min(room, max(most + 1 - total, most // connections - mine))
        return max(room, 0 if mine else 1)

    def note(self, begun: int, *, late: bool) -> None:
        """Called again and again while calls wait for the CPU, or are shed while it is busy; and once when that is over.

        Args:
            begun: Calls begun since the last time.
            late: Whether it is not over. What is begun while the CPU is busy with shedding, too, is what it has time for.
        """
        if self.late and late:
            self._measure(begun)
        elif late:
            self._since = self._clock()
            self._begun = 0
        self.late = late
        limit = min(self._limit, max(_LEAST, int(self.rate * self._usual_seconds * WAIT))) if late else self._limit
        if limit != self.most:
            self.most = limit
            self._on_limit(0 if limit == _UNLIMITED else limit)

    def _measure(self, begun: int) -> None:
        self._begun += begun
        now = self._clock()
        seconds = now - self._since
        # A loop that does something else, or calls that have come but just begin their way, say nothing of the rate.
        if seconds >= _WINDOW_SECONDS and self._begun >= _LEAST:
            self._rates.append(self._begun / seconds)
            # The highest: while the whole process stands still nothing is begun, which says nothing of what a call costs.
            self.rate = max(self._rates)
            self._since = now
            self._begun = 0


class StreamPermits:
    """Bounds the calls of one streaming method, and how many of them one connection has: see `room_for`.

    Args:
        max_calls: At one time.
        on_shed: Called for each call that gets no permit.
    """

    def __init__(self, max_calls: int, on_shed: Callable[[], None] = lambda: None) -> None:
        self._max_calls = max_calls
        self._on_shed = on_shed
        self._by_connection = Counter[object]()

    def acquire(self, connection: object) -> None:
        """Take a permit for a call of *connection*.

        Raises:
            Aborted: RESOURCE_EXHAUSTED.
        """
        held, most = self._by_connection, self._max_calls
        total, mine = held.total(), held.get(connection, 0)
        if not room_for(most, total, mine, len(held) or 1):
            self._on_shed()
            text = f"{total} of at most {most} calls of this method are in progress, {mine} of them on this connection"
            rest = f"; the other {most - total} are for other connections" if total < most else ""
            raise Aborted(StatusCode.RESOURCE_EXHAUSTED, text + rest)
        held[connection] += 1

    def release(self, connection: object) -> None:
        """Give a permit back."""
        held = self._by_connection
        held[connection] -= 1
        if not held[connection]:
            del held[connection]
