"""One Redis node: its connection, the group commit of what is sent to it, its time limit, and whether it is down.

Group commit: all hits that arrive while one write to the node is under way go out together with the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rls.backends.base import Hit
from rls.backends.redis.connection import NodeConnection
from rls.backends.redis.endpoint import Endpoint, NodeOptions
from rls.backends.redis.flight import Flight
from rls.backends.redis.lifetimes import Lifetimes
from rls.backends.redis.password import keep_authenticated
from rls.errors import BackendError

RECONNECT_SECONDS = (0.05, 0.1, 0.2)
"""Pauses between attempts to connect; the last one stays."""
# Of its time, what a batch has at least once it is sent, however long it waited behind the one before.
_LEAST_SHARE = 0.5


class Node:
    """One node. Belongs to the loop in which it is first used.

    The connection is opened by the first call, and opened again in the background when it is lost; while there is none,
    calls fail at once instead of waiting.

    Args:
        endpoint: Where it is.
        options: Its time limits and the like.
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
        on_refusals: Callable[[Node, Flight], None],
        on_change: Callable[[Node], None] = lambda _: None,
    ) -> None:
        self.endpoint = endpoint
        self.down: BackendError | None = None
        self.filling = Flight()
        self._options = options
        self._on_refusals = on_refusals
        self._on_change = on_change
        self._lifetimes = Lifetimes(options)
        self._connection: NodeConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._rotation: asyncio.Task[None] | None = None
        self._attempts = 0
        self._in_flight: Flight | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._retiring = False
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, and no attempt to connect is left."""
        return self._closed and (self._connecting is None or self._connecting.done())

    @property
    def is_connected(self) -> bool:
        """Whether it has been reached, and can be now."""
        return self._connection is not None and self.down is None

    def schedule(self, flight: Flight) -> asyncio.Future[None]:
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

    def open(self) -> None:
        """Connect in the background, unless that is under way."""
        if self._connection is None and self._connecting is None and not self._closed:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def ask(self, command: bytes) -> Any:
        """The reply to a packed *command* that is no hit; it goes out with the next write.

        Raises:
            BackendError: There is none, or it is an error.
        """
        if self.down is not None:
            raise self.down.with_traceback(None)
        flight = self.filling
        number = flight.batch.ask(command)
        if flight.landed is None:
            self.schedule(flight)
        await flight.wait_on()
        await flight.base(number)
        return flight.batch.replies[number]

    def give_ttl(self, hit: Hit) -> None:
        """Make sure that the counter of *hit* expires, whether or not a call follows; after the connection is back, too."""
        self.filling.batch.expire(hit)
        if self.filling.landed is None and not self._closed:
            if self.down is None:
                self.schedule(self.filling)
            else:
                self.filling.landed = asyncio.get_running_loop().create_future()

    def owe_ttl(self, flight: Flight, command: int) -> None:
        """Where *command* of *flight* was to give a TTL and was refused for now, give it with the next write."""
        if flight.batch.is_expire(command):
            self.filling.batch.again(flight.batch, command)

    def leave(self, reason: str) -> None:
        """Give the connection up, and try for another: there may be another node at its end then."""
        if self._connection is not None:
            self._connection.lose(reason)

    def retire(self) -> list[Hit]:
        """Close it as soon as all that was given to it is answered.

        Returns:
            Hits whose counters still need a TTL, which it cannot give any more.
        """
        self._retiring = True
        if self.is_connected:
            self._send()
            return []
        owed = self.filling.batch.ttls()
        self.close()
        return owed

    async def aclose(self) -> None:
        """Close the connection; calls under way fail."""
        connecting = self._connecting
        self.close()
        while connecting is not None and not connecting.done():
            connecting.cancel()  # again, since redis-py uses wait_for, which may swallow it before Python 3.12
            await asyncio.wait([connecting], timeout=RECONNECT_SECONDS[0])

    def close(self) -> None:
        """As `aclose`, but without waiting for an attempt to connect to end."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()
        self._stop_rotation()
        self._stop_timer()
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
        self.filling = Flight()
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
        if not batch.errors:
            self._attempts = 0
        self._lifetimes.learn(batch.fresh)
        if self.down is not None:
            self.down = None
            self._on_change(self)
        if batch.errors:
            self._on_refusals(self, flight)
        for hit in batch.orphans:
            self.give_ttl(hit)
        if flight.failed is None:
            flight.uncancelled().set_result(None)
        self._send()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_rotation(self) -> None:
        if self._rotation is not None:
            self._rotation.cancel()
            self._rotation = None

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
                self._lost(BackendError(f"Redis at {address}: no connection within {milliseconds:g} ms"))
            return
        error = BackendError(f"Redis at {address}: no answer within {milliseconds:g} ms")
        self._timer = asyncio.get_running_loop().call_later(self._options.connect_timeout_seconds, self._give_up)
        self._go_down(error)
        self._fail(error)

    def _give_up(self) -> None:
        waited = self._options.timeout_seconds + self._options.connect_timeout_seconds
        self.leave(f"no answer within {waited:g} s")

    def _lost(self, error: BackendError) -> None:
        """There is no connection, or none that answers: fail what waits, and try for another in the background."""
        self._connection = None
        self._stop_rotation()
        self._stop_timer()
        # What was counted may be gone, and with it the TTLs; and what the replies would have told of TTLs is not known.
        self._lifetimes.forget()
        lost = self._in_flight
        if not self._closed:
            self._go_down(error)
        self._fail(error)
        self._in_flight = None
        if lost is not None:
            for hit in lost.batch.unsure():
                self.give_ttl(hit)
        if self._retiring:
            self._closed = True
        self.open()

    def _go_down(self, error: BackendError) -> None:
        was_down, self.down = self.down, error
        if was_down is None:
            self._on_change(self)

    def _fail(self, error: BackendError) -> None:
        """Let all calls know that their counts could not be had; the batch in flight stays, for its replies to come."""
        if self._in_flight is not None:
            self._in_flight.fail(BackendError(str(error), in_doubt=True))
        self.filling.fail(error)
        filled, self.filling = self.filling.batch, Flight()
        for hit in filled.ttls():
            self.give_ttl(hit)

    async def _connect(self) -> None:
        connection = None
        while connection is None:
            if self._attempts:
                await asyncio.sleep(RECONNECT_SECONDS[min(self._attempts, len(RECONNECT_SECONDS)) - 1])
            self._attempts += 1
            try:
                connection = await self.endpoint.connect(self._options.connect_timeout_seconds, self._lost)
            except BackendError as error:
                if self._closed:
                    return
                if self.down is None:
                    self._lost(error)
                self.down = error
        if self._closed:  # redis-py swallowed the cancellation
            connection.close()
            return
        self._connection = connection
        self._connecting = None
        if self.endpoint.password_file is not None:
            rotation = keep_authenticated(self.endpoint.password_file, self.ask)
            self._rotation = asyncio.get_running_loop().create_task(rotation)
        self._stop_timer()
        was_down, self.down = self.down, None
        if was_down is not None:
            self._on_change(self)
        self._send()
