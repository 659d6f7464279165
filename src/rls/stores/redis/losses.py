"""Whether nodes lost counters: by a restart without their data, FLUSHALL, a failover to an empty replica, an old snapshot.

Each node holds a number of ours, its marker. Its upper half is random, its lower half grows by one with each look of any
pod. A node that lost its keys gets a new marker. One that went back to an older state has a lower number than before.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import NamedTuple

from rls.errors import BackendError
from rls.stores.redis.handshake import packed
from rls.stores.redis.node import Node
from rls.utc import utc

SHORTEST_SECONDS = 60
LONGEST_SECONDS = 3600
"""How long a loss is reported: until the last window ends in which we had counted, but neither shorter nor longer."""
_PERIOD_SECONDS = 7 * 86_400
"""How long a marker is used. Then another takes its place, so that none needs its TTL renewed."""
_SECONDS_TO_LIVE = 2 * _PERIOD_SECONDS
_HALF = 32


class _Seen(NamedTuple):
    """A marker as it was seen last.

    Attributes:
        number: Its value.
        at: When, in Unix seconds.
        last_end: See `Node.last_end`.
    """

    number: int
    at: float
    last_end: int


class _Loss(NamedTuple):
    text: str
    until: float


class Losses:
    """Compares the marker of each node with what it was.

    Args:
        on_lost: Called with a text that names the nodes that lost counters, as long as that matters; "" when none did.
        is_explained: Whether it is known otherwise why the node at an address lost counters, such as evictions.
        clock: Unix seconds.

    Attributes:
        found: How often the node at an address turned out to have lost counters.
    """

    def __init__(
        self, on_lost: Callable[[str], None], is_explained: Callable[[str], bool], clock: Callable[[], float]
    ) -> None:
        self.found: dict[str, int] = {}
        self._on_lost = on_lost
        self._is_explained = is_explained
        self._clock = clock
        self._seen: dict[tuple[int, bytes], _Seen] = {}
        self._losses: dict[str, _Loss] = {}

    def marker(self) -> bytes:
        """The name of the markers that are in use now."""
        return b"marker|%d" % (self._clock() // _PERIOD_SECONDS)

    async def query(self, store: int, node: Node, key: bytes) -> None:
        """Look at the marker *key* of *node*, and make it if it is missing.

        Args:
            store: Number of the node's store. Another node of it may have had the marker before: it replicates it.
            node: What serves the key now.
            key: See `Inspected.own_key`.

        Raises:
            BackendError: It gave no number. What is known of the marker stays.
        """
        address = node.endpoint.address
        self.found.setdefault(address, 0)
        fresh = random.getrandbits(30) << _HALF
        await node.query(packed("SET", key, str(fresh), "EX", str(_SECONDS_TO_LIVE), "NX"))
        number = await node.query(packed("INCRBY", key, "1"))
        if not isinstance(number, int):
            raise BackendError(f"Redis at {address}: no number in {number!r}")
        before = self._seen.get((store, key))
        seen = self._seen[store, key] = _Seen(number, self._clock(), node.last_end)
        if before is not None and not self._is_explained(address):
            text = _what_happened(before, number)
            if text:
                self._lost(address, text, max(before.last_end, seen.last_end))

    def report(self, addresses: Collection[str]) -> None:
        """Report what was found and still matters; forget markers that are not used any more.

        Args:
            addresses: Of the nodes that count now.
        """
        now = self._clock()
        self._losses = {address: loss for address, loss in self._losses.items() if loss.until > now}
        marker = self.marker()
        self._seen = {key: seen for key, seen in self._seen.items() if marker in key[1]}
        self.found = {address: number for address, number in self.found.items() if address in addresses}
        self._on_lost("; ".join(loss.text for _, loss in sorted(self._losses.items())))

    def _lost(self, address: str, text: str, last_end: int) -> None:
        now = self._clock()
        self.found[address] += 1
        until = min(max(last_end, now + SHORTEST_SECONDS), now + LONGEST_SECONDS)
        self._losses[address] = _Loss(f"Redis at {address} {text}", until)


def _what_happened(before: _Seen, number: int) -> str:
    """What befell a marker that is *number* now; "" for nothing."""
    at = utc(before.at)
    if number >> _HALF != before.number >> _HALF:
        return f"lost its counters after {at}: they began at 0 again"
    if number <= before.number:
        return f"holds an older state than at {at}: the newest hits are lost"
    return ""
