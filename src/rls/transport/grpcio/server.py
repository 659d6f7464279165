"""The second transport: grpc.aio, the reference, with reflection and connection age."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeAlias, cast

import grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION
from grpc_reflection.v1alpha.reflection import enable_server_reflection

from rls.errors import SettingsError
from rls.proto import health_pb2, rls_pb2
from rls.transport.base import Calls, Dropped, Handler, Limits, Shed, Tls
from rls.transport.client_names import SanAllowlist
from rls.transport.drain_gate import PAUSE, DrainGate
from rls.transport.grpcio.aio_server import GrpcServer
from rls.transport.grpcio.permits import Gate
from rls.transport.grpcio.tls import configuration, newest_credentials
from rls.transport.health import CHECK, WATCH, Watches
from rls.transport.incomplete_requests import IncompleteRequests
from rls.transport.listen import close_listener, connections_allowed, knock, listen, split_address
from rls.transport.status import Aborted, StatusCode, status_of
from rls.transport.tls import Certificates

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

_LOG = logging.getLogger(__name__)
_PAUSES, _QUIET = 20, 4
_UNBOUNDED = 2**31 - 1
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcioTransport:
    """The transport (see `Transport`) of *calls* on *address*.

    Args:
        max_connection_age: Seconds after which a connection is told to go away, ±10 %, so that clients spread over new
            pods; 0 for never.
        max_connection_age_grace: Seconds that its calls in flight then have; 0 for as long as they take.
        reflection: Serve descriptors to tools such as grpcurl.
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
        reflection: bool = False,
    ) -> None:
        self._calls = calls
        self._address = address
        self._limits = limits or Limits()
        self._tls = tls
        self._bound = connections_allowed(self._limits.max_connections)
        self._age = (max_connection_age, max_connection_age_grace)
        self._reflection = reflection
        self._watches = Watches(calls.health, self._limits.max_watches)
        self._server: GrpcServer | None = None
        self._certificates: asyncio.Task[None] | None = None
        self._farewell = DrainGate()
        self._closing: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._address

    async def start(self) -> None:
        """Listen and serve."""
        credentials = certificates = None
        client_san = self._tls.client_san if self._tls is not None else ()
        if self._tls is not None:
            if self._address.startswith("unix:"):
                raise SettingsError(f"cannot serve TLS on {self._address}: only on TCP")
            certificates = Certificates(self._tls, configuration, self._calls.certificate)
            credentials = newest_credentials(certificates, self._tls)
        # grpc does not say why it cannot listen.
        close_listener(listen(self._address))
        server = GrpcServer(self._options())
        handlers = _Handlers(self._calls, self._watches, client_san, self._limits, self._farewell)
        for path, handler in handlers.methods.items():
            service, _, name = path.removeprefix("/").partition("/")
            server.add_registered_method_handlers(service, {name: handler})
        if self._reflection:
            services = [file.DESCRIPTOR.services_by_name.values() for file in (rls_pb2, health_pb2)]
            enable_server_reflection([REFLECTION, *(s.full_name for group in services for s in group)], server)
        try:
            if credentials is None:
                port = server.add_insecure_port(self._address.encode())
            else:
                port = server.add_secure_port(self._address.encode(), credentials)
        except RuntimeError as error:
            raise SettingsError(f"cannot listen on {self._address}: {error}") from error
        if not self._address.startswith("unix:"):
            host, _ = split_address(self._address)
            self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        await server.start()
        self._server = server
        if certificates is not None:
            self._certificates = asyncio.create_task(certificates.run(), name="certificates")

    async def ended(self) -> None:
        """Return when it serves no more, or looks at its certificates no more."""
        assert self._server is not None
        serving = asyncio.ensure_future(self._server.ended())
        parts = [part for part in (serving, self._certificates) if part is not None]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
        for part in done:
            part.result()

    async def listening(self) -> None:
        """Check every second whether clients can connect. grpc's core closes what is too many without a word."""
        most, bound_by = self._bound
        text = f"a new connection was closed, as when {most} are open, which is as many as {bound_by} allows"
        connections = self._calls.connections

        def refused() -> None:
            if self._closing is None:  # then it closes all of them
                connections.on_refused(text)

        await knock(self._address, refused, lambda error: connections.no_files(self._address, error))

    async def aclose(self) -> None:
        """Drain and close."""
        if self._certificates is not None:
            self._certificates.cancel()
        self._watches.close()
        if self._server is not None:
            self._closing = self._closing or asyncio.create_task(self._drain(self._server))
            await asyncio.wait([self._closing])  # `ended` has told of an error

    async def _drain(self, server: GrpcServer) -> None:
        """Stop, once all callers wait for answers: what its core takes later than that it cancels."""
        self._farewell.hold()
        await self._quiet(server)
        stopping = asyncio.create_task(server.shutdown(self._limits.drain))
        await asyncio.sleep(PAUSE)
        self._farewell.release()
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
        age, grace = self._age
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", self._limits.max_streams),
            # It refuses streams to clients that keep to the limit: a stream counts on until all of it is torn down.
            ("grpc.http.overload_protection", 0),
            ("grpc.max_receive_message_length", self._calls.max_message_bytes),
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


