"""Whether a node takes writes: found out by a write of our own, which no call waits for."""

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

    A node that answers may still be of no use: calls need it to count. When it refuses a command, a write of our own finds
    out whether it refuses all. So one refused counter, of another type or under another right, does not take the node down.
    If the write is refused, it is repeated until one succeeds. Only a write that succeeds brings a node back, whatever it
    was down for.

    Args:
        node: The node.
        ping: The write of our own: a hit on a counter of no rule, at this node; None where the node has no slots.
    """

    def __init__(self, node: Node, ping: Callable[[Node], CounterUpdate | None]) -> None:
        self._node = node
        self._ping = ping
        self._pending: PendingBatch | None = None  # what carries the write
        self._command = -1
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_in_doubt(self) -> bool:
        """Whether the node is down, or may turn out to be."""
        return self._pending is not None or self._node.error is not None

    def judge(self, pending: PendingBatch) -> None:
        """Learn from the replies to *pending*; its refused commands have been sent again where that is possible."""
        node, batch = self._node, pending.batch
        probe = None
        if self._pending is pending:
            self._pending, probe = None, self._command
        if probe in batch.errors:
            error = batch.errors[probe]
            if not ErrorReply.of(error).is_redirection:
                node.go_down(BackendError(cause(node.endpoint.address, error)))
            if node.error is not None:
                self._timer = asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self.start)
        elif node.error is not None and batch.has_written:
            node.come_back()
        elif node.error is not None or any(_is_suspicious(batch, command) for command in batch.errors):
            self.start()

    def start(self) -> None:
        """Let the next batch take along a write of our own."""
        node = self._node
        if not node.is_answering or self._pending is not None:
            return
        update = self._ping(node)
        if update is None:
            node.come_back()
            return
        self.forget()
        self._pending = node.sender.next_batch
        self._command, _ = self._pending.batch.add(update)
        node.sender.send_soon()

    def forget(self, pending: PendingBatch | None = None) -> None:
        """No replies will come to *pending*, or, without it, to anything at all."""
        if pending is None or pending is self._pending:
            self._pending = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None


def _is_suspicious(batch: Batch, command: int) -> bool:
    """Whether the node may refuse all updates for the reason that it refused *command* for."""
    return batch.is_update(command) and not ErrorReply.of(batch.errors[command]).is_redirection
