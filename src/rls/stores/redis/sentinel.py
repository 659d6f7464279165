"""Counters in the primary that Redis Sentinel names."""

from __future__ import annotations

from collections.abc import Callable

from rls.errors import BackendError
from rls.stores.redis.connecting import RedisEndpoint
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.endpoint import Endpoint
from rls.stores.redis.first_success import first_success
from rls.stores.redis.password import PasswordFile
from rls.stores.redis.single import RedisStore
from rls.stores.redis.url import address_of, sentinel_urls


class SentinelEndpoint:
    """The primary, at the address that the sentinels name. They are queried for each connection, so it follows a failover.

    Args:
        url: `redis+sentinel://host:port,host:port/NAME`, with the sentinels' name of the primary. User, password and other
            options are those of the primary; `sentinel_username` and `sentinel_password` are those of the sentinels.

    Raises:
        SettingsError: *url* is wrong, whatever is at its address.
    """

    def __init__(self, url: str) -> None:
        self.address = address_of(url)
        urls = sentinel_urls(url)
        self._sentinels = [RedisEndpoint(one) for one in urls.sentinels]
        self._primary = RedisEndpoint(urls.primary)
        self._name = urls.name
        name = urls.name.encode()
        self._query_primary = b"*3\r\n$8\r\nSENTINEL\r\n$23\r\nGET-MASTER-ADDR-BY-NAME\r\n$%d\r\n%b\r\n" % (
            len(name),
            name,
        )

    @property
    def host(self) -> str:
        """Unknown: the sentinels name it for each connection."""
        return ""

    @property
    def password_file(self) -> PasswordFile | None:
        """That of the primary."""
        return self._primary.password_file

    async def connect(self, timeout_seconds: float, on_disconnect: Callable[[BackendError], None]) -> NodeConnection:
        """Open a connection to the primary; see `Endpoint.connect`."""
        primary = await first_success(self._find(sentinel, timeout_seconds) for sentinel in self._sentinels)
        return await primary.connect(timeout_seconds, on_disconnect)

    async def _find(self, sentinel: RedisEndpoint, timeout_seconds: float) -> RedisEndpoint:
        reply = await sentinel.query(self._query_primary, timeout_seconds)
        if not reply:
            raise BackendError(f"Redis Sentinel at {sentinel.address} knows no primary called {self._name}")
        host, port = reply
        return self._primary.at(host.decode(), int(port))


class RedisSentinelStore(RedisStore):
    """As `RedisStore`, in the primary that Redis Sentinel names; see `SentinelEndpoint` for its URL."""

    def _endpoint(self, url: str) -> Endpoint:
        return SentinelEndpoint(url)
