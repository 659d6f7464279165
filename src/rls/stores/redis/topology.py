"""Who serves which slot of a Redis Cluster: learnt from its nodes, kept up to date, and asked again when it changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence

from rls.core.update import CounterUpdate
from rls.errors import BackendError, TimedOut
from rls.stores.redis.connecting import RedisEndpoint
from rls.stores.redis.endpoint import NodeOptions
from rls.stores.redis.first_success import first
from rls.stores.redis.node import Node
from rls.stores.redis.pending_batch import PendingBatch
from rls.stores.redis.slots import CLUSTER_SLOTS, SLOTS, Range, ranges, slot_of

_PAUSE_SECONDS = 0.1
"""Between two looks at the topology; one is enough for any number of redirections."""
_WHILE_DOWN_SECONDS = 0.2
"""As long as a node is down: another may take its place."""
_FEWEST_KNOWN_COUNTERS = 10_000


class Topology:
    """The primaries of a cluster, and their slots.

    Args:
        seeds: Where to ask first, and again when no known node can be reached.
        options: For all nodes; their `known_counters` are shared out.
        ping: See `WriteProbe`.
        on_refusals: See `Node`.
        known_routes: How many keys to remember with their node.

    Attributes:
        routes: The node by key, for keys that were asked for; emptied when the topology changes.
        down: Why nothing is known of the cluster yet; None where that was not tried, or something is known.
        known: Whether there is a topology.
    """

    def __init__(
        self,
        seeds: Sequence[RedisEndpoint],
        options: NodeOptions,
        *,
        ping: Callable[[Node], CounterUpdate | None],
        on_refusals: Callable[[Node, PendingBatch], None],
        known_routes: int = 32_768,
    ) -> None:
        self.routes: dict[bytes, Node] = {}
        self.down: BackendError | None = None
        self.known = False
        self._seeds = seeds
        self._options = options
        self._ping = ping
        self._on_refusals = on_refusals
        self._known_routes = known_routes
        self._slots: list[Node | None] = [None] * SLOTS
        self._nodes: dict[tuple[str, int], Node] = {}
        self._guests: dict[tuple[str, int], Node] = {}  # no primaries yet: slots are on their way to them
        self._retired: list[Node] = []
        self._told: Node | None = None
        self._stale = asyncio.Event()
        self._tried = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def nodes(self) -> Sequence[Node]:
        """The primaries."""
        return tuple(self._nodes.values())

    def route(self, key: bytes) -> Node | None:
        """The node that *key* belongs to, as far as is known; remembered in `routes`."""
        node = self.owner(key)
        if node is not None:
            if len(self.routes) >= self._known_routes:
                self.routes.clear()
            self.routes[key] = node
        return node

    def owner(self, key: bytes) -> Node | None:
        """As `route`, and not remembered."""
        return self._slots[slot_of(key)]

    async def ready(self) -> None:
        """Return when there is a topology.

        Raises:
            BackendError: It could not be had.
        """
        if self.down is None and not self.known:
            self.look_again()
            await self._tried.wait()
        if self.down is not None:
            raise self.down.with_traceback(None)

    def late(self) -> BackendError:
        """Nobody has told the topology in time: calls fail at once until somebody does."""
        milliseconds = self._options.timeout_seconds * 1000
        error = TimedOut(f"Redis at {self._addresses()}: no connection within {milliseconds:g} ms")
        if not self.known and self.down is None:
            self.down = error
        return error

    def look_again(self) -> None:
        """What is known may be wrong: ask, in the background, once for all who say so meanwhile."""
        self._stale.set()
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def changed(self, _: Node) -> None:
        """A node went down, or is back, perhaps as a replica."""
        self.look_again()

    def moved(self, slot: int, host: str, port: int) -> Node:
        """A node said that *slot* is served at *host* and *port*; look at what else has changed."""
        node = self.at(host, port)
        if 0 <= slot < SLOTS and self._slots[slot] is not node:
            self._slots[slot] = node
            self.routes.clear()
        self._told = node
        self.look_again()
        return node

    def at(self, host: str, port: int) -> Node:
        """The node at *host* and *port*, which need not be a primary yet."""
        address = (host, port)
        node = self._nodes.get(address) or self._guests.get(address)
        if node is None:
            node = self._guests[address] = self._node(address)
        return node

    async def aclose(self) -> None:
        """Close all connections; calls under way fail."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        for node in (*self._nodes.values(), *self._guests.values(), *self._retired):
            await node.aclose()
        if not self.known:
            self.down = BackendError("the backend is closed")
            self._tried.set()

    async def _keep(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                self._adopt(await self._ask())
            except BackendError as error:
                if not self.known:
                    self.down = error
            self._tried.set()
            some_down = not self.known or any(node.down for node in self._nodes.values())
            await asyncio.sleep(_WHILE_DOWN_SECONDS if some_down else _PAUSE_SECONDS)
            if some_down:
                self._stale.set()

    async def _ask(self) -> list[Range]:
        """What one of the nodes says; one that we are connected to if possible, else any that can be reached."""
        for node in self._connected():
            try:
                return ranges(await node.ask(CLUSTER_SLOTS), node.endpoint.host)
            except BackendError:
                continue
        known = [self._seeds[0].at(*address) for address in self._nodes]
        endpoints = {endpoint.address: endpoint for endpoint in (*self._seeds, *known)}
        return await first(self._ask_stranger(endpoint) for endpoint in endpoints.values())

    async def _ask_stranger(self, endpoint: RedisEndpoint) -> list[Range]:
        reply = await endpoint.ask(CLUSTER_SLOTS, self._options.connect_timeout_seconds)
        return ranges(reply, endpoint.host)

    def _connected(self) -> Iterator[Node]:
        """The nodes to ask, best first: the one that a slot has moved to knows before the others do."""
        told, self._told = self._told, None
        nodes = [node for node in self._nodes.values() if node.is_connected]
        random.shuffle(nodes)
        return iter(sorted(nodes, key=lambda node: node is not told))

    def _adopt(self, found: Sequence[Range]) -> None:
        """Let the nodes that were *found* serve their slots. What nobody serves stays with whom it was."""
        addresses = {(one.host, one.port) for one in found}
        for address in addresses:
            if address not in self._nodes:
                guest = self._guests.pop(address) if address in self._guests else None
                self._nodes[address] = self._node(address) if guest is None else guest
        for lowest, last, host, port in found:
            self._slots[lowest : last + 1] = [self._nodes[host, port]] * (last + 1 - lowest)
        self.routes.clear()
        self.known = True
        self.down = None
        serving = {id(node) for node in self._slots}
        for nodes in (self._nodes, self._guests):
            for address, node in list(nodes.items()):
                if id(node) not in serving and (nodes is self._nodes or node.down is not None):
                    self._retire(nodes.pop(address))

    def _retire(self, node: Node) -> None:
        self._retired = [one for one in self._retired if not one.is_closed]
        self._retired.append(node)
        for hit in node.retire():
            owner = self.owner(hit.key)
            if owner is not None:
                owner.give_ttl(hit)

    def _node(self, address: tuple[str, int]) -> Node:
        share = max(_FEWEST_KNOWN_COUNTERS, self._options.known_counters // (len(self._nodes) + 1))
        options = self._options._replace(known_counters=share)
        endpoint = self._seeds[0].at(*address)
        node = Node(endpoint, options, ping=self._ping, on_refusals=self._on_refusals, on_change=self.changed)
        node.open()
        return node

    def _addresses(self) -> str:
        return ", ".join(seed.address for seed in self._seeds)
