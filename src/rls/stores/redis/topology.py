"""Which primary of a Redis Cluster serves which slot: read from its nodes, and refreshed when it changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence

from rls.core.update import CounterUpdate
from rls.errors import BackendError, TimedOut
from rls.stores.redis.connecting import RedisEndpoint
from rls.stores.redis.endpoint import NodeOptions
from rls.stores.redis.first_success import first_success
from rls.stores.redis.node import Node
from rls.stores.redis.pending_batch import PendingBatch
from rls.stores.redis.slots import CLUSTER_SLOTS, SLOTS, Range, ranges, slot_of

_PAUSE_SECONDS = 0.1
"""Between two refreshes; one is enough for any number of redirections."""
_WHILE_DOWN_SECONDS = 0.2
"""Between two refreshes while a node is down: another may take its place."""
_FEWEST_KNOWN_COUNTERS = 10_000


class Topology:
    """The primaries of a cluster, and their slots.

    Args:
        seeds: The nodes to query first, and again when no known node can be reached.
        options: For all nodes; they share the `known_counters`.
        ping: See `WriteProbe`.
        on_error_replies: See `Node`.
        known_routes: How many keys to remember with their node.

    Attributes:
        routes: The node by key, for keys that were looked up; emptied when the topology changes.
        error: Why there is no topology yet; None while the first query is under way or not begun, and once there is one.
        known: Whether there is a topology.
    """

    def __init__(
        self,
        seeds: Sequence[RedisEndpoint],
        options: NodeOptions,
        *,
        ping: Callable[[Node], CounterUpdate | None],
        on_error_replies: Callable[[Node, PendingBatch], None],
        known_routes: int = 32_768,
    ) -> None:
        self.routes: dict[bytes, Node] = {}
        self.error: BackendError | None = None
        self.known = False
        self._seeds = seeds
        self._options = options
        self._ping = ping
        self._on_error_replies = on_error_replies
        self._known_routes = known_routes
        self._slots: list[Node | None] = [None] * SLOTS
        self._nodes: dict[tuple[str, int], Node] = {}
        self._importing: dict[tuple[str, int], Node] = {}  # not primaries yet: they import slots
        self._retired: list[Node] = []
        self._preferred: Node | None = None
        self._stale = asyncio.Event()
        self._queried = asyncio.Event()
        self._refresher: asyncio.Task[None] | None = None

    @property
    def nodes(self) -> Sequence[Node]:
        """The primaries."""
        return tuple(self._nodes.values())

    def route(self, key: bytes) -> Node | None:
        """The node that serves *key*, None if none is known; remembered in `routes`."""
        node = self.owner(key)
        if node is not None:
            if len(self.routes) >= self._known_routes:
                self.routes.clear()
            self.routes[key] = node
        return node

    def owner(self, key: bytes) -> Node | None:
        """As `route`, but not remembered."""
        return self._slots[slot_of(key)]

    async def ready(self) -> None:
        """Return when there is a topology.

        Raises:
            BackendError: No node could be queried.
        """
        if self.error is None and not self.known:
            self.refresh()
            await self._queried.wait()
        if self.error is not None:
            raise self.error.with_traceback(None)

    def timeout_error(self, *, in_doubt: bool = False) -> BackendError:
        """The error of a call that waited for the topology in vain; until there is one, further calls fail at once.

        *in_doubt*: It was there, and the hits may have been sent.
        """
        milliseconds = self._options.timeout_seconds * 1000
        error = TimedOut(f"Redis at {self._addresses()}: no connection within {milliseconds:g} ms", in_doubt=in_doubt)
        if not self.known and self.error is None:
            self.error = error
        return error

    def refresh(self) -> None:
        """The topology may have changed: query it in the background, once for all calls of this method meanwhile."""
        self._stale.set()
        if self._refresher is None:
            self._refresher = asyncio.get_running_loop().create_task(self._refresh_when_stale())

    def changed(self, _: Node) -> None:
        """A node went down, or is back, perhaps as a replica."""
        self.refresh()

    def moved(self, slot: int, host: str, port: int) -> Node:
        """A node replied that *slot* is served at *host* and *port*; refresh what else has changed."""
        node = self.at(host, port)
        if 0 <= slot < SLOTS and self._slots[slot] is not node:
            self._slots[slot] = node
            self.routes.clear()
        self._preferred = node
        self.refresh()
        return node

    def at(self, host: str, port: int) -> Node:
        """The node at *host* and *port*, which need not be a primary yet."""
        address = (host, port)
        node = self._nodes.get(address) or self._importing.get(address)
        if node is None:
            node = self._importing[address] = self._node(address)
        return node

    async def aclose(self) -> None:
        """Close all connections; calls under way fail."""
        if self._refresher is not None:
            self._refresher.cancel()
            await asyncio.wait([self._refresher])
        for node in (*self._nodes.values(), *self._importing.values(), *self._retired):
            await node.aclose()
        if not self.known:
            self.error = BackendError("the backend is closed")
            self._queried.set()

    async def _refresh_when_stale(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                self._adopt(await self._query())
            except BackendError as error:
                if not self.known:
                    self.error = error
            self._queried.set()
            some_down = not self.known or any(node.error for node in self._nodes.values())
            await asyncio.sleep(_WHILE_DOWN_SECONDS if some_down else _PAUSE_SECONDS)
            if some_down:
                self._stale.set()

    async def _query(self) -> list[Range]:
        """The reply of a node to CLUSTER SLOTS: one that is connected if possible, else any that can be reached."""
        for node in self._answering():
            try:
                return ranges(await node.query(CLUSTER_SLOTS), node.endpoint.host)
            except BackendError:
                continue
        known = [self._seeds[0].at(*address) for address in self._nodes]
        endpoints = {endpoint.address: endpoint for endpoint in (*self._seeds, *known)}
        return await first_success(self._query_endpoint(endpoint) for endpoint in endpoints.values())

    async def _query_endpoint(self, endpoint: RedisEndpoint) -> list[Range]:
        reply = await endpoint.query(CLUSTER_SLOTS, self._options.connect_timeout_seconds)
        return ranges(reply, endpoint.host)

    def _answering(self) -> Iterator[Node]:
        """The nodes to query, best first: the one that a slot has moved to knows of it before the others do."""
        preferred, self._preferred = self._preferred, None
        nodes = [node for node in self._nodes.values() if node.is_answering]
        random.shuffle(nodes)
        return iter(sorted(nodes, key=lambda node: node is not preferred))

    def _adopt(self, found: Sequence[Range]) -> None:
        """Let the nodes that were *found* serve their slots. A slot that no node serves stays with its last one."""
        addresses = {(one.host, one.port) for one in found}
        for address in addresses:
            if address not in self._nodes:
                imported = self._importing.pop(address) if address in self._importing else None
                self._nodes[address] = imported or self._node(address)
        for lowest, last, host, port in found:
            self._slots[lowest : last + 1] = [self._nodes[host, port]] * (last + 1 - lowest)
        self.routes.clear()
        self.known = True
        self.error = None
        serving = {id(node) for node in self._slots}
        for nodes in (self._nodes, self._importing):
            for address, node in list(nodes.items()):
                if id(node) not in serving and (nodes is self._nodes or node.error is not None):
                    self._retire(nodes.pop(address))

    def _retire(self, node: Node) -> None:
        self._retired = [one for one in self._retired if not one.is_closed]
        self._retired.append(node)
        for update in node.retire():
            owner = self.owner(update.key)
            if owner is not None:
                owner.set_ttl(update)

    def _node(self, address: tuple[str, int]) -> Node:
        share = max(_FEWEST_KNOWN_COUNTERS, self._options.known_counters // (len(self._nodes) + 1))
        options = self._options._replace(known_counters=share)
        endpoint = self._seeds[0].at(*address)
        node = Node(endpoint, options, ping=self._ping, on_error_replies=self._on_error_replies, on_change=self.changed)
        node.open()
        return node

    def _addresses(self) -> str:
        return ", ".join(seed.address for seed in self._seeds)
