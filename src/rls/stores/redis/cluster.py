"""Counters in a Redis Cluster: each in the node that serves its slot, all of a call's in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, Done, submit_as_task
from rls.stores.redis.connecting import RedisEndpoint
from rls.stores.redis.endpoint import NodeOptions
from rls.stores.redis.error_reply import ErrorReply
from rls.stores.redis.node import Node
from rls.stores.redis.pending_batch import Gathering, PendingBatch
from rls.stores.redis.ping import ping
from rls.stores.redis.topology import Topology
from rls.stores.redis.url import check_cluster, node_urls

_Result = TypeVar("_Result")
_MOST_HOPS = 4
"""How often a command is sent again: two nodes that both say that the other has the slot must not keep it going."""


class RedisClusterStore(CounterStore):
    """Counters in a Redis Cluster.

    A call's hits are split by node. What belongs to a node shares its writes with the hits of other calls; no node waits
    for another. A command that was refused was not executed: it is sent again to where it belongs, as long as its call
    can wait. One whose reply was lost may have been executed, and is not sent again.

    Belongs to the loop in which it is first used.

    Args:
        url: `redis+cluster://host:port,host:port` or `rediss+cluster://…`, any of its nodes.
        key_prefix: What the keys of all counters begin with; Redis must allow no others to our user.
        options: See `NodeOptions`.

    Raises:
        SettingsError: No connection to *url* can be had, whatever there is.
    """

    def __init__(self, url: str, *, key_prefix: str = "", **options: Any) -> None:
        check_cluster(url)
        seeds = [RedisEndpoint(one) for one in node_urls(url)]
        self._options = NodeOptions(**options)
        self._ping_key = f"{key_prefix}r1|ping".encode()
        self._topology = Topology(seeds, self._options, ping=self._ping, on_refusals=self._follow)
        self._routes = self._topology.routes

    @property
    def nodes(self) -> Sequence[Node]:
        """The primaries that are known."""
        return self._topology.nodes

    @property
    def up(self) -> Mapping[str, bool]:
        """Whether they can be used, for the primaries that are known, by address."""
        return {node.endpoint.address: node.down is None for node in self._topology.nodes}

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        """See `CounterStore.submit`."""
        if not self._topology.known:
            if self._topology.down is not None:
                raise self._topology.down.with_traceback(None)
            submit_as_task(self._update_first(updates), done)
            return None
        places = self._place(updates)
        if len(places) == 1:
            flight, command, added = places[0]
            if flight.failed is not None:
                raise flight.failed.with_traceback(None)
            flight.waiting.append((((command, added),), done))
        elif places:
            Gathering(places, done)
        return None if places else ()

    def _place(self, updates: Sequence[CounterUpdate]) -> list[tuple[PendingBatch, int, int]]:
        """Add *updates* to the batches of their nodes: of each its flight, its command there, and what was added to it."""
        routes = self._routes
        places = []
        for update in updates:
            node = routes.get(update.key) or self._topology.route(update.key)
            if node is None or node.down is not None:
                places.append((_failed(node), 0, 0))
                continue
            flight = node.filling
            command, added = flight.batch.add(update)
            if flight.landed is None:
                node.schedule(flight)
            places.append((flight, command, added))
        return places

    async def ping(self) -> None:
        """Count on a counter of our own at each primary; see `CounterStore.ping`."""
        await self._within_time(self._topology.ready())
        await self.update(list(self._pings(self._topology.nodes)))

    async def aclose(self) -> None:
        """Close the connections; calls under way fail."""
        await self._topology.aclose()

    async def _update_first(self, updates: Sequence[CounterUpdate]) -> Sequence[int]:
        """The calls that wait for the topology: it is theirs to connect, too, and all that within the time of one."""
        if self._topology.down is not None:
            raise self._topology.down.with_traceback(None)
        return await self._within_time(self._ready_and_update(updates))

    async def _ready_and_update(self, updates: Sequence[CounterUpdate]) -> Sequence[int]:
        await self._topology.ready()
        return await self.update(updates)

    async def _within_time(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        try:
            async with asyncio.timeout(self._options.timeout_seconds):
                return await work
        except TimeoutError:
            raise self._topology.late() from None

    def _ping(self, node: Node) -> CounterUpdate | None:
        return next(self._pings([node]), None)

    def _pings(self, nodes: Sequence[Node]) -> Iterator[CounterUpdate]:
        """A hit at each of *nodes* that has slots, on counters of our own."""
        left = set(nodes)
        now = self._options.clock()
        for number in range(1_000):
            hit = ping(b"%b|%d" % (self._ping_key, number), now)
            owner = self._topology.owner(hit.key)
            if owner in left:
                left.discard(owner)
                yield hit
                if not left:
                    return

    def _follow(self, node: Node, flight: PendingBatch) -> None:
        """Commands were refused: send again what would be executed now, here or elsewhere."""
        batch = flight.batch
        for command, error in batch.errors.items():
            refusal = ErrorReply.of(error)
            if refusal.is_redirection:
                host = refusal.host or node.endpoint.host
                if refusal.kind == "MOVED":
                    self._send_again(flight, command, self._topology.moved(refusal.slot, host, refusal.port))
                else:  # the slot is on its way there: the topology has not changed yet
                    self._send_again(flight, command, self._topology.at(host, refusal.port), asking=True)
            elif refusal.kind == "TRYAGAIN":
                self._send_again(flight, command, node)
            elif refusal.is_passing:
                self._topology.look_again()
                if refusal.is_not_the_primary:
                    node.leave(str(error))

    def _send_again(self, flight: PendingBatch, command: int, target: Node, *, asking: bool = False) -> None:
        hops = flight.hops.get(command, 0) + 1
        for_its_ttl = flight.batch.is_expire(command)
        if target.down is None and hops <= _MOST_HOPS and (flight.failed is None or for_its_ttl):
            there = target.filling
            number = there.batch.again(flight.batch, command, asking=asking)
            there.hops[number] = hops
            flight.followed[command] = (there, number)
            if there.landed is None:
                target.schedule(there)


def _failed(node: Node | None) -> PendingBatch:
    """A flight that never started."""
    flight = PendingBatch()
    flight.failed = BackendError("Redis: no node serves the counter's slot") if node is None else node.down
    return flight
