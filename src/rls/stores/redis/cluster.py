"""Counters in a Redis Cluster: each in the node that serves its slot, all of a call's in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, Done, Listed, origin_of, submit_as_task
from rls.stores.redis import records
from rls.stores.redis.connecting import RedisEndpoint
from rls.stores.redis.endpoint import NodeOptions
from rls.stores.redis.error_reply import ErrorReply
from rls.stores.redis.node import Node
from rls.stores.redis.pending_batch import Gathering, PendingBatch
from rls.stores.redis.ping import ping, read
from rls.stores.redis.topology import Topology
from rls.stores.redis.url import check_cluster, node_urls

_Result = TypeVar("_Result")
_MAX_REDIRECTS = 4
"""How often a command is sent again: two nodes that each say that the other has the slot must not go on for ever."""
_KEYS_TRIED = 1_000
"""Keys of our own that are tried until one is in a slot of a certain node."""


class RedisClusterStore(CounterStore):
    """Counters in a Redis Cluster.

    The updates of a call are split by node. Those of one node share its writes with the updates of other calls; no node
    waits for another. A command that was refused was not executed: it is sent again to the node that it belongs to, as
    long as its call can wait. A command whose reply was lost may have been executed, and is not sent again.

    Belongs to the loop in which it is first used.

    Args:
        url: `redis+cluster://host:port,host:port` or `rediss+cluster://…`, any of its nodes.
        key_prefix: The prefix of all keys; the ACL of our user may be limited to it.
        options: See `NodeOptions`.

    Raises:
        SettingsError: *url* is wrong, whatever is at its address.
    """

    def __init__(self, url: str, *, key_prefix: str = "", **options: Any) -> None:
        check_cluster(url)
        seeds = [RedisEndpoint(one) for one in node_urls(url)]
        self._options = NodeOptions(**options)
        self._own_keys = f"{key_prefix}r1|".encode()
        self._ping_key = self._own_keys + b"ping"
        self._topology = Topology(seeds, self._options, ping=self._ping, on_error_replies=self._on_error_replies)
        self._routes = self._topology.routes

    @property
    def nodes(self) -> Sequence[Node]:
        """The primaries that are known."""
        return self._topology.nodes

    @property
    def up(self) -> Mapping[str, bool]:
        """Whether each known primary can be used, by its address."""
        return {node.endpoint.address: node.error is None for node in self._topology.nodes}

    def own_key(self, node: Node, name: bytes) -> bytes | None:
        """See `Inspected.own_key`."""
        keys = (b"%b%b|%d" % (self._own_keys, name, number) for number in range(_KEYS_TRIED))
        return next((key for key in keys if self._topology.owner(key) is node), None)

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        """See `CounterStore.submit`."""
        if not self._topology.known:
            if self._topology.error is not None:
                raise self._topology.error.with_traceback(None)
            submit_as_task(self._update_first(updates, origin_of(done)), done)
            return None
        tickets = self._add(updates)
        if len(tickets) == 1:
            pending, command, added = tickets[0]
            if pending.failed is not None:
                raise pending.failed.with_traceback(None)
            pending.waiting.append((((command, added),), done))
        elif tickets:
            Gathering(tickets, done)
        return None if tickets else ()

    def _add(self, updates: Sequence[CounterUpdate]) -> list[tuple[PendingBatch, int, int]]:
        """Add *updates* to the batches of their nodes; returns their tickets: batch, command, and what was added to it."""
        routes = self._routes
        tickets = []
        for update in updates:
            key = update.key
            node = routes.get(key) or self._topology.route(key)
            if node is None or node.error is not None:
                tickets.append((_failed(node), 0, 0))
                continue
            pending = node.sender.next_batch
            command, added = pending.batch.add(update)
            if not pending.is_scheduled:
                node.sender.schedule()
            tickets.append((pending, command, added))
        return tickets

    def node_of(self, update: CounterUpdate) -> str:
        """The primary that serves the counter's slot; see `CounterStore.node_of`."""
        node = self._topology.owner(update.key)
        return "" if node is None else node.endpoint.address

    async def list_counters(self, prefix: bytes, most: int) -> Listed:
        """See `ListsCounters`. Our user needs the right to SCAN."""
        await self._within_time(self._topology.ready())
        return await records.list_counters(self.nodes, prefix, most, self._read)

    async def load_record(self, name: bytes) -> bytes | None:
        """See `KeepsRecords`."""
        key = self._own_keys + name
        found: bytes | None = await (await self._owner(key)).query(records.load(key))
        return found

    async def replace_record(self, name: bytes, before: bytes | None, after: bytes, seconds: int) -> bool:
        """See `KeepsRecords`."""
        key = self._own_keys + name
        return bool(await (await self._owner(key)).query(records.replace(key, before, after, seconds)))

    async def _owner(self, key: bytes) -> Node:
        await self._within_time(self._topology.ready())
        node = self._topology.owner(key)
        if node is None:
            raise BackendError("Redis: no node serves the slot of our records")
        return node

    async def _read(self, keys: Sequence[bytes]) -> Sequence[int]:
        return await self.update([read(key) for key in keys])

    async def ping(self) -> None:
        """Write to a counter of no rule at each primary; see `CounterStore.ping`."""
        await self._within_time(self._topology.ready())
        await self.update(list(self._pings(self._topology.nodes)))

    async def aclose(self) -> None:
        """Close the connections; calls under way fail."""
        await self._topology.aclose()

    async def _update_first(self, updates: Sequence[CounterUpdate], origin: object) -> Sequence[int]:
        """Wait for the topology and a connection, and apply *updates*, all within the time of one call."""
        if self._topology.error is not None:
            raise self._topology.error.with_traceback(None)
        deadline = asyncio.get_running_loop().time() + self._options.timeout_seconds
        await self._within_time(self._topology.ready(), deadline)
        return await self._within_time(self.update(updates, origin), deadline, in_doubt=True)

    async def _within_time(
        self, work: Coroutine[Any, Any, _Result], deadline: float | None = None, *, in_doubt: bool = False
    ) -> _Result:
        """The result of *work*, until *deadline* or within the time of one call.

        Raises:
            BackendError: It was not had by then; *in_doubt* says whether hits may be counted all the same.
        """
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + self._options.timeout_seconds
        try:
            async with asyncio.timeout_at(deadline):
                return await work
        except TimeoutError:
            raise self._topology.timeout_error(in_doubt=in_doubt) from None

    def _ping(self, node: Node) -> CounterUpdate | None:
        return next(self._pings([node]), None)

    def _pings(self, nodes: Sequence[Node]) -> Iterator[CounterUpdate]:
        """A hit on a counter of no rule at each of *nodes* that has slots."""
        left = set(nodes)
        now = self._options.clock()
        for number in range(_KEYS_TRIED):
            update = ping(b"%b|%d" % (self._ping_key, number), now)
            owner = self._topology.owner(update.key)
            if owner in left:
                left.discard(owner)
                yield update
                if not left:
                    return

    def _on_error_replies(self, node: Node, pending: PendingBatch) -> None:
        """Send refused commands again, to the node that will execute them now."""
        for command, error in pending.batch.errors.items():
            reply = ErrorReply.of(error)
            if reply.is_redirection:
                host = reply.host or node.endpoint.host
                if reply.kind == "MOVED":
                    self._resend(pending, command, self._topology.moved(reply.slot, host, reply.port))
                else:  # that node imports the slot: the topology has not changed yet
                    self._resend(pending, command, self._topology.at(host, reply.port), asking=True)
            elif reply.kind == "TRYAGAIN":
                self._resend(pending, command, node)
            elif reply.is_temporary:
                self._topology.refresh()
                if reply.is_not_the_primary:
                    node.disconnect(str(error))

    def _resend(self, pending: PendingBatch, command: int, target: Node, *, asking: bool = False) -> None:
        redirects = pending.redirects_followed.get(command, 0) + 1
        is_wanted = pending.failed is None or pending.batch.is_expire(command)
        if target.error is None and redirects <= _MAX_REDIRECTS and is_wanted:
            there = target.sender.next_batch
            number = there.batch.resend(pending.batch, command, asking=asking)
            there.redirects_followed[number] = redirects
            pending.redirects[command] = (there, number)
            if not there.is_scheduled:
                target.sender.schedule()


def _failed(node: Node | None) -> PendingBatch:
    """A batch that is never sent."""
    pending = PendingBatch()
    pending.failed = BackendError("Redis: no node serves the counter's slot") if node is None else node.error
    return pending
