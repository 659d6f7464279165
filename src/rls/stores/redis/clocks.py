"""How far the clocks of nodes are from ours. Windows follow our clock; the nodes' are the only ones that all pods can read."""

from __future__ import annotations

from collections.abc import Callable, Collection

from rls.errors import BackendError
from rls.stores.redis.handshake import packed
from rls.stores.redis.node import Node

SKEWED_SECONDS = 1.0
"""The shortest window: two clocks that differ by more are never in the same one for long."""
_TIME = packed("TIME")


class Clocks:
    """Compares the clocks of nodes with ours.

    Args:
        on_skew: Called with a text that names the clocks that differ by more than a second; "" when none does any more.
        clock: Our own, in Unix seconds.

    Attributes:
        ahead: Seconds by which the clock of a node is ahead of ours, by its address, where known.
    """

    def __init__(self, on_skew: Callable[[str], None], clock: Callable[[], float]) -> None:
        self.ahead: dict[str, float] = {}
        self._on_skew = on_skew
        self._clock = clock
        self._skewed: dict[str, float] = {}

    async def query(self, node: Node) -> None:
        """Read the clock of *node*.

        Raises:
            BackendError: It gave no time.
        """
        address = node.endpoint.address
        sent_at = self._clock()
        reply = await node.query(_TIME)
        received_at = self._clock()
        if not isinstance(reply, list):  # two bytes would unpack as two numbers
            raise BackendError(f"Redis at {address}: no time in {reply!r}")
        seconds, microseconds = reply
        # The node read its clock at some time between the command and the reply.
        ahead = int(seconds) + int(microseconds) / 1e6 - (sent_at + received_at) / 2
        certain = abs(ahead) - (received_at - sent_at) / 2
        self.ahead[address] = ahead
        before = self._skewed.get(address)
        if certain <= SKEWED_SECONDS * (1 if before is None else 0.5):
            self._skewed.pop(address, None)
        elif before is None or abs(ahead - before) >= SKEWED_SECONDS:  # each change of the text is a line in the log
            self._skewed[address] = ahead

    def forget(self, address: str) -> None:
        """Forget the node at *address*."""
        self.ahead.pop(address, None)
        self._skewed.pop(address, None)

    def report(self, addresses: Collection[str]) -> None:
        """Report what was found at *addresses*, and forget all other nodes."""
        for address in self.ahead.keys() - addresses:
            self.forget(address)
        self._on_skew("; ".join(_text(address, ahead) for address, ahead in sorted(self._skewed.items())))


def _text(address: str, ahead: float) -> str:
    where = "ahead of" if ahead > 0 else "behind"
    return f"the clock of Redis at {address} is {abs(ahead):.1f} s {where} ours, by which windows begin and end"
