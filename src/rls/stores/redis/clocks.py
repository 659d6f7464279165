"""How far the clocks of nodes are from ours. Windows are cut by our clock, and pods share nothing else that has one."""

from __future__ import annotations

from collections.abc import Callable, Collection

from rls.errors import BackendError
from rls.stores.redis.handshake import packed
from rls.stores.redis.node import Node

SKEWED_SECONDS = 1.0
"""The shortest window: beyond this, two clocks are never in the same one for long."""
_TIME = packed("TIME")


class Clocks:
    """Compares clocks.

    Args:
        on_skew: Gets a text that names the clocks which differ by more than a second, and "" when none does any more.
        clock: Our own, in Unix seconds.

    Attributes:
        ahead: By how many seconds each node's clock is ahead of ours, by its address; as far as that is known.
    """

    def __init__(self, on_skew: Callable[[str], None], clock: Callable[[], float]) -> None:
        self.ahead: dict[str, float] = {}
        self._on_skew = on_skew
        self._clock = clock
        self._skewed: dict[str, float] = {}

    async def ask(self, node: Node) -> None:
        """Ask *node* for its time.

        Raises:
            BackendError: It does not say.
        """
        address = node.endpoint.address
        asked = self._clock()
        reply = await node.ask(_TIME)
        answered = self._clock()
        if not isinstance(reply, list):  # two bytes are two numbers, too
            raise BackendError(f"Redis at {address}: no time in {reply!r}")
        seconds, microseconds = reply
        # When it read its clock is not known: some time between the question and the answer.
        ahead = int(seconds) + int(microseconds) / 1e6 - (asked + answered) / 2
        certain = abs(ahead) - (answered - asked) / 2
        self.ahead[address] = ahead
        before = self._skewed.get(address)
        if certain <= SKEWED_SECONDS * (1 if before is None else 0.5):
            self._skewed.pop(address, None)
        elif before is None or abs(ahead - before) >= SKEWED_SECONDS:  # a text that changes is a line in the log
            self._skewed[address] = ahead

    def forget(self, address: str) -> None:
        """Nothing is known of the node at *address*."""
        self.ahead.pop(address, None)
        self._skewed.pop(address, None)

    def report(self, addresses: Collection[str]) -> None:
        """Report what was found of the nodes at *addresses*, and forget all others."""
        for address in self.ahead.keys() - addresses:
            self.forget(address)
        self._on_skew("; ".join(_text(address, ahead) for address, ahead in sorted(self._skewed.items())))


def _text(address: str, ahead: float) -> str:
    where = "ahead of" if ahead > 0 else "behind"
    return f"the clock of Redis at {address} is {abs(ahead):.1f} s {where} ours, by which windows begin and end"
