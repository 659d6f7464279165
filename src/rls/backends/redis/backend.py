"""Counters in one Redis node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from rls.backends.base import Hit, Waiting
from rls.backends.redis.endpoint import Endpoint, NodeOptions
from rls.backends.redis.flight import Flight, settle
from rls.backends.redis.node import Node
from rls.backends.redis.opening import RedisEndpoint
from rls.backends.redis.ping import ping
from rls.backends.redis.refusal import Refusal


class RedisBackend:
    """Counters in one Redis node.

    Belongs to the loop in which it is first used. The connection is opened by the first call, and opened again in the
    background when it is lost; while there is none, calls fail at once instead of waiting.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        key_prefix: What the keys of all counters begin with; Redis must allow no others to our user.
        options: See `NodeOptions`.

    Raises:
        SettingsError: No connection to *url* can be had, whatever there is.
    """

    def __init__(self, url: str, *, key_prefix: str = "", **options: Any) -> None:
        self._options = NodeOptions(**options)
        self._ping_key = f"{key_prefix}r1|ping".encode()
        self._node = Node(self._endpoint(url), self._options, ping=lambda _: self._ping(), on_refusals=_leave_a_replica)

    def _endpoint(self, url: str) -> Endpoint:
        return RedisEndpoint(url)

    @property
    def up(self) -> Mapping[str, bool]:
        """Whether the node can be used, by its address."""
        return {self._node.endpoint.address: self._node.down is None}

    async def hit(self, hits: Sequence[Hit]) -> Sequence[int]:
        """Apply *hits*; see `CounterBackend.hit`."""
        node = self._node
        if node.down is not None:
            raise node.down.with_traceback(None)  # it would grow with every call
        if not hits:
            return ()
        flight = node.filling
        batch = flight.batch
        add = batch.add
        places = []
        for hit in hits:
            places.append(add(hit))  # noqa: PERF401 - a comprehension costs a call, and this runs for every check
        try:
            await (flight.landed or node.schedule(flight))
        except asyncio.CancelledError:
            await flight.wait_on()
        if batch.errors:
            return await settle([(flight, command, added) for command, added in places])
        bases = batch.bases
        counts = []
        for command, added in places:
            counts.append(bases[command] + added)
        return counts

    def submit(self, hits: Sequence[Hit], waiting: Waiting) -> Sequence[int] | None:
        """See `Submitting.submit`."""
        node = self._node
        if node.down is not None:
            raise node.down.with_traceback(None)
        if not hits:
            return ()
        flight = node.filling
        add = flight.batch.add
        places = []
        for hit in hits:
            places.append(add(hit))  # noqa: PERF401 - as above
        if flight.landed is None:
            node.schedule(flight)
        flight.waiting.append((places, waiting))
        return None

    async def ping(self) -> None:
        """Count on a counter of our own; see `CounterBackend.ping`."""
        await self.hit([self._ping()])

    def _ping(self) -> Hit:
        return ping(self._ping_key, self._options.clock())

    async def aclose(self) -> None:
        """Close the connection; calls under way fail."""
        await self._node.aclose()


def _leave_a_replica(node: Node, flight: Flight) -> None:
    """After a failover the connection leads to what is a replica now; another one may lead to the new primary."""
    for error in flight.batch.errors.values():
        if Refusal.of(error).is_not_the_primary:
            node.leave(str(error))
            return
