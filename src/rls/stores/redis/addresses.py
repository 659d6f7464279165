"""All addresses of a name: looked up, put in order, and raced (RFC 8305, Happy Eyeballs)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple, TypeAlias

SocketAddress: TypeAlias = tuple[Any, ...]
"""As `socket.connect` takes it."""
_LONGEST_STAGGER_SECONDS, _SHORTEST_STAGGER_SECONDS = 0.1, 0.01
"""RFC 8305, section 5: 100 ms are recommended, and 10 ms are the least."""
_lookups: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Task[list[Address]]] = {}


class Address(NamedTuple):
    """Where to connect."""

    family: int
    address: SocketAddress

    def __str__(self) -> str:
        host, port = self.address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def look_up(host: str, port: int) -> Sequence[Address]:
    """All addresses of *host*, the families in turn. The loop does not wait for the resolver.

    A name is looked up once at a time: a resolver that hangs would keep a thread for every attempt.

    Raises:
        OSError: The name has no address, or the resolver does not say.
    """
    try:
        return _in_turn(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except socket.gaierror:  # a name
        pass
    loop = asyncio.get_running_loop()
    key = (loop, host, port)
    lookup = _lookups.get(key)
    if lookup is None:
        lookup = _lookups[key] = loop.create_task(_ask_resolver(host, port))
        lookup.add_done_callback(lambda done: _looked_up(key, done))
    return await asyncio.shield(lookup)


async def _ask_resolver(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    return _in_turn(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _looked_up(key: tuple[asyncio.AbstractEventLoop, str, int], lookup: asyncio.Task[list[Address]]) -> None:
    _lookups.pop(key, None)
    if not lookup.cancelled():
        lookup.exception()  # those who asked may have given up


def _in_turn(found: Sequence[tuple[Any, ...]]) -> list[Address]:
    """RFC 8305, section 4: the resolver's order, but with the families in turn, so that a broken one costs one attempt."""
    by_family: dict[int, list[Address]] = {}
    for family, _, _, _, address in found:
        by_family.setdefault(family, []).append(Address(family, address))
    turns = chain.from_iterable(zip_longest(*by_family.values()))
    return list(dict.fromkeys(address for address in turns if address is not None))


def stagger_seconds(addresses: int, timeout_seconds: float) -> float:
    """Between two attempts: all are under way in the first half of the time, if that is possible."""
    fair = timeout_seconds / (2 * max(1, addresses))
    return max(_SHORTEST_STAGGER_SECONDS, min(_LONGEST_STAGGER_SECONDS, fair))


class Preference:
    """Which addresses of a name to try first: those that were left longest ago, or never.

    A name may lead to a primary and its replicas. What takes no writes is left, and tried last from then on.
    """

    def __init__(self) -> None:
        self._left_at: dict[Address, float] = {}

    def leave(self, address: Address) -> None:
        """*address* is of no use now."""
        self._left_at[address] = time.monotonic()

    def order(self, addresses: Sequence[Address]) -> list[Address]:
        """*addresses*, best first; whatever else was left is forgotten."""
        self._left_at = {address: at for address, at in self._left_at.items() if address in addresses}
        return sorted(addresses, key=lambda address: self._left_at.get(address, 0.0))


async def connected_socket(address: Address) -> socket.socket:
    """A socket that is connected to *address*, to be closed by the caller.

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
