"""How many servers share the limits: a given number, or the current answer of DNS."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable


class Replicas:
    """Counts the addresses of a DNS name, such as a headless Service's, which has one for each pod.

    A pod may have an address of each family, so the larger family counts. While DNS does not answer, the last answer
    holds. Two lookups never run at one time, as one that hangs keeps a thread.

    Args:
        given: The number itself, or the name.
        on_count: Called with each number that is found, the same one too.
        unknown: Called with the reason why the number is not known, or is out of date; with "" when it is known.
        interval: Seconds between two lookups.
        patience: Seconds that `poll` waits for an answer.
        lasting: Seconds for which an answer is up to date.

    Attributes:
        count: How many there are; at least 1, or 0 while it is not known.
        fixed: Whether the number was given.
    """

    def __init__(
        self,
        given: int | str,
        *,
        on_count: Callable[[int], None] = lambda _: None,
        unknown: Callable[[str], None] = lambda _: None,
        interval: float = 5.0,
        patience: float = 2.0,
        lasting: float = 60.0,
    ) -> None:
        self.fixed = isinstance(given, int)
        self.count = given if isinstance(given, int) else 0
        self._name = str(given)
        self._on_count = on_count
        self._unknown = unknown
        self._interval = interval
        self._patience = patience
        self._lasting = lasting
        self._found_at = 0.0
        self._lookup: asyncio.Task[int] | None = None

    async def poll(self) -> None:
        """Poll once, or wait for the poll that has not ended."""
        if self.fixed:
            self._on_count(self.count)
            return
        if self._lookup is None:
            self._lookup = asyncio.get_running_loop().create_task(_addresses(self._name))
        done, _ = await asyncio.wait({self._lookup}, timeout=self._patience)
        if not done:
            self._missed("DNS does not answer")
            return
        lookup, self._lookup = self._lookup, None
        try:
            self.count = lookup.result()
        except OSError as error:
            self._missed(error.strerror or str(error))
            return
        self._found_at = time.monotonic()
        self._unknown("")
        self._on_count(self.count)

    async def run(self) -> None:
        """Look at each interval, until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._interval)
                await self.poll()
        finally:
            if self._lookup is not None:
                self._lookup.cancel()

    def _missed(self, why: str) -> None:
        if not self.count:
            self._unknown(f"how many servers share the limits is not known: {self._name}: {why}")
        elif time.monotonic() - self._found_at > self._lasting:
            self._unknown(f"{self.count} servers shared the limits when DNS last answered: {self._name}: {why}")


async def _addresses(name: str) -> int:
    """How many addresses *name* has.

    Raises:
        OSError: None that is known.
    """
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    addresses = {(family, address[0]) for family, _, _, _, address in found}
    return max(sum(family == one for family, _ in addresses) for one in (socket.AF_INET, socket.AF_INET6))
