"""The default transport: HTTP/2 in Rust, by h2corn."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple, TypeAlias

import h2corn
from h2corn._lib import _PreparedTls as PreparedTls
from h2corn._lib import prepare_tls
from h2corn._server import load_tls_material

from rls.errors import SettingsError
from rls.transport.admission import Admission
from rls.transport.asgi_grpc import GrpcApp
from rls.transport.base import Calls, Limits, Tls
from rls.transport.certificates import fingerprint
from rls.transport.farewell import PAUSE, Farewell
from rls.transport.health import Watches
from rls.transport.listen import accepts, address_of, close_listener, connections_possible, keep_listening, listen

App: TypeAlias = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]

_LOG = logging.getLogger(__name__)
_LOOK_AT_FILES = 1.0
_START_AGAIN = 0.1


class Server:
    """One h2corn server, on a listening socket that stays its caller's."""

    def __init__(self, app: App, config: h2corn.Config, listener: socket.socket) -> None:
        self._app = app
        self._config = config
        self._listener = listener
        self._server = h2corn.Server(app, config)
        self._serving: asyncio.Task[None] | None = None
        self._closing = False

    async def start(self) -> None:
        """Serve.

        Raises:
            SettingsError: The certificates cannot be used.
        """
        try:
            tls = prepare_tls(self._config, load_tls_material(self._config))
        except (ValueError, OSError) as error:
            raise SettingsError(f"cannot serve TLS: {error}") from error
        self._serving = asyncio.create_task(self._serve(tls), name="h2corn")
        await self._server.wait_started()

    @property
    def serving(self) -> asyncio.Task[None]:
        """Ends when it serves no more; only from `start` to `aclose`."""
        assert self._serving is not None
        return self._serving

    async def aclose(self) -> None:
        """Stop accepting, let calls in flight finish, close. Idempotent."""
        self._closing = True
        self._server.shutdown()
        if self._serving is not None:
            await asyncio.wait([self._serving])  # `serving` has told of its error
            self._serving = None

    async def _serve(self, tls: PreparedTls) -> None:
        """Serve, and again whenever h2corn gives up, as it does where a connection cannot be accepted."""
        while True:
            try:
                # Not h2corn's serve(): that prints a banner into our log, at each reload again.
                await self._server._serve_worker_fds([os.dup(self._listener.fileno())], prepared_tls=tls)  # noqa: SLF001
            except RuntimeError as error:
                _LOG.warning("some calls did not finish in time: %s", error)
            except OSError as error:
                if not accepts(self._listener):
                    raise
                _LOG.error("the server failed, and starts again: %s", error)
            if self._closing:
                return
            await asyncio.sleep(_START_AGAIN)
            self._server = h2corn.Server(self._app, self._config)


class Serving(NamedTuple):
    """A server, and what its app has that its end must be told to."""

    server: Server
    watches: Watches
    farewell: Farewell
    admission: Admission

    async def drain(self) -> None:
        """Stop accepting, let calls in flight finish, close."""
        self.watches.close()
        self.admission.close()
        # A connection without a call is closed at once: what its caller has just sent there is lost.
        self.farewell.hold()
        await asyncio.sleep(PAUSE)
        closing = asyncio.create_task(self.server.aclose())
        await asyncio.sleep(PAUSE)
        self.farewell.release()
        await closing


