"""Group commit: all updates that arrive while one write to a node is under way go out together with the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from rls.errors import BackendError, TimedOut
from rls.stores.redis.batch_numbers import BatchNumbers
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.endpoint import NodeOptions
from rls.stores.redis.pending_batch import PendingBatch
from rls.stores.redis.ttl_tracker import TtlTracker

# The share of its time that a batch has at least once it is sent, however long it waited behind the one before.
_LEAST_SHARE = 0.5


class Sender:
    """Sends batches to one node, one at a time, and keeps their deadlines.

    Args:
        address: Of the node, for messages.
        options: See there.
        tracker: Knows which counters have their TTL.
        on_needed: Called when there is a call and no connection.
        on_replies: Called with each batch whose replies are parsed, before its calls get their counts.
        on_late: Called with the error when a call has waited long enough, for a connection or for replies.

    Attributes:
        next_batch: What the next write will take along.
        in_flight: What was written, and waits for its replies; after its deadline it has failed, and still waits.
        connection: The connection that batches are written to; None while disconnected.
        numbers: What its batches took.
    """

    def __init__(
        self,
        address: str,
        options: NodeOptions,
        tracker: TtlTracker,
        *,
        on_needed: Callable[[], None],
        on_replies: Callable[[PendingBatch], None],
        on_late: Callable[[TimedOut], None],
    ) -> None:
        self.next_batch = PendingBatch(address)
        self.in_flight: PendingBatch | None = None
        self.connection: NodeConnection | None = None
        self._address = address
        self._options = options
        self._tracker = tracker
        self._on_needed = on_needed
        self._on_replies = on_replies
        self._on_late = on_late
        self._timer: asyncio.TimerHandle | None = None
        self.numbers = BatchNumbers()
        self._scheduled_at = self._sent_at = 0.0
        self._reported_at = 0.0

    @property
    def is_answering(self) -> bool:
        """Whether there is a connection, and no reply is overdue."""
        in_flight = self.in_flight
        return self.connection is not None and (in_flight is None or in_flight.failed is None)

    @property
    def is_idle(self) -> bool:
        """Whether all that was given to it is answered."""
        return self.in_flight is None and not self.next_batch.is_scheduled

    def schedule(self) -> None:
        """The next batch has its first call: let those that are ready now join, then send it as soon as possible."""
        loop = asyncio.get_running_loop()
        pending = self.next_batch
        pending.is_scheduled = True
        self._scheduled_at = monotonic()
        if self.connection is not None and self.in_flight is None:
            # Its time begins when it is sent: it waits for nothing but this loop.
            loop.call_soon(self.flush)
            return
        timeout = self._options.timeout_seconds
        pending.deadline = loop.time() + timeout
        if self.connection is None:
            self._on_needed()
            if self._timer is None:
                self._timer = loop.call_later(timeout, self._late)

    def send_soon(self) -> None:
        """Send the next batch, whether or not there is a call for it."""
        if self.next_batch.is_scheduled:
            asyncio.get_running_loop().call_soon(self.flush)
        else:
            self.schedule()

    def attach(self, connection: NodeConnection) -> None:
        """There is a *connection*."""
        self._stop_timer()
        self.connection = connection

    def detach(self) -> None:
        """The connection is gone, and with it the replies to what is in flight."""
        self._stop_timer()
        self.connection = None
        if self.in_flight is not None:
            self.numbers.round_trip_seconds.add(monotonic() - self._sent_at)
        self.in_flight = None

    def fail(self, error: BackendError) -> PendingBatch:
        """Fail all calls that wait with *error*. The batch in flight stays: its replies may still come.

        Returns:
            The batch that was to be sent next; it is not sent.
        """
        if self.in_flight is not None:
            if self.in_flight.failed is None:
                self._report(self.in_flight, str(error))
            self.in_flight.fail(type(error)(str(error), in_doubt=True))
        failed, self.next_batch = self.next_batch, PendingBatch(self._address)
        failed.fail(error)
        return failed

    def flush(self) -> None:
        """Send the next batch if it is scheduled, and no write is under way."""
        connection, pending = self.connection, self.next_batch
        if connection is None or self.in_flight is not None or not pending.is_scheduled:
            return
        self.next_batch = PendingBatch(self._address)
        self.in_flight = pending
        if self._options.on_batch is not None:
            self._reported_at = self._options.clock()
        self._sent_at = monotonic()
        if self._scheduled_at:
            self.numbers.queue_seconds.add(self._sent_at - self._scheduled_at)
            self._scheduled_at = 0.0
        self.numbers.calls.add(len(pending.waiting) + len(pending.on_done))
        tracker = self._tracker
        tracker.sweep()
        commands = pending.batch.pack(tracker.with_ttl, tracker.seconds_to_live)
        loop = asyncio.get_running_loop()
        now, timeout = loop.time(), self._options.timeout_seconds
        pending.deadline = max(pending.deadline or now + timeout, now + _LEAST_SHARE * timeout)
        self._timer = loop.call_at(pending.deadline, self._overdue)
        connection.send(commands, pending.batch.expected, self._replied)

    def _replied(self, replies: list[Any]) -> None:
        """All replies to the batch in flight are there: send the next, and give the calls of this one their counts."""
        pending = self.in_flight
        assert pending is not None
        self._stop_timer()
        self.in_flight = None
        self.numbers.round_trip_seconds.add(monotonic() - self._sent_at)
        pending.batch.parse_replies(replies)
        self._on_replies(pending)
        if pending.failed is None:
            self._report(pending)
        self.flush()  # first: Redis counts while its replies are passed on
        if pending.failed is None:
            pending.wake()

    def _report(self, pending: PendingBatch, error: str = "") -> None:
        """Report *pending* to the observer of batches, before its calls get their counts."""
        if self._options.on_batch is not None:
            seconds = self._options.clock() - self._reported_at
            self._options.on_batch(pending.report(self._reported_at, seconds, error))

    def _overdue(self) -> None:
        """The deadline is over. If it was this loop that stood still, the replies may be there, unread: read them first."""
        # Not 0: uvloop takes that for call_soon, and calls it before it reads from sockets.
        self._timer = asyncio.get_running_loop().call_later(0.001, self._late)

    def _late(self) -> None:
        """Report it. The connection is kept for a while: if its replies come after all, all is well again."""
        self._timer = None
        milliseconds = self._options.timeout_seconds * 1000
        if self.connection is None:
            self._on_late(TimedOut(f"Redis at {self._address}: no connection within {milliseconds:g} ms"))
            return
        reason = f"no answer within {milliseconds:g} ms"
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._options.connect_timeout_seconds, self.connection.abandon, reason)
        self._on_late(TimedOut(f"Redis at {self._address}: {reason}"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
