"""One Redis node: its connection, the group commit of what is sent to it, its time limit, and whether it is down.

Group commit: all hits that arrive while one write to the node is under way go out together with the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rls.core.update import CounterUpdate
from rls.errors import BackendError, TimedOut
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.endpoint import Endpoint, NodeOptions
from rls.stores.redis.password import Rotation
from rls.stores.redis.pending_batch import PendingBatch
from rls.stores.redis.reconnect import Reconnect
from rls.stores.redis.ttl_tracker import TtlTracker
from rls.stores.redis.write_probe import WriteProbe

# Of its time, what a batch has at least once it is sent, however long it waited behind the one before.
_LEAST_SHARE = 0.5


class Node:
    """One node. Belongs to the loop in which it is first used.

    The connection is opened by the first call, and opened again in the background when it is lost; while there is none,
    calls fail at once instead of waiting. So they do while it refuses writes; see `WriteProbe`.

    Args:
        endpoint: Where it is.
        options: Its time limits and the like.
        ping: See `WriteProbe`.
        on_refusals: Called with a flight that has landed, before its calls are woken, where commands of it were refused.
        on_change: Called when it goes down, and when it is back.

    Attributes:
        down: Why it cannot be used; None while it can.
        filling: What the next write will take along.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: NodeOptions,
        *,
        ping: Callable[[Node], CounterUpdate | None],
        on_refusals: Callable[[Node, PendingBatch], None],
        on_change: Callable[[Node], None] = lambda _: None,
    ) -> None:
        self.endpoint = endpoint
        self.down: BackendError | None = None
        self.filling = PendingBatch(endpoint.address)
        self._options = options
        self._on_refusals = on_refusals
        self._on_change = on_change
        self._lifetimes = TtlTracker(options, endpoint.address)
        self._connection: NodeConnection | None = None
        self._reconnect = Reconnect(
            endpoint, options, on_open=self._connected, on_lost=self._lost, on_failed=self._not_connected
        )
        self._rotation = Rotation(endpoint.password_file, self.ask)
        self._in_flight: PendingBatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._standing = WriteProbe(self, ping)
        self._retiring = False
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, and no attempt to connect is left."""
        return self._closed and not self._reconnect.is_under_way

    @property
    def is_connected(self) -> bool:
        """Whether it has been reached, and answers; it may refuse writes."""
        in_flight = self._in_flight
        return self._connection is not None and (in_flight is None or in_flight.failed is None)

    def schedule(self, flight: PendingBatch) -> asyncio.Future[None]:
        """The first call of a batch: let those that are ready now join, then send it as soon as the line is free."""
        loop = asyncio.get_running_loop()
        landed = flight.landed = loop.create_future()
        timeout = self._options.timeout_seconds
        if self._connection is not None and self._in_flight is None:
            # Its time begins when it is sent: it waits for nothing but this loop.
            loop.call_soon(self._send)
            return landed
        flight.due = loop.time() + timeout
        if self._connection is None:
            self.open()
            if self._timer is None:
                self._timer = loop.call_later(timeout, self._time_out)
        return landed

    def send_soon(self) -> None:
        """Send what is filling, whether or not there is a call for it."""
        if self.filling.landed is None:
            self.schedule(self.filling)
        else:
            asyncio.get_running_loop().call_soon(self._send)

    def open(self) -> None:
        """Connect in the background, unless that is under way."""
        if self._connection is None and not self._closed:
            self._reconnect.start()

    def go_down(self, error: BackendError) -> None:
        """From now on calls fail at once."""
        was_down, self.down = self.down, error
        if was_down is None:
            self._on_change(self)

    def come_back(self) -> None:
        """From now on calls are sent."""
        was_down, self.down = self.down, None
        if was_down is not None:
            self._on_change(self)

    async def ask(self, command: bytes) -> Any:
        """The reply to a packed *command* that is no hit; it goes out with the next write.

        Raises:
            BackendError: No reply came, or the reply is an error.
        """
        if self.down is not None and not self.is_connected:
            raise self.down.with_traceback(None)
        flight = self.filling
        number = flight.batch.ask(command)
        if flight.landed is None:
            self.schedule(flight)
        await flight.wait_on()
        await flight.base(number)
        return flight.batch.replies[number]

    def give_ttl(self, hit: CounterUpdate) -> None:
        """Make sure that the counter of *hit* expires, whether or not a call follows; after the connection is back, too."""
        self.filling.batch.expire(hit)
        if self.filling.landed is None and not self._closed:
            if self.down is None:
                self.schedule(self.filling)
            else:
                self.filling.landed = asyncio.get_running_loop().create_future()

    def leave(self, reason: str) -> None:
        """Give the connection up, and try for another: there may be another node at its end then."""
        if self._connection is not None:
            self._connection.leave(reason)

    def retire(self) -> list[CounterUpdate]:
        """Close it as soon as all that was given to it is answered.

        Returns:
            Hits whose counters still need a TTL, which it cannot give any more.
        """
        self._retiring = True
        owed = self._lifetimes.owed
        if self.is_connected:
            self._send()
        else:
            owed += self.filling.batch.ttls()
            self.close()
        return owed

    async def aclose(self) -> None:
        """Close the connection; calls under way fail."""
        self.close()
        await self._reconnect.wait_stopped()

    def close(self) -> None:
        """As `aclose`, but without waiting for an attempt to connect to end."""
        self._closed = True
        self._reconnect.stop()
        if self._connection is not None:
            self._connection.close()
        self._rotation.stop()
        self._stop_timer()
        self._standing.forget()
        self._lifetimes.close()
        self._fail(BackendError("the backend is closed"))
        self._in_flight = None

    def _send(self) -> None:
        connection = self._connection
        flight = self.filling
        if connection is None or self._in_flight is not None:
            return
        if flight.landed is None:
            if self._retiring:
                self.close()
            return
        self.filling = PendingBatch(self.endpoint.address)
        self._in_flight = flight
        lifetimes = self._lifetimes
        lifetimes.sweep()
        commands = flight.batch.pack(lifetimes.with_ttl, lifetimes.seconds_to_live)
        loop = flight.landed.get_loop()
        now, timeout = loop.time(), self._options.timeout_seconds
        flight.due = max(flight.due or now + timeout, now + _LEAST_SHARE * timeout)
        self._timer = loop.call_at(flight.due, self._overdue)
        connection.send(commands, flight.batch.expected, self._land)

    def _land(self, replies: list[Any]) -> None:
        """All replies of the batch in flight are there: wake its calls, and send the next."""
        flight = self._in_flight
        assert flight is not None
        self._stop_timer()
        self._in_flight = None
        batch = flight.batch
        batch.settle(replies)
        self._lifetimes.learn(batch)
        if batch.errors:
            self._on_refusals(self, flight)
            self._lifetimes.owe(flight.ttls_refused())
        if batch.errors or self._standing.is_in_doubt:
            self._standing.judge(flight)
        if not batch.errors:
            self._reconnect.all_is_well()
        for hit in self._lifetimes.to_give(batch):
            self.give_ttl(hit)
        if flight.failed is None:
            flight.uncancelled().set_result(None)
        self._send()  # first: Redis counts while its answers are passed on
        if flight.failed is None:
            flight.wake()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        """The time is up; but if it was this loop that stood still, the replies may be there, unread."""
        # Not 0: uvloop takes that for call_soon, and calls it before it reads from sockets.
        self._timer = asyncio.get_running_loop().call_later(0.001, self._time_out)

    def _time_out(self) -> None:
        """Fail what waits. The connection is kept for a while: once its replies come after all, all is well again."""
        self._timer = None
        address = self.endpoint.address
        milliseconds = self._options.timeout_seconds * 1000
        if self._connection is None:
            if self.down is None:
                self._lost(TimedOut(f"Redis at {address}: no connection within {milliseconds:g} ms"))
            return
        error = TimedOut(f"Redis at {address}: no answer within {milliseconds:g} ms")
        self._timer = asyncio.get_running_loop().call_later(self._options.connect_timeout_seconds, self._give_up)
        self.go_down(error)
        self._fail(error)

    def _give_up(self) -> None:
        self.leave(f"no answer within {self._options.timeout_seconds * 1000:g} ms")

    def _lost(self, error: BackendError) -> None:
        """There is no connection, or none that answers: fail what waits, and try for another in the background."""
        self._connection = None
        self._rotation.stop()
        self._stop_timer()
        self._standing.forget()
        # What was counted may be gone, and with it the TTLs; and what the replies would have told of TTLs is not known.
        self._lifetimes.forget()
        lost = self._in_flight
        if not self._closed:
            self.go_down(error)
        self._fail(error)
        self._in_flight = None
        if lost is not None:
            for hit in lost.batch.unsure():
                self.give_ttl(hit)
        if self._retiring:
            self.close()
        self.open()

    def _fail(self, error: BackendError) -> None:
        """Let all calls know that their counts could not be had; the batch in flight stays, for its replies to come."""
        if self._in_flight is not None:
            self._in_flight.fail(type(error)(str(error), in_doubt=True))
        self.filling.fail(error)
        self._standing.forget(self.filling)
        filled, self.filling = self.filling.batch, PendingBatch(self.endpoint.address)
        for hit in filled.ttls():
            self.give_ttl(hit)

    def _not_connected(self, error: BackendError) -> None:
        if self._closed:
            return
        if self.down is None:
            self._lost(error)
        self.down = error

    def _connected(self, connection: NodeConnection) -> None:
        self._connection = connection
        self._rotation.start()
        self._stop_timer()
        if self.down is not None:
            self._standing.prove()
        self._send()
