"""What all connections of one native server share: turns of the loop, seconds, and the end."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable

from rls.transport.base import Dropped, ServerLimits, ServerPolicy, ServerReports
from rls.transport.client_names import SanAllowlist
from rls.transport.handler import ServiceDefinition, Turn
from rls.transport.http2 import ConnectionLimits, Memory, SharedPatterns
from rls.transport.lateness import Lateness, Strain
from rls.transport.native.connection import LONGEST_TURN, NativeConnection, clock
from rls.transport.native.delayed_reads import DelayedReads
from rls.transport.native.permits import Gate
from rls.transport.native.routes import make_routes, refuse_all
from rls.transport.native.starts import Starts
from rls.transport.native.stream_calls import StreamCalls
from rls.transport.native.task_calls import TaskCalls
from rls.transport.permits import Permits

_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 1.0
_TICK_SECONDS_DRAINING = 0.1
_SLICE_SECONDS = 0.0005
_BETWEEN_SLICES = 0.002
_JITTER = 0.1
_DELAY = 0.3
_MOST_DELAY_SECONDS = 0.010
"""The reads of a connection are delayed by this part of a usual call's time, and by no more than that."""
_LOOK_AGAIN_SECONDS = 0.010
"""After the last turn of an overload, whether it is over is asked again so much later."""
_LOW = 4
"""Calls are wanted while less than the fourth part of those are in progress that may be."""
_RENEWALS_PER_SECOND = 100
_CLOSE_SECONDS = 1.5


