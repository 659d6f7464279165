"""How connections to a node are opened.

redis-py parses the URL and creates the TLS context. The rest is done here: redis-py tries only one address of a name, and
gives up if Redis refuses the command that names the connection.
"""

from __future__ import annotations

import asyncio
import copy
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ssl import SSLCertVerificationError, SSLContext
from typing import Any
from urllib.parse import parse_qsl

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import SSLConnection
from redis.exceptions import RedisError

from rls.addresses import join_address, split_url
from rls.errors import BackendError, TimedOut
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.error_texts import WITH_TLS, WITHOUT_TLS, cause, with_advice
from rls.stores.redis.first_success import first_success
from rls.stores.redis.handshake import greet
from rls.stores.redis.happy_eyeballs import Address, Preference, connected_socket, resolve, stagger_seconds
from rls.stores.redis.password import PasswordFile
from rls.stores.redis.url import address_of, check, unusable, without_password_file


class RedisEndpoint:
    """Where a node is, and how connections to it are opened.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it, and with the option `password_file`.
        standalone: Whether to reject a node of a cluster that has several primaries: it serves some of the counters only.

    Attributes:
        address: For messages: without user and password.
        host: Its host; empty for a Unix socket.
        password_file: The file with its password, if there is one.

    Raises:
        SettingsError: *url* is wrong, whatever is at its address.
    """

    def __init__(self, url: str, *, standalone: bool = False) -> None:
        check(url)
        self.address = address_of(url)
        plain, password_file = without_password_file(url)
        try:
            pool = ConnectionPool.from_url(plain, protocol=2, maint_notifications_config=None)
            # redis-py's connection is never opened: it holds the parsed URL.
            self._read: Callable[[], Any] = partial(pool.connection_class, **pool.connection_kwargs)
            parsed: Any = self._read()
            self._parsed = parsed
            self._tls_context()
        except (ValueError, TypeError, RedisError, OSError) as error:  # also ssl.SSLError
            raise unusable(url, str(error)) from error
        self.host = str(getattr(parsed, "host", ""))
        self.password_file = None if password_file is None else PasswordFile(password_file, parsed.username)
        self._port = int(getattr(parsed, "port", 0))
        self._name = dict(parse_qsl(split_url(url).query, keep_blank_values=True)).get("client_name", "rls")
        self._preference = Preference()
        self._has_worked = False
        self._standalone = standalone

    def at(self, host: str, port: int) -> RedisEndpoint:
        """The endpoint of another node, with the same options."""
        other = copy.copy(self)
        scheme = self.address.partition("://")[0]
        other.address = f"{scheme}://{join_address(host, port)}"
        other.host = host
        other._port, other._preference = port, Preference()  # noqa: SLF001 - its own class
        return other

    async def connect(self, timeout_seconds: float, on_disconnect: Callable[[BackendError], None]) -> NodeConnection:
        """Open a connection that can be used; see `Endpoint.connect`.

        All addresses of the host are raced. The first one that has replied to `greet` wins: one that only takes connections,
        and hangs, does not.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        addresses: Sequence[Address | None] = [None]
        async with _in_time(deadline, timeout_seconds, self.address):
            tls = self._tls_context()
            if self.host:
                addresses = self._preference.order(await resolve(self.host, self._port))

        async def attempt(address: Address | None) -> NodeConnection:
            where = self.address if len(addresses) == 1 else f"{self.address} ({address})"
            stage = _Stage()
            async with _in_time(deadline, timeout_seconds, where, stage):
                return await self._open(address, where, tls, stage)

        connection = await first_success(
            map(attempt, addresses),
            stagger_seconds=stagger_seconds(len(addresses), timeout_seconds),
            discard=NodeConnection.close,
        )
        connection.hand_over(on_disconnect)
        return connection

    async def query(self, command: bytes, timeout_seconds: float) -> Any:
        """The reply to one packed *command*, over a connection of its own.

        Raises:
            BackendError: No reply came, or the reply is an error.
        """
        connection = await self.connect(timeout_seconds, lambda _: None)
        try:
            async with asyncio.timeout(timeout_seconds):
                (reply,) = await connection.query(command, 1)
        except TimeoutError:
            raise TimedOut(f"Redis at {self.address}: no answer within {timeout_seconds:g} s") from None
        finally:
            connection.close()
        if isinstance(reply, Exception):
            raise BackendError(cause(self.address, reply)) from reply
        return reply

    async def _open(self, address: Address | None, where: str, tls: SSLContext | None, stage: _Stage) -> NodeConnection:
        """A connection to *address*, or to the Unix socket if that is None; it has been greeted."""
        connection = NodeConnection(where)
        try:
            if address is None:
                loop = asyncio.get_running_loop()
                await loop.create_unix_connection(lambda: connection, self._parsed.path)
            else:
                await self._attach(connection, address, tls, stage)
                connection.on_abandon = partial(self._preference.abandon, address)
            await greet(
                connection, where, self._credentials(), self._parsed.db, self._name, standalone=self._standalone
            )
        except BaseException as error:
            connection.close()
            is_silent = address is not None and tls is None and not connection.has_answered and not self._has_worked
            if is_silent and isinstance(error, BackendError):
                raise BackendError(with_advice(str(error), WITH_TLS)) from error
            raise
        self._has_worked = True
        return connection

    async def _attach(
        self, connection: NodeConnection, address: Address, tls: SSLContext | None, stage: _Stage
    ) -> None:
        found = await connected_socket(address)
        try:
            if self._parsed.socket_keepalive:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in self._parsed.socket_keepalive_options.items():
                    found.setsockopt(socket.IPPROTO_TCP, option, value)
            server_hostname = None if tls is None else self.host
            stage.handshake = tls is not None and not self._has_worked
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: connection, sock=found, ssl=tls, server_hostname=server_hostname)
            stage.handshake = False
        except BaseException:
            found.close()
            raise

    def _credentials(self) -> Sequence[str]:
        """User and password, a password alone, or nothing."""
        if self.password_file is not None:
            return self.password_file.get_credentials()
        username, password = self._parsed.username, self._parsed.password
        if username:
            return (username, password or "")
        return (password,) if password else ()

    def _tls_context(self) -> SSLContext | None:
        """A new one for each connection, since certificates rotate."""
        read = self._read()
        return read.ssl_context.get() if isinstance(read, SSLConnection) else None


class _Stage:
    """How far an attempt has come: whether it is in the middle of a TLS handshake."""

    handshake = False


@asynccontextmanager
async def _in_time(deadline: float, seconds: float, where: str, stage: _Stage | None = None) -> AsyncIterator[None]:
    """Cancel the block at *deadline*, which is *seconds* after it began; all its errors become a BackendError."""
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError:
        if stage is not None and stage.handshake:
            text = f"Redis at {where}: it takes connections, but does not answer TLS within {seconds:g} s"
            raise BackendError(with_advice(text, WITHOUT_TLS)) from None
        raise TimedOut(f"Redis at {where}: no connection within {seconds:g} s") from None
    except (OSError, ValueError) as error:  # ValueError: of a host name, or of a file with a password
        handshake = stage is not None and stage.handshake and not isinstance(error, SSLCertVerificationError)
        raise BackendError(with_advice(cause(where, _error_text(error)), WITHOUT_TLS if handshake else "")) from error


def _error_text(error: Exception) -> str:
    """The error of the system, if asyncio's text has only the address."""
    if isinstance(error, OSError) and error.errno and "Connect call failed" in str(error):
        return os.strerror(error.errno)
    return str(error)