class H2corn:
    """The transport (see `Transport`) of *calls* on *address*."""

    def __init__(self, calls: Calls, address: str, *, limits: Limits | None = None, tls: Tls | None = None) -> None:
        self._calls = calls
        self._address = address
        self._limits = limits or Limits()
        self._tls = tls
        self._listener: socket.socket | None = None
        self._serving: Serving | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._address

    async def start(self) -> None:
        """Listen and serve."""
        if self._tls is not None and self._address.startswith("unix:"):
            raise SettingsError(f"cannot serve TLS on {self._address}: only on TCP")
        files = None if self._tls is None else fingerprint(self._tls)
        self._listener = listen(self._address)
        self._address = address_of(self._listener)
        try:
            self._serving = await self._serve(self._listener)
        except BaseException:
            close_listener(self._listener)
            raise
        if self._tls is not None:
            self._reloading = asyncio.create_task(self._reload(self._tls, files, self._listener), name="certificates")

    async def ended(self) -> None:
        """Return when it serves no more, or looks at its certificates no more."""
        while (serving := self._serving) is not None:
            parts = [part for part in (serving.server.serving, self._reloading) if part is not None]
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            if self._serving is serving or self._reloading in done:
                for part in done:
                    part.result()
                return
            # The certificates have changed, and another one serves.

    async def listening(self) -> None:
        """Check every second whether clients can connect."""
        assert self._listener is not None
        await keep_listening(self._listener)

    async def aclose(self) -> None:
        """Drain and close."""
        self._closing.set()
        if self._reloading is not None:
            await asyncio.wait([self._reloading])
        if self._serving is not None:
            serving, self._serving = self._serving, None
            await serving.drain()
        if self._listener is not None:
            close_listener(self._listener)

    async def _serve(self, listener: socket.socket) -> Serving:
        watches = Watches(self._calls.health, self._limits.max_watches)
        client_san = self._tls.client_san if self._tls is not None else ()
        half_sent = self._limits.max_concurrency // 4 or 1024
        farewell = Farewell()
        admission = Admission(self._limits.max_concurrency, self._calls.on_limit)
        app = GrpcApp(
            self._calls,
            watches,
            client_san=client_san,
            max_half_sent=half_sent,
            farewell=farewell,
            admission=admission,
        )
        server = Server(app, _config(self._address, self._calls, self._limits, self._tls), listener)
        await server.start()
        return Serving(server, watches, farewell, admission)

    async def _reload(self, tls: Tls, seen: object, listener: socket.socket) -> None:
        """Put certificates in force that differ from those *seen*: a second server on the same socket takes over from the first.

        What connects meanwhile waits in the socket's queue for either. Connections of the first are told to go away;
        their calls in flight finish. Not to be cancelled, only told: h2corn takes a cancellation for a stop, and goes on.
        """
        while not await _happens(self._closing, _LOOK_AT_FILES):
            now = fingerprint(tls)
            if now == seen:
                continue
            seen = now
            try:
                serving = await self._serve(listener)
            except (SettingsError, OSError) as error:
                _LOG.error("the changed certificates are not in force: %s", error)
                continue
            assert self._serving is not None
            before, self._serving = self._serving, serving
            _LOG.info("changed certificates are in force")
            await before.drain()


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    """Wait for *event*, but no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _config(address: str, calls: Calls, limits: Limits, tls: Tls | None) -> h2corn.Config:
    # A message larger than its bound is refused by its prefix, in Python: so the window, which a body cannot pass
    # before Python has seen its beginning, lies above the bound, and the limit on bodies above both.
    window = max(65_535, 5 + calls.max_message_bytes)
    return h2corn.Config(
        bind=(address,),
        grpc=True,
        http1=False,
        access_log=False,
        date_header=False,
        lifespan="off",
        runtime_threads=1,
        max_concurrent_streams=limits.max_streams,
        # Where the files run out, h2corn gives up: it must not come to that.
        limit_connections=min(limits.max_connections or sys.maxsize, connections_possible()),
        limit_concurrency=limits.max_concurrency,
        h2_max_header_list_size=65_536,
        h2_max_header_block_size=65_536,
        h2_initial_stream_window_size=window,
        h2_initial_connection_window_size=4 * window,
        request_policies=(
            # Bodies of native gRPC calls have no limits otherwise.
            h2corn.RequestPolicy(
                path="/*",
                max_request_body_size=2 * window,
                # Ours is in HalfSent: h2corn would set its alarm for every call, which wakes its own thread each time.
                timeout_request_body_idle=0,
                h2_timeout_response_stall=1.0,
            ),
        ),
        h2_timeout_write=10.0,
        timeout_keep_alive=300.0,
        timeout_graceful_shutdown=limits.drain,
        certfile=None if tls is None else tls.cert,
        keyfile=None if tls is None else tls.key,
        ca_certs=None if tls is None else tls.client_ca,
        cert_reqs="none" if tls is None or tls.client_ca is None else "required",
    )
