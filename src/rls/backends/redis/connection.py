"""One connection to one Redis node: bytes out, replies in.

redis-py resolves, connects, authenticates and wraps in TLS; what it has then, an asyncio transport, is taken over, since
its own command path costs several times the work of a whole batch.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.exceptions import RedisError

from rls.backends.redis.password import PasswordFile
from rls.backends.redis.url import check, redacted, unusable, without_password_file
from rls.errors import BackendError


class NodeConnection(asyncio.Protocol):
    """A connection that is open. One write is under way at a time.

    Args:
        connection: The connection as redis-py opened it.
        address: Where it leads, for messages.
        on_lost: Called once, with the reason, when the connection is gone.
    """

    def __init__(self, connection: AbstractConnection, address: str, on_lost: Callable[[BackendError], None]) -> None:
        # Kept, since redis-py closes what nobody holds any more. Its transport has no public name; a test watches it.
        self._connection = connection
        self._transport: asyncio.WriteTransport = connection._writer.transport  # type: ignore[union-attr]  # noqa: SLF001
        self._transport.set_protocol(self)
        self._address = address
        self._on_lost: Callable[[BackendError], None] | None = on_lost
        self._reader = hiredis.Reader()
        self._replies: list[Any] = []
        self._expected = 0
        self._on_replies: Callable[[list[Any]], None] | None = None

    def send(self, commands: bytes, expected: int, on_replies: Callable[[list[Any]], None]) -> None:
        """Write *commands*; *on_replies* is called with their *expected* ≥ 1 replies once all of them are there."""
        self._expected = expected
        self._on_replies = on_replies
        self._transport.write(commands)

    def lose(self, reason: str) -> None:
        """Give the connection up."""
        on_lost, self._on_lost = self._on_lost, None
        self._on_replies = None
        self._transport.abort()
        self._release()
        if on_lost is not None:
            on_lost(BackendError(f"Redis at {self._address}: {reason}"))

    def close(self) -> None:
        """Close the connection; nothing is called any more."""
        self._on_lost = self._on_replies = None
        self._transport.close()
        self._release()

    def _release(self) -> None:
        """Let redis-py know that the connection is closed: it warns of one that is dropped open."""
        self._connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001 - its public way waits

    def data_received(self, data: bytes) -> None:
        """Collect replies; see `asyncio.Protocol`."""
        reader = self._reader
        replies = self._replies
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError as error:
            self.lose(f"sent what is not RESP: {error}")
            return
        if len(replies) >= self._expected and self._on_replies is not None:
            on_replies, self._on_replies = self._on_replies, None
            self._replies = []
            on_replies(replies)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.lose(f"connection lost: {error}" if error else "connection closed by the server")


class RedisEndpoint:
    """Where a node is, and how redis-py opens connections to it.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it, and with the option `password_file`.

    Raises:
        SettingsError: No connection to *url* can be had, whatever there is.
    """

    def __init__(self, url: str) -> None:
        check(url)
        self.address = redacted(url)
        plain, password_file = without_password_file(url)
        try:
            pool = ConnectionPool.from_url(plain, protocol=2, client_name="rls", maint_notifications_config=None)
            self._open: type[AbstractConnection] = pool.connection_class
            self._options: dict[str, Any] = dict(pool.connection_kwargs)
            if password_file is not None:
                file = PasswordFile(password_file, self._options.pop("username", None))
                self._options["credential_provider"] = file
            connection = self._unopened(1)
            if isinstance(connection, SSLConnection):
                connection.ssl_context.get()
        except (ValueError, TypeError, RedisError, OSError) as error:  # also ssl.SSLError
            raise unusable(url, str(error)) from error

    def at(self, host: str, port: int) -> RedisEndpoint:
        """The endpoint of another node, which is opened in the same way."""
        other = copy.copy(self)
        scheme = self.address.partition("://")[0]
        other.address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        other._options = {**self._options, "host": host, "port": port}  # noqa: SLF001 - its own class
        return other

    @property
    def host(self) -> str:
        """Where it is said to be."""
        return str(self._options.get("host", ""))

    @property
    def password_file(self) -> PasswordFile | None:
        """The file with its password, where there is one."""
        file = self._options.get("credential_provider")
        return file if isinstance(file, PasswordFile) else None

    async def connect(self, timeout_seconds: float, on_lost: Callable[[BackendError], None]) -> NodeConnection:
        """Open a connection, which can be used; see `Endpoint.connect`."""
        connection = self._unopened(timeout_seconds)
        try:
            async with asyncio.timeout(timeout_seconds):
                await connection.connect()  # type: ignore[no-untyped-call]
        except TimeoutError:
            raise BackendError(f"Redis at {self.address}: no connection within {timeout_seconds:g} s") from None
        except (RedisError, OSError, ValueError) as error:  # the last two also of a file with a password
            connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001 - redis-py does it for its own errors
            raise BackendError(f"Redis at {self.address}: {error}") from error
        return NodeConnection(connection, self.address, on_lost)

    async def ask(self, command: bytes, timeout_seconds: float) -> Any:
        """The reply to one packed *command*, over a connection of its own.

        Raises:
            BackendError: There is none, or it is an error.
        """
        replies: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def lost(error: BackendError) -> None:
            if not replies.done():
                replies.set_exception(error)

        def landed(found: list[Any]) -> None:
            if not replies.done():
                replies.set_result(found)

        connection = await self.connect(timeout_seconds, lost)
        try:
            connection.send(command, 1, landed)
            async with asyncio.timeout(timeout_seconds):
                (reply,) = await replies
        except TimeoutError:
            raise BackendError(f"Redis at {self.address}: no answer within {timeout_seconds:g} s") from None
        finally:
            connection.close()
        if isinstance(reply, Exception):
            raise BackendError(f"Redis at {self.address}: {reply}") from reply
        return reply

    def _unopened(self, timeout_seconds: float) -> AbstractConnection:
        timeouts = {"socket_connect_timeout": timeout_seconds, "socket_timeout": timeout_seconds}
        return self._open(**{**self._options, **timeouts})
