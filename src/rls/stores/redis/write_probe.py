"""Whether a node takes writes: found out by a write of our own, which nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.redis.batch import Batch
from rls.stores.redis.error_reply import ErrorReply
from rls.stores.redis.error_texts import cause
from rls.stores.redis.pending_batch import PendingBatch

if TYPE_CHECKING:
    from rls.stores.redis.node import Node

_PAUSE_SECONDS = 0.2
"""Between two writes to a node that refuses them."""


class WriteProbe:
    """Judges *node* by its replies.

    That it answers does not make it of use: a call is there to count. Where a command was refused, a write of our own
    finds out whether all are. One refused counter, of another type or under another right, does not take the node down.
    Where the write is refused, it is repeated until one has succeeded; only that brings a node back, whatever it was down
    for.

    Args:
        node: The node.
        ping: The write of our own: a hit on a counter that is nobody's, at this node; None where it has no slots.
    """

    def __init__(self, node: Node, ping: Callable[[Node], CounterUpdate | None]) -> None:
        self._node = node
        self._ping = ping
        self._flight: PendingBatch | None = None
        self._command = -1
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_in_doubt(self) -> bool:
        """Whether it is down, or may turn out to be."""
        return self._flight is not None or self._node.down is not None

    def judge(self, flight: PendingBatch) -> None:
        """Take note of what *flight* brought, which has landed; its refusals have been seen to, as far as that is possible."""
        node, batch = self._node, flight.batch
        proof = None
        if self._flight is flight:
            self._flight, proof = None, self._command
        if proof in batch.errors:
            error = batch.errors[proof]
            if not ErrorReply.of(error).is_redirection:
                node.go_down(BackendError(cause(node.endpoint.address, error)))
            if node.down is not None:
                self._timer = asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self.prove)
        elif node.down is not None and batch.has_written:
            node.come_back()
        elif node.down is not None or any(_is_suspicious(batch, command) for command in batch.errors):
            self.prove()

    def prove(self) -> None:
        """Let the next write take along one of our own."""
        node = self._node
        if not node.is_connected or self._flight is not None:
            return
        hit = self._ping(node)
        if hit is None:
            node.come_back()
            return
        self.forget()
        self._flight, (self._command, _) = node.filling, node.filling.batch.add(hit)
        node.send_soon()

    def forget(self, flight: PendingBatch | None = None) -> None:
        """Nothing comes of what *flight* took along, or of anything at all."""
        if flight is None or flight is self._flight:
            self._flight = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None


def _is_suspicious(batch: Batch, command: int) -> bool:
    """Whether it was refused what may be refused to all."""
    return batch.is_hit(command) and not ErrorReply.of(batch.errors[command]).is_redirection
