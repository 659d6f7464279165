"""Whether nodes evict counters: an evicted counter starts from 0 again within its window."""

from __future__ import annotations

from collections.abc import Callable, Collection

from rls.stores.redis.handshake import packed
from rls.stores.redis.node import Node

_FULL = 0.9
"""Share of `maxmemory` in use from which on a node will soon evict."""
_COMMANDS = (packed("INFO", "stats"), packed("INFO", "memory"))


class Evictions:
    """Reads `evicted_keys`, `used_memory`, `maxmemory` and `maxmemory_policy` of each node.

    A node with `noeviction` evicts nothing: when it is full it refuses new counters, which is reported elsewhere. With any
    other policy, counters are safe while there is room; so a node is reported when little is left.

    Args:
        report: Called with a text that names the nodes that evict counters or will soon; "" when none does any more.

    Attributes:
        evicted: Keys that each node has evicted since it started, by its address; without nodes that did not say.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self.evicted: dict[str, int] = {}
        self._texts: dict[str, str] = {}

    async def query(self, node: Node) -> None:
        """Read how full *node* is, and how many keys it has evicted.

        Raises:
            BackendError: It did not reply.
        """
        info: dict[str, str] = {}
        for command in _COMMANDS:
            info.update(_fields(await node.query(command)))
        address, evicted = node.endpoint.address, int(info["evicted_keys"])
        has_evicted = evicted > self.evicted.get(address, evicted)
        self.evicted[address] = evicted
        policy = info.get("maxmemory_policy", "")
        limit = int(info.get("maxmemory", 0))
        is_full = limit > 0 and policy != "noeviction" and int(info["used_memory"]) > _FULL * limit
        if has_evicted:
            self._texts[address] = (
                f"Redis at {address} evicts counters, which begin at 0 again (maxmemory-policy {policy})"
            )
        elif is_full and address not in self._texts:
            used = f"has used {100 * _FULL:g} % of its maxmemory"
            self._texts[address] = f"Redis at {address} {used}, and evicts counters next (maxmemory-policy {policy})"
        elif not is_full:
            self._texts.pop(address, None)

    def evicts(self, address: str) -> bool:
        """Whether the node at *address* evicted counters when it was queried last, or has little room left."""
        return address in self._texts

    def forget(self, address: str) -> None:
        """Forget the node at *address*."""
        self.evicted.pop(address, None)
        self._texts.pop(address, None)

    def report(self, addresses: Collection[str]) -> None:
        """Report what was found at *addresses*, and forget all other nodes."""
        for address in self.evicted.keys() - addresses:
            self.forget(address)
        self._report("; ".join(text for _, text in sorted(self._texts.items())))


def _fields(info: bytes) -> dict[str, str]:
    """The fields of a section of INFO, by name."""
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}
