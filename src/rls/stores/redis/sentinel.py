"""Counters in the Redis node that Redis Sentinel says is the primary."""

from __future__ import annotations

from collections.abc import Callable

from rls.errors import BackendError
from rls.stores.redis.connecting import RedisEndpoint
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.endpoint import Endpoint
from rls.stores.redis.first_success import first
from rls.stores.redis.password import PasswordFile
from rls.stores.redis.single import RedisStore
from rls.stores.redis.url import redacted, sentinel_urls


class SentinelEndpoint:
    """Where the sentinels say the primary is, asked for each connection: a failover is followed by connecting again.

    Args:
        url: `redis+sentinel://host:port,host:port/NAME`, with the name that the sentinels know the primary by. User,
            password and other options are those of the primary; `sentinel_username` and `sentinel_password` the others.

    Raises:
        SettingsError: No connection to *url* can be had, whatever there is.
    """

    def __init__(self, url: str) -> None:
        self.address = redacted(url)
        urls = sentinel_urls(url)
        self._sentinels = [RedisEndpoint(one) for one in urls.sentinels]
        self._primary = RedisEndpoint(urls.primary)
        self._name = urls.name
        name = urls.name.encode()
        self._question = b"*3\r\n$8\r\nSENTINEL\r\n$23\r\nGET-MASTER-ADDR-BY-NAME\r\n$%d\r\n%b\r\n" % (len(name), name)

    @property
    def host(self) -> str:
        """Whatever the sentinels say next."""
        return ""

    @property
    def password_file(self) -> PasswordFile | None:
        """That of the primary."""
        return self._primary.password_file

    async def connect(self, timeout_seconds: float, on_lost: Callable[[BackendError], None]) -> NodeConnection:
        """Open a connection to the primary; see `Endpoint.connect`."""
        primary = await first(self._ask(sentinel, timeout_seconds) for sentinel in self._sentinels)
        return await primary.connect(timeout_seconds, on_lost)

    async def _ask(self, sentinel: RedisEndpoint, timeout_seconds: float) -> RedisEndpoint:
        reply = await sentinel.ask(self._question, timeout_seconds)
        if not reply:
            raise BackendError(f"Redis Sentinel at {sentinel.address} knows no primary called {self._name}")
        host, port = reply
        return self._primary.at(host.decode(), int(port))


class RedisSentinelStore(RedisStore):
    """As `RedisStore`, where Redis Sentinel says who the primary is; see `SentinelEndpoint` for its URL."""

    def _endpoint(self, url: str) -> Endpoint:
        return SentinelEndpoint(url)
