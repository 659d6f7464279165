"""The native transport: HTTP/2 in the loop's own thread."""

from __future__ import annotations

import asyncio
import socket

from rls.addresses import unix_path
from rls.errors import SettingsError
from rls.transport.base import Closed, ServerLimits, ServerPolicy, ServerReports, Tls, first_ended
from rls.transport.handler import ServiceDefinition
from rls.transport.listen import address_of, close_listener, connections_allowed, keep_listening, listen
from rls.transport.native.accept import Acceptor
from rls.transport.native.hub import Hub
from rls.transport.tls import Certificates

_REASONS = (
    Closed.TOO_MANY,
    Closed.HANDSHAKE,
    Closed.NO_ALPN,
    Closed.AGE,
    Closed.SLOW_READER,
    Closed.CLIENT_ERROR,
)


class NativeTransport:
    """Serves *service* on *address*: see `Transport`."""

    def __init__(
        self,
        service: ServiceDefinition,
        address: str,
        *,
        policy: ServerPolicy | None = None,
        limits: ServerLimits | None = None,
        reports: ServerReports | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._service = service
        self._address = address
        self._policy = policy or ServerPolicy()
        self._limits = limits or ServerLimits()
        self._reports = reports or ServerReports()
        self._tls = tls
        self._listener: socket.socket | None = None
        self._hub: Hub | None = None
        self._acceptor: Acceptor | None = None
        self._certificates: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._address

    async def start(self) -> None:
        """Listen and serve."""
        tls, limits = self._tls, self._limits
        if tls is not None and unix_path(self._address) is not None:
            raise SettingsError(f"cannot serve TLS on {self._address}: only on TCP")
        certificates = None
        if tls is not None:
            certificates = Certificates(tls, lambda _, context: context, self._reports.certificate, self._renew)
        self._listener = listen(self._address)
        self._address = address_of(self._listener)
        client_san = () if tls is None else tls.client_san
        hub = self._hub = Hub(self._service, self._policy, limits, self._reports, client_san)
        connections = self._reports.connections
        bound = connections_allowed(limits.max_connections)
        self._acceptor = Acceptor(
            self._listener,
            hub.make,
            hub.failed,
            None if certificates is None else lambda: certificates.newest,
            lambda: len(hub),
            bound,
            connections,
        )
        connections.begin(self._acceptor.count, bound[0], _REASONS)
        if certificates is not None:
            self._certificates = asyncio.create_task(certificates.run(), name="certificates")

    async def ended(self) -> None:
        """Return when it serves no more, or looks at its certificates no more."""
        assert self._acceptor is not None
        await first_ended(self._acceptor.ended(), self._certificates)

    async def listening(self) -> None:
        """Check every second whether clients can connect."""
        assert self._listener is not None
        await keep_listening(self._listener)

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
            await self._hub.drain(self._policy.drain_timeout)
