"""Whether nodes evict counters: those begin at 0 again, within their window."""

from __future__ import annotations

from collections.abc import Callable, Collection

from rls.stores.redis.handshake import packed
from rls.stores.redis.node import Node

_FULL = 0.9
"""Of `maxmemory`: from here on a node that may evict soon will."""
_QUESTIONS = (packed("INFO", "stats"), packed("INFO", "memory"))


class Evictions:
    """Reads `evicted_keys`, `used_memory`, `maxmemory` and `maxmemory_policy` of each node.

    A node with `noeviction` evicts nothing: it refuses new counters when it is full, which is reported elsewhere. With any
    other policy counters are safe as long as there is room, so it is reported when there is little left.

    Args:
        report: Gets a text that names the nodes which evict counters, or are about to; "" when none is any more.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._evicted: dict[str, int] = {}
        self._texts: dict[str, str] = {}

    async def ask(self, node: Node) -> None:
        """Ask *node* how full it is, and how many keys it has evicted.

        Raises:
            BackendError: It does not say.
        """
        said: dict[str, str] = {}
        for question in _QUESTIONS:
            said.update(_fields(await node.ask(question)))
        address, evicted = node.endpoint.address, int(said["evicted_keys"])
        has_evicted = evicted > self._evicted.get(address, evicted)
        self._evicted[address] = evicted
        policy = said.get("maxmemory_policy", "")
        limit = int(said.get("maxmemory", 0))
        is_full = limit > 0 and policy != "noeviction" and int(said["used_memory"]) > _FULL * limit
        if has_evicted:
            self._texts[address] = (
                f"Redis at {address} evicts counters, which begin at 0 again (maxmemory-policy {policy})"
            )
        elif is_full and address not in self._texts:
            used = f"has used {100 * _FULL:g} % of its maxmemory"
            self._texts[address] = f"Redis at {address} {used}, and evicts counters next (maxmemory-policy {policy})"
        elif not is_full:
            self._texts.pop(address, None)

    def forget(self, address: str) -> None:
        """Nothing is known of the node at *address*."""
        self._evicted.pop(address, None)
        self._texts.pop(address, None)

    def report(self, addresses: Collection[str]) -> None:
        """Report what was found of the nodes at *addresses*, and forget all others."""
        for address in self._evicted.keys() - addresses:
            self.forget(address)
        self._report("; ".join(text for _, text in sorted(self._texts.items())))


def _fields(info: bytes) -> dict[str, str]:
    """The lines of a section of INFO, by name."""
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}
