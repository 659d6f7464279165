"""The second transport: grpc.aio, the reference, with reflection and connection age."""

from __future__ import annotations

import asyncio

from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION
from grpc_reflection.v1alpha.reflection import enable_server_reflection

from rls.addresses import join_address, split_address, unix_path
from rls.errors import SettingsError
from rls.transport.base import ServerLimits, ServerPolicy, ServerReports, Tls, first_ended
from rls.transport.drain_gate import PAUSE, DrainGate
from rls.transport.grpcio.aio_server import GrpcServer
from rls.transport.grpcio.handlers import Handlers
from rls.transport.grpcio.tls import configuration, newest_credentials
from rls.transport.handler import ServiceDefinition
from rls.transport.listen import close_listener, connections_allowed, knock, listen
from rls.transport.tls import Certificates

_PAUSES, _QUIET = 20, 4
_UNBOUNDED = 2**31 - 1


class GrpcioTransport:
    """Serves *service* on *address*: see `Transport`.

    Args:
        reflection: Serve descriptors to tools such as grpcurl.
    """

    def __init__(
        self,
        service: ServiceDefinition,
        address: str,
        *,
        policy: ServerPolicy | None = None,
        limits: ServerLimits | None = None,
        reports: ServerReports | None = None,
        tls: Tls | None = None,
        reflection: bool = False,
    ) -> None:
        self._service = service
        self._address = address
        self._policy = policy or ServerPolicy()
        self._limits = limits or ServerLimits()
        self._reports = reports or ServerReports()
        self._tls = tls
        self._bound = connections_allowed(self._limits.max_connections)
        self._reflection = reflection
        self._drain_gate = DrainGate()
        client_san = () if tls is None else tls.client_san
        self._handlers = Handlers(service, self._policy, self._limits, self._reports, self._drain_gate, client_san)
        self._server: GrpcServer | None = None
        self._certificates: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._address

    async def start(self) -> None:
        """Listen and serve."""
        credentials = certificates = None
        if self._tls is not None:
            if unix_path(self._address) is not None:
                raise SettingsError(f"cannot serve TLS on {self._address}: only on TCP")
            certificates = Certificates(self._tls, configuration, self._reports.certificate)
            credentials = newest_credentials(certificates, self._tls)
        # grpc does not say why it cannot listen.
        close_listener(listen(self._address))
        server = GrpcServer(self._options())
        for path, handler in self._handlers.methods.items():
            service, _, name = path.removeprefix("/").partition("/")
            server.add_registered_method_handlers(service, {name: handler})
        if self._reflection:
            enable_server_reflection([REFLECTION, *self._service.services], server)
        try:
            if credentials is None:
                port = server.add_insecure_port(self._address.encode())
            else:
                port = server.add_secure_port(self._address.encode(), credentials)
        except RuntimeError as error:
            raise SettingsError(f"cannot listen on {self._address}: {error}") from error
        if unix_path(self._address) is None:
            host, _ = split_address(self._address)
            self._address = join_address(host, port)
        await server.start()
        self._server = server
        if certificates is not None:
            self._certificates = asyncio.create_task(certificates.run(), name="certificates")

    async def ended(self) -> None:
        """Return when it serves no more, or looks at its certificates no more."""
        assert self._server is not None
        await first_ended(self._server.ended(), self._certificates)

    async def listening(self) -> None:
        """Check every second whether clients can connect. grpc's core closes what is too many without a word."""
        most, bound_by = self._bound
        text = f"a new connection was closed, as when {most} are open, which is as many as {bound_by} allows"
        connections = self._reports.connections

        def refused() -> None:
            if self._closing is None:  # then it closes all of them
                connections.on_refused(text)

        await knock(self._address, refused, lambda error: connections.no_files(self._address, error))

    async def aclose(self) -> None:
        """Drain and close."""
        if self._certificates is not None:
            self._certificates.cancel()
        self._handlers.close()
        if self._server is not None:
            self._closing = self._closing or asyncio.create_task(self._drain(self._server))
            await asyncio.wait([self._closing])  # `ended` has told of an error

    async def _drain(self, server: GrpcServer) -> None:
        """Stop, once all callers wait for answers: what its core takes later than that it cancels."""
        self._drain_gate.close()
        await self._quiet(server)
        stopping = asyncio.create_task(server.shutdown(self._policy.drain_timeout))
        await asyncio.sleep(PAUSE)
        self._drain_gate.open()
        await stopping

    async def _quiet(self, server: GrpcServer) -> None:
        """Wait until no call comes any more: callers wait for answers that are held. Not for long, as some do not."""
        quiet = 0
        for _ in range(_PAUSES):
            taken = server.taken
            await asyncio.sleep(PAUSE)
            quiet = quiet + 1 if server.taken == taken else 0
            if quiet == _QUIET:
                return

    def _options(self) -> list[tuple[str, int]]:
        age, grace = self._policy.max_connection_age, self._policy.max_connection_age_grace
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", self._limits.max_concurrent_streams),
            # It refuses streams to clients that keep to the limit: a stream counts on until all of it is torn down.
            ("grpc.http.overload_protection", 0),
            ("grpc.max_receive_message_length", self._limits.max_message_bytes),
            ("grpc.max_metadata_size", 65_536),
            ("grpc.absolute_max_metadata_size", 65_536),
        ]
        if self._bound[0] < _UNBOUNDED:
            options.append(("grpc.max_allowed_incoming_connections", self._bound[0]))
        if age:
            options.append(("grpc.max_connection_age_ms", int(age * 1000)))
            if grace:
                options.append(("grpc.max_connection_age_grace_ms", int(grace * 1000)))
        return options
