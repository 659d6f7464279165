"""Counters in one Redis node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, Done, Listed
from rls.stores.redis import records
from rls.stores.redis.connecting import RedisEndpoint
from rls.stores.redis.endpoint import Endpoint, NodeOptions
from rls.stores.redis.error_reply import ErrorReply
from rls.stores.redis.error_texts import IN_A_CLUSTER, with_advice
from rls.stores.redis.node import Node
from rls.stores.redis.pending_batch import PendingBatch
from rls.stores.redis.ping import ping, read


class RedisStore(CounterStore):
    """Counters in one Redis node.

    Belongs to the loop in which it is first used. The first call connects, and waits for that. A lost connection is opened
    again in the background; until then calls fail at once.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        key_prefix: The prefix of all keys; the ACL of our user may be limited to it.
        options: See `NodeOptions`.

    Raises:
        SettingsError: *url* is wrong, whatever is at its address.
    """

    def __init__(self, url: str, *, key_prefix: str = "", **options: Any) -> None:
        self._options = NodeOptions(**options)
        self._own_keys = f"{key_prefix}r1|".encode()
        self._ping_key = self._own_keys + b"ping"
        self._node = Node(
            self._endpoint(url), self._options, ping=lambda _: self._ping(), on_error_replies=_on_error_replies
        )
        self._sender = self._node.sender

    def _endpoint(self, url: str) -> Endpoint:
        return RedisEndpoint(url, standalone=True)

    @property
    def nodes(self) -> Sequence[Node]:
        """The one node."""
        return (self._node,)

    @property
    def up(self) -> Mapping[str, bool]:
        """Whether the node can be used, by its address."""
        return {self._node.endpoint.address: self._node.error is None}

    def own_key(self, node: Node, name: bytes) -> bytes:
        """See `Inspected.own_key`."""
        del node
        return self._own_keys + name

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        """See `CounterStore.submit`."""
        error = self._node.error
        if error is not None:
            raise error.with_traceback(None)  # it would grow with every call
        if not updates:
            return ()
        pending = self._sender.next_batch
        add = pending.batch.add
        tickets = []
        for update in updates:
            tickets.append(add(update))  # noqa: PERF401 - a comprehension costs a call, and this runs for every check
        if not pending.is_scheduled:
            self._sender.schedule()
        pending.waiting.append((tickets, done))
        return None

    def node_of(self, update: CounterUpdate) -> str:  # noqa: ARG002 - there is one
        """See `CounterStore.node_of`."""
        return self._node.endpoint.address

    async def list_counters(self, prefix: bytes, most: int) -> Listed:
        """See `ListsCounters`. Our user needs the right to SCAN."""
        return await records.list_counters(self.nodes, prefix, most, self._read)

    async def load_record(self, name: bytes) -> bytes | None:
        """See `KeepsRecords`."""
        found: bytes | None = await self._node.query(records.load(self._own_keys + name))
        return found

    async def replace_record(self, name: bytes, before: bytes | None, after: bytes, seconds: int) -> bool:
        """See `KeepsRecords`."""
        command = records.replace(self._own_keys + name, before, after, seconds)
        return bool(await self._node.query(command))

    async def _read(self, keys: Sequence[bytes]) -> Sequence[int]:
        return await self.update([read(key) for key in keys])

    async def ping(self) -> None:
        """Write to a counter of no rule; see `CounterStore.ping`."""
        await self.update([self._ping()])

    def _ping(self) -> CounterUpdate:
        return ping(self._ping_key, self._options.clock())

    async def aclose(self) -> None:
        """Close the connection; calls under way fail."""
        await self._node.aclose()


def _on_error_replies(node: Node, pending: PendingBatch) -> None:
    """Name the cause: a node of a cluster refuses the slots of others. Leave a replica: its name may lead to the primary."""
    errors = pending.batch.errors
    replies = {command: ErrorReply.of(error) for command, error in errors.items()}
    for command, reply in replies.items():
        if reply.is_redirection:
            errors[command] = BackendError(IN_A_CLUSTER)
        elif reply.kind == "CLUSTERDOWN":
            errors[command] = BackendError(with_advice(str(errors[command]), IN_A_CLUSTER))
    not_primary = next((command for command, reply in replies.items() if reply.is_not_the_primary), None)
    if not_primary is not None:
        node.disconnect(str(errors[not_primary]))