class _Handlers:
    """Routes calls by path; messages stay bytes.

    Calls are taken for streams of messages, of which the first is read: for a unary call grpc would wait for its message
    without end, and count it among those in flight.
    """

    def __init__(
        self, calls: Calls, watches: Watches, client_san: tuple[str, ...], limits: Limits, farewell: DrainGate
    ) -> None:
        self._on_drop = calls.on_drop
        self._shed_answer = calls.shed_answer
        self._half_sent = IncompleteRequests(limits.max_concurrency // 4 or 1024, on_drop=calls.on_drop)
        self._gate = Gate(calls, limits.max_concurrency, lambda: self._half_sent.count)
        self._farewell = farewell
        self._client_names = SanAllowlist(client_san) if client_san else None
        self.methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            path: grpc.stream_unary_rpc_method_handler(self._unary(handler, sheds=path != CHECK))
            for path, handler in calls.unary.items()
        }
        self.methods[WATCH] = grpc.stream_stream_rpc_method_handler(self._watch(watches))

    def _unary(self, handler: Handler, *, sheds: bool) -> Any:
        async def unary(_: object, context: Context) -> bytes:
            failure, answer = None, b""
            try:
                client = context.peer()
                if sheds and not self._gate.is_open:
                    self._gate.check(client, cast("float | None", context.time_remaining()))
                with self._gate.hold(client):
                    message = await self._message(context)
                    self._in_time(context, Dropped.EXPIRED)
                    answer = await handler(message)
                if self._farewell.held is not None:
                    await asyncio.shield(self._farewell.held)
                self._in_time(context, Dropped.LATE)
            except BaseException as error:
                # What left here would be UNKNOWN, whose cause has a better name.
                if _was_cancelled(error):
                    self._on_drop(Dropped.CANCELLED)
                    raise
                if isinstance(error, Shed):
                    self._on_drop(error.why)
                    if self._shed_answer is not None:
                        return self._shed_answer
                failure = _failure(error)
            if failure is not None:
                await context.abort(*failure)
            return answer

        return unary

    def _watch(self, watches: Watches) -> Any:
        async def watch(_: object, context: Context) -> AsyncGenerator[bytes, None]:
            try:
                message = await self._message(context)
                async with aclosing(watches.stream(message)) as responses:
                    async for response in responses:
                        yield response
            except Exception as error:  # noqa: BLE001 - as above
                failure = _failure(error)
            else:
                return
            await context.abort(*failure)

        return watch

    async def _message(self, context: Context) -> bytes:
        """The first message of a call, which must be allowed to its client."""
        if self._client_names is not None:
            names = context.auth_context().get("x509_subject_alternative_name", ())
            if not self._client_names.allow(name.decode("latin-1") for name in names):
                raise Aborted(StatusCode.PERMISSION_DENIED, "the client's certificate holds no name that is allowed")
        message = await self._half_sent.wait(context.read())
        if not isinstance(message, bytes):
            raise Aborted(StatusCode.UNIMPLEMENTED, "the call carries no message")
        return message

    def _in_time(self, context: Context, why: Dropped) -> None:
        # None where the caller set no deadline, which the stubs do not know.
        remaining = cast("float | None", context.time_remaining())
        if remaining is not None and remaining <= 0:
            self._on_drop(why)
            raise Aborted(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")


def _was_cancelled(error: BaseException) -> bool:
    """Whether the call itself was, rather than something that it awaited."""
    task = asyncio.current_task()
    return task is not None and isinstance(error, asyncio.CancelledError) and task.cancelling() > 0


def _failure(error: BaseException) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, Aborted):
        return _CODES[error.code], error.text
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.UNAVAILABLE, "the call was cancelled"
    code, text = status_of(error)
    if code == StatusCode.INTERNAL:
        _LOG.error("a call failed, which is a bug", exc_info=error)
    return _CODES[code], text