class Hub:
    """Connections and what they share.

    Args:
        client_san: See `Tls`.

    Attributes:
        closed: Connections that were closed for another reason than their client's wish, by reason.
        draining: Whether each connection that is still to come is to go at once.
        turn_began: When the present turn of the loop began to read; 0 where it has read nothing.
    """

    def __init__(
        self,
        service: ServiceDefinition,
        policy: ServerPolicy,
        limits: ServerLimits,
        reports: ServerReports,
        client_san: tuple[str, ...] = (),
    ) -> None:
        on_drop = reports.on_drop
        self.turn = Turn(policy, on_drop)
        self.tasks = TaskCalls(self.turn, clock)
        self.turn.in_task = self.tasks.handler
        self.streams = StreamCalls(self.turn, limits.max_message_bytes, clock)
        self.permits = Permits(limits.max_concurrency, policy.default_deadline, on_limit=reports.on_limit, clock=clock)
        self.gate = Gate(self.permits, self.turn)
        reports.calls.in_progress = lambda: self.gate.in_progress
        self.starts = Starts(self.turn, clock)
        self._lateness = Lateness(lambda _: self.gate.in_progress > 0, clock=clock)
        self._strain = Strain(clock=clock)
        self.routes = make_routes(service, self.tasks, self.streams, self.gate, self.turn, self.starts)
        self.refusing_routes = refuse_all(self.routes)
        self.names = SanAllowlist(client_san) if client_san else None
        self.limits = ConnectionLimits(
            max_message_bytes=limits.max_message_bytes, max_concurrent_streams=limits.max_concurrent_streams
        )
        self.memory = Memory(self.limits.held_bytes_of_all, lambda: on_drop(Dropped.INCOMPLETE))
        self.patterns = SharedPatterns()
        self.grace = policy.max_connection_age_grace
        self.closed = reports.connections.closed
        self.handshake_failed = reports.connections.handshake_failed
        self.draining = False
        self._age = policy.max_connection_age
        self._connections: dict[NativeConnection, None] = {}
        self._coming: set[NativeConnection] = set()
        self._left = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.turn_began = 0.0
        # Of the present turn of the loop: what is to be sent at its end, and what goes on after it.
        self._ends_soon = self._looks_again = False
        self._unsent: dict[NativeConnection, None] = {}
        self._unfinished: dict[NativeConnection, None] = {}
        self._to_tick: list[NativeConnection] = []
        self.delayed_reads = DelayedReads[NativeConnection](
            min(_DELAY * policy.default_deadline, _MOST_DELAY_SECONDS), self._read_again
        )
        self._ticking = self._loop.call_later(_TICK_SECONDS, self._tick)

    def __len__(self) -> int:
        return len(self._connections) + len(self._coming)

    def make(self, context: ssl.SSLContext | None) -> NativeConnection:
        """A connection that is to be."""
        connection = NativeConnection(self, context)
        self._coming.add(connection)
        return connection

    def failed(self, connection: NativeConnection) -> None:
        """A connection will not be."""
        self._coming.discard(connection)

    def add(self, connection: NativeConnection, now: float) -> float:
        """A connection is there; returns when it will be too old."""
        self._coming.discard(connection)
        self._connections[connection] = None
        return now + self._age * random.uniform(1 - _JITTER, 1 + _JITTER) if self._age else float("inf")  # noqa: S311

    def remove(self, connection: NativeConnection) -> None:
        """A connection is gone."""
        for known in (self._connections, self._unsent, self._unfinished):
            known.pop(connection, None)
        self.tasks.sweep(connection.connection)
        self.streams.forget(connection.connection)
        self.gate.forget(connection.connection)
        self._left.set()

    def begin_turn(self, now: float) -> float:
        """The first data of this turn of the loop is read; returns how long it has waited for other data, which is 0."""
        self.turn_began = now
        self.starts.until = now + LONGEST_TURN
        if self.gate.in_progress:
            self._lateness.watch()
        self._end_turn_soon()
        return 0.0

    def flush_later(self, connection: NativeConnection) -> None:
        """Send at the end of the turn."""
        self._unsent[connection] = None
        self._end_turn_soon()

    def go_on_later(self, connection: NativeConnection) -> None:
        """Go on in the next turn."""
        self._unfinished[connection] = None
        self._end_turn_soon()

    def renew(self) -> None:
        """Drain all connections over some seconds: their certificates are not those in force."""
        now = clock()
        seconds = len(self._connections) / _RENEWALS_PER_SECOND
        for connection in self._connections:
            connection.age_at = min(connection.age_at, now + seconds * random.random())  # noqa: S311

    async def drain(self, seconds: float) -> None:
        """Let calls in flight finish, but no longer than that, and close all connections."""
        self.draining = True
        self.streams.close()
        self._ticking.cancel()
        self._to_tick.clear()
        self._tick()
        for count, connection in enumerate(list(self._connections)):
            connection.drain(clock())
            if not count % 64:
                await asyncio.sleep(0)
        await self._wait_until_empty(seconds)
        for connection in list(self._connections):
            connection.cut()
        await self._wait_until_empty(_CLOSE_SECONDS)
        for connection in list(self._connections):
            connection.abort()
        await self._wait_until_empty(_CLOSE_SECONDS)
        self._ticking.cancel()

    def _read_again(self, connection: NativeConnection) -> None:
        self._safely(connection, connection.read_again)

    async def _wait_until_empty(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._connections:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            pass

    def _end_turn_soon(self) -> None:
        if not self._ends_soon:
            self._ends_soon = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._begin_waiting()
        self.turn_began = 0.0
        self._ends_soon = False
        unsent, self._unsent = self._unsent, {}
        for connection in unsent:
            self._safely(connection, connection.flush)
        now = clock()
        self.starts.until = end = now + LONGEST_TURN
        for connection in list(self._unfinished):
            if now > end:
                break
            del self._unfinished[connection]
            self._safely(connection, connection.go_on, now)
            now = clock()
        if self._unfinished or self.starts.is_late:
            self._end_turn_soon()
        elif self.permits.late and not self._looks_again:
            self._looks_again = True
            self._loop.call_later(_LOOK_AGAIN_SECONDS, self._look_again)
        self.delayed_reads.end_turn(wanted=self.gate.in_progress * _LOW < self.permits.most)

    def _look_again(self) -> None:
        """End a turn in which nobody may have sent anything: else an overload would last until somebody does."""
        self._looks_again = False
        self._end_turn_soon()

    def _begin_waiting(self) -> None:
        """Begin calls that wait for their turn, for as long as was read: else reading would leave no time for answers."""
        starts, permits = self.starts, self.permits
        if starts.is_late:
            now = clock()
            starts.go_on(now + max(LONGEST_TURN, now - (self.turn_began or now)))
        strained = self._strain.look(self.gate.shed)
        # Or they wait for the turn of their answers.
        late = starts.is_late or self._lateness.late or strained
        if late or permits.late:
            permits.note(starts.begun, late=late)
        starts.begun = 0

    def _tick(self) -> None:
        """Look at all connections, a few at a time."""
        if not self._to_tick:
            self._to_tick = list(self._connections)
        end = clock() + _SLICE_SECONDS
        while self._to_tick and (now := clock()) < end:
            connection = self._to_tick.pop()
            if connection in self._connections:
                self._safely(connection, connection.tick, now)
        pause = _TICK_SECONDS_DRAINING if self.draining else _TICK_SECONDS
        self._ticking = self._loop.call_later(_BETWEEN_SLICES if self._to_tick else pause, self._tick)

    def _safely(self, connection: NativeConnection, what: Callable[..., None], *args: object) -> None:
        """A bug may end one connection, but not what others wait for."""
        try:
            what(*args)
        except Exception:  # noqa: BLE001 - see above
            _LOG.exception("internal error: a connection failed (please report)")
            connection.abort()
