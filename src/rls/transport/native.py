"""The native transport: HTTP/2 in the loop's own thread."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Mapping

from rls.errors import SettingsError
from rls.transport.base import Calls, Limits, Tls
from rls.transport.listen import address_of, close_listener, connections_possible, listen
from rls.transport.native_accept import Acceptor
from rls.transport.native_hub import Hub
from rls.transport.tls import Certificates


class Native:
    """The transport (see `Transport`) of *calls* on *address*.

    Args:
        max_connection_age: Seconds after which a connection is told to go away, ±10 %, so that clients spread over new
            pods; 0 for never.
        max_connection_age_grace: Seconds that its calls in flight then have; 0 for as long as they take.
    """

    def __init__(
        self,
        calls: Calls,
        address: str,
        *,
        limits: Limits | None = None,
        tls: Tls | None = None,
        max_connection_age: float = 0,
        max_connection_age_grace: float = 0,
    ) -> None:
        self._calls = calls
        self._address = address
        self._limits = limits or Limits()
        self._tls = tls
        self._age = (max_connection_age, max_connection_age_grace)
        self._listener: socket.socket | None = None
        self._hub: Hub | None = None
        self._acceptor: Acceptor | None = None
        self._certificates: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._address

    @property
    def closed(self) -> Mapping[str, int]:
        """Connections so far that were closed for another reason than their client's wish, by reason."""
        return {} if self._hub is None else self._hub.closed

    async def start(self) -> None:
        """Listen and serve."""
        tls, limits = self._tls, self._limits
        if tls is not None and self._address.startswith("unix:"):
            raise SettingsError(f"cannot serve TLS on {self._address}: only on TCP")
        certificates = None if tls is None else Certificates(tls, self._renew)
        self._listener = listen(self._address)
        self._address = address_of(self._listener)
        age, grace = self._age
        client_san = () if tls is None else tls.client_san
        hub = self._hub = Hub(self._calls, limits, client_san=client_san, age=age, grace=grace)
        most = min(limits.max_connections or sys.maxsize, connections_possible())
        self._acceptor = Acceptor(
            self._listener,
            hub.make,
            hub.failed,
            None if certificates is None else lambda: certificates.context,
            lambda waiting: len(hub) + waiting < most,
            hub.closed,
        )
        if certificates is not None:
            self._certificates = asyncio.create_task(certificates.run(), name="certificates")

    async def ended(self) -> None:
        """Return when it serves no more, or looks at its certificates no more."""
        assert self._acceptor is not None
        accepting = asyncio.ensure_future(self._acceptor.ended())
        parts = [part for part in (accepting, self._certificates) if part is not None]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            accepting.cancel()
        for part in done:
            part.result()

    async def aclose(self) -> None:
        """Drain and close."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._drain())
        await asyncio.shield(self._closing)

    def _renew(self) -> None:
        if self._hub is not None:
            self._hub.renew()

    async def _drain(self) -> None:
        if self._certificates is not None:
            self._certificates.cancel()
        if self._acceptor is not None:
            await self._acceptor.aclose()
        if self._listener is not None:
            close_listener(self._listener)
        if self._hub is not None:
            await self._hub.drain(self._limits.drain)
