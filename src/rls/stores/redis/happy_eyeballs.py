"""All addresses of a name: resolved, sorted, and raced (RFC 8305, Happy Eyeballs)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple, TypeAlias

from rls.addresses import join_address

SocketAddress: TypeAlias = tuple[Any, ...]
"""As `socket.connect` takes it."""
_LONGEST_STAGGER_SECONDS, _SHORTEST_STAGGER_SECONDS = 0.1, 0.01
"""RFC 8305, section 5: 100 ms are recommended, 10 ms are the minimum."""
_lookups: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Task[list[Address]]] = {}


class Address(NamedTuple):
    """Where to connect."""

    family: int
    address: SocketAddress

    def __str__(self) -> str:
        host, port = self.address[:2]
        return join_address(host, port)


async def resolve(host: str, port: int) -> Sequence[Address]:
    """All addresses of *host*, the families in turn. The loop does not block meanwhile.

    There is one query for a name at a time: a resolver that hangs would block a thread for every attempt.

    Raises:
        OSError: The name has no address, or the resolver failed.
    """
    try:
        return _in_turn(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except socket.gaierror:  # it is a name
        pass
    loop = asyncio.get_running_loop()
    key = (loop, host, port)
    lookup = _lookups.get(key)
    if lookup is None:
        lookup = _lookups[key] = loop.create_task(_query_resolver(host, port))
        lookup.add_done_callback(lambda done: _resolved(key, done))
    return await asyncio.shield(lookup)


async def _query_resolver(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    return _in_turn(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _resolved(key: tuple[asyncio.AbstractEventLoop, str, int], lookup: asyncio.Task[list[Address]]) -> None:
    _lookups.pop(key, None)
    if not lookup.cancelled():
        lookup.exception()  # mark it as seen: those who waited may have been cancelled


def _in_turn(found: Sequence[tuple[Any, ...]]) -> list[Address]:
    """RFC 8305, section 4: the resolver's order with the families in turn, so that a broken family costs one attempt."""
    by_family: dict[int, list[Address]] = {}
    for family, _, _, _, address in found:
        by_family.setdefault(family, []).append(Address(family, address))
    turns = chain.from_iterable(zip_longest(*by_family.values()))
    return list(dict.fromkeys(address for address in turns if address is not None))


def stagger_seconds(addresses: int, timeout_seconds: float) -> float:
    """Pause between two attempts: if possible, all are under way within the first half of the time."""
    fair = timeout_seconds / (2 * max(1, addresses))
    return max(_SHORTEST_STAGGER_SECONDS, min(_LONGEST_STAGGER_SECONDS, fair))


class Preference:
    """Which addresses of a name to try first: those never abandoned, then those abandoned longest ago.

    A name may lead to a primary and its replicas. An address that takes no writes is abandoned, and tried last from then on.
    """

    def __init__(self) -> None:
        self._abandoned_at: dict[Address, float] = {}

    def abandon(self, address: Address) -> None:
        """Try *address* last from now on."""
        self._abandoned_at[address] = time.monotonic()

    def order(self, addresses: Sequence[Address]) -> list[Address]:
        """*addresses*, best first; forgets what is not among them."""
        self._abandoned_at = {address: at for address, at in self._abandoned_at.items() if address in addresses}
        return sorted(addresses, key=lambda address: self._abandoned_at.get(address, 0.0))


async def connected_socket(address: Address) -> socket.socket:
    """A socket that is connected to *address*; the caller closes it.

    Raises:
        OSError: It cannot be connected.
    """
    found = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        found.setblocking(False)
        await asyncio.get_running_loop().sock_connect(found, address.address)
    except BaseException:
        found.close()
        raise
    return found
