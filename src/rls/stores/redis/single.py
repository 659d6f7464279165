"""Counters in one Redis node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, Done
from rls.stores.redis.connecting import RedisEndpoint
from rls.stores.redis.endpoint import Endpoint, NodeOptions
from rls.stores.redis.error_reply import ErrorReply
from rls.stores.redis.error_texts import IN_A_CLUSTER, with_advice
from rls.stores.redis.node import Node
from rls.stores.redis.pending_batch import PendingBatch
from rls.stores.redis.ping import ping


class RedisStore(CounterStore):
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
        self._node = Node(self._endpoint(url), self._options, ping=lambda _: self._ping(), on_refusals=_see_to_refusals)

    def _endpoint(self, url: str) -> Endpoint:
        return RedisEndpoint(url, alone=True)

    @property
    def nodes(self) -> Sequence[Node]:
        """The one node."""
        return (self._node,)

    @property
    def up(self) -> Mapping[str, bool]:
        """Whether the node can be used, by its address."""
        return {self._node.endpoint.address: self._node.down is None}

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        """See `CounterStore.submit`."""
        node = self._node
        if node.down is not None:
            raise node.down.with_traceback(None)  # it would grow with every call
        if not updates:
            return ()
        flight = node.filling
        add = flight.batch.add
        places = []
        for update in updates:
            places.append(add(update))  # noqa: PERF401 - a comprehension costs a call, and this runs for every check
        if flight.landed is None:
            node.schedule(flight)
        flight.waiting.append((places, done))
        return None

    async def ping(self) -> None:
        """Count on a counter of our own; see `CounterStore.ping`."""
        await self.update([self._ping()])

    def _ping(self) -> CounterUpdate:
        return ping(self._ping_key, self._options.clock())

    async def aclose(self) -> None:
        """Close the connection; calls under way fail."""
        await self._node.aclose()


def _see_to_refusals(node: Node, flight: PendingBatch) -> None:
    """Where a replica refuses, another connection may lead to the primary; a node of a cluster refuses what others serve."""
    errors = flight.batch.errors
    refused = {command: ErrorReply.of(error) for command, error in errors.items()}
    for command, refusal in refused.items():
        if refusal.is_redirection:
            errors[command] = BackendError(IN_A_CLUSTER)
        elif refusal.kind == "CLUSTERDOWN":
            errors[command] = BackendError(with_advice(str(errors[command]), IN_A_CLUSTER))
    left = next((command for command, refusal in refused.items() if refusal.is_not_the_primary), None)
    if left is not None:
        node.leave(str(errors[left]))
