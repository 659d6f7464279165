"""Group commit: all hits that arrive while one write to Redis is under way go out together with the next."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rls.backends.base import Hit
from rls.backends.redis.batch import Batch, expire
from rls.backends.redis.connection import NodeConnection, check_url, connect
from rls.backends.redis.url import redacted
from rls.backends.windows import Windows
from rls.errors import BackendError

_RECONNECT_SECONDS = (0.05, 0.1, 0.2, 0.4)


class RedisBackend:
    """Counters in one Redis node.

    Belongs to the loop in which it is first used. The connection is opened by the first call, and opened again in the
    background when it is lost; while there is none, calls fail at once instead of waiting.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        timeout_seconds: A call waits no longer than this, the time to connect included.
        key_prefix: What the keys of all counters begin with; Redis must allow no others to our user.
        jitter_seconds: Counters live up to this long after their window, at most one window's length; spread, so that
            Redis does not expire them all at once.
        known_counters: How many counters to remember that have their TTL. One that was forgotten costs a SET again.
        clock: Unix seconds.

    Raises:
        SettingsError: No connection to *url* can be had, whatever there is.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 0.01,
        connect_timeout_seconds: float = 1.0,
        key_prefix: str = "",
        jitter_seconds: int = 300,
        known_counters: int = 200_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_url(url)
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._ping = Hit(f"{key_prefix}r1|ping".encode(), 0, 0, 0, 1)
        self._jitter_seconds = jitter_seconds
        self._clock = clock
        self._with_ttl = Windows(known_counters)
        self._known_counters = known_counters
        self._orphans: list[Hit] = []
        self._connection: NodeConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._down: BackendError | None = None
        self._filling = _Flight()
        self._in_flight: _Flight | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def hit(self, hits: Sequence[Hit]) -> Sequence[int]:
        """Apply *hits*; see `CounterBackend.hit`."""
        if self._down is not None:
            raise self._down.with_traceback(None)  # it would grow with every call
        if not hits:
            return ()
        flight = self._filling
        batch = flight.batch
        add = batch.add
        places = []
        for hit in hits:
            places.append(add(hit))  # noqa: PERF401 - a comprehension costs a call, and this runs for every check
        try:
            await (flight.landed or self._schedule(flight))
        except asyncio.CancelledError:
            await self._wait_on(flight)
        if batch.errors:
            _raise_first(batch.errors, places)
        bases = batch.bases
        counts = []
        for command, added in places:
            counts.append(bases[command] + added)
        return counts

    async def ping(self) -> None:
        """Read a counter; see `CounterBackend.ping`."""
        await self.hit([self._ping])

    async def aclose(self) -> None:
        """Close the connection; calls under way fail."""
        self._closed = True
        connecting = self._connecting
        while connecting is not None and not connecting.done():
            connecting.cancel()  # again, since redis-py uses wait_for, which may swallow it before Python 3.12
            await asyncio.wait([connecting], timeout=_RECONNECT_SECONDS[0])
        if self._connection is not None:
            self._connection.close()
        self._fail(BackendError("the backend is closed"))
        self._in_flight = None

    def _schedule(self, flight: _Flight) -> asyncio.Future[None]:
        """The first call of a batch: let those that are ready now join, then send it as soon as the line is free."""
        loop = asyncio.get_running_loop()
        landed = flight.landed = loop.create_future()
        if self._connection is None:
            if self._connecting is None:
                self._connecting = loop.create_task(self._connect())
                self._timer = loop.call_later(self._timeout_seconds, self._time_out)
        elif self._in_flight is None:
            loop.call_soon(self._send)
        return landed

    async def _wait_on(self, flight: _Flight) -> None:
        """Wait on where another call of the batch was cancelled: that cancelled the future that all of them wait for."""
        while True:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise asyncio.CancelledError
            with contextlib.suppress(asyncio.CancelledError):
                return await flight.uncancelled()

    def _send(self) -> None:
        connection = self._connection
        flight = self._filling
        if connection is None or self._in_flight is not None or flight.landed is None:
            return
        self._filling = _Flight()
        self._in_flight = flight
        self._with_ttl.sweep(int(self._clock()))
        commands = flight.batch.pack(self._has_ttl, self._seconds_to_live)
        orphans, self._orphans = self._orphans, []
        if orphans:
            commands = b"".join([expire(hit, self._seconds_to_live(hit)) for hit in orphans]) + commands
        flight.skip = len(orphans)
        self._timer = flight.landed.get_loop().call_later(self._timeout_seconds, self._overdue)
        connection.send(commands, flight.skip + flight.batch.replies, self._land)

    def _land(self, replies: list[Any]) -> None:
        """All replies of the batch in flight are there: wake its calls, and send the next."""
        flight = self._in_flight
        assert flight is not None
        assert flight.landed is not None
        assert self._timer is not None
        self._timer.cancel()
        self._in_flight = None
        batch = flight.batch
        batch.settle(replies[flight.skip :])
        for hit in batch.fresh:
            self._with_ttl.put(hit.expires_at, hit.key, 1)
        self._orphans = batch.orphans
        if batch.orphans and self._filling.landed is None:  # they need their TTL now, whether or not a call follows
            self._filling.landed = flight.landed.get_loop().create_future()
        self._down = None
        if not flight.failed:
            flight.uncancelled().set_result(None)
        self._send()

    def _has_ttl(self, hit: Hit) -> bool:
        group = self._with_ttl.groups.get(hit.expires_at)
        return group is not None and hit.key in group

    def _seconds_to_live(self, hit: Hit) -> int:
        jitter = random.randint(1, max(1, min(self._jitter_seconds, hit.window_seconds)))  # noqa: S311 - only to spread
        return max(1, hit.expires_at - int(self._clock())) + jitter

    def _overdue(self) -> None:
        """The time is up; but if it was this loop that stood still, the replies may be there, unread."""
        self._timer = asyncio.get_running_loop().call_later(0, self._time_out)

    def _time_out(self) -> None:
        """Fail what waits. The connection is kept for a while: once its replies come after all, all is well again."""
        address = redacted(self._url)
        milliseconds = self._timeout_seconds * 1000
        if self._connection is None:
            if self._down is None:
                self._lost(BackendError(f"Redis at {address}: no connection within {milliseconds:g} ms"))
            return
        self._down = BackendError(f"Redis at {address}: no answer within {milliseconds:g} ms")
        self._fail(self._down)
        self._timer = asyncio.get_running_loop().call_later(self._connect_timeout_seconds, self._give_up)

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.lose(f"no answer within {self._timeout_seconds + self._connect_timeout_seconds:g} s")

    def _lost(self, error: BackendError) -> None:
        """There is no connection, or none that answers: fail what waits, and try for another in the background."""
        self._connection = None
        if self._timer is not None:
            self._timer.cancel()
        self._fail(error)
        self._in_flight = None
        # What was counted may be gone, and with it the TTLs.
        self._with_ttl = Windows(self._known_counters)
        self._orphans = []
        if not self._closed:
            self._down = error
            if self._connecting is None:
                self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def _fail(self, error: BackendError) -> None:
        """Let all calls know that their counts could not be had; the batch in flight stays, for its replies to come."""
        for flight in (self._in_flight, self._filling):
            if flight is not None and flight.landed is not None and not flight.failed:
                flight.failed = True
                landed = flight.uncancelled()
                landed.set_exception(error)
                landed.exception()  # a call that was cancelled meanwhile does not look at it
        self._filling = _Flight()

    async def _connect(self) -> None:
        attempt = 0
        connection = None
        while connection is None:
            try:
                connection = await connect(self._url, self._connect_timeout_seconds, self._lost)
            except BackendError as error:
                if self._down is None:
                    self._lost(error)
                self._down = error
                await asyncio.sleep(_RECONNECT_SECONDS[min(attempt, len(_RECONNECT_SECONDS) - 1)])
                attempt += 1
        self._connection = connection
        self._connecting = None
        self._down = None
        if self._timer is not None:
            self._timer.cancel()
        self._send()


class _Flight:
    """A batch, and the future that all of its calls wait for; None until there is a call."""

    __slots__ = ("batch", "failed", "landed", "skip")

    def __init__(self) -> None:
        self.batch = Batch()
        self.landed: asyncio.Future[None] | None = None
        self.skip = 0
        self.failed = False

    def uncancelled(self) -> asyncio.Future[None]:
        """Its future, anew where a call took it along when it was cancelled."""
        landed = self.landed
        assert landed is not None
        if landed.cancelled():
            landed = self.landed = landed.get_loop().create_future()
        return landed


def _raise_first(errors: Mapping[int, Exception], places: Sequence[tuple[int, int]]) -> None:
    for command, _ in places:
        error = errors.get(command)
        if error is not None:
            raise BackendError(f"Redis: {error}") from error
