"""URL → store: one of ours, or one from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rls.stores import schemes
from rls.stores.base import CounterStore
from rls.stores.memory import MemoryStore
from rls.stores.redis import RedisClusterStore, RedisSentinelStore, RedisStore
from rls.stores.schemes import StoreOptions

_IN_REDIS: Mapping[str, type[RedisStore | RedisClusterStore]] = {
    **dict.fromkeys(schemes.REDIS, RedisStore),
    **dict.fromkeys(schemes.REDIS_CLUSTER, RedisClusterStore),
    **dict.fromkeys(schemes.REDIS_SENTINEL, RedisSentinelStore),
}


def open_store(url: str, options: StoreOptions | None = None, **of_redis: Any) -> CounterStore:
    """The store at *url*, such as `memory://`, `redis://HOST:PORT` or `redis+cluster://HOST:PORT,HOST:PORT`.

    Nothing is connected yet: the first call connects.

    Args:
        url: Its scheme says which store; see `schemes`. It may hold a password.
        options: For any store.
        of_redis: For those of ours in Redis; see `NodeOptions`.

    Raises:
        SettingsError: No store serves the scheme, or none can be at *url*.
    """
    options = options or StoreOptions()
    scheme = url.partition("://")[0]
    if scheme == schemes.MEMORY:
        return MemoryStore(capacity=options.memory_counters)
    kind = _IN_REDIS.get(scheme)
    if kind is None:
        return schemes.open_installed(url, options)
    return kind(
        url,
        timeout_seconds=options.timeout_seconds,
        key_prefix=options.key_prefix,
        on_batch=options.on_batch,
        **of_redis,
    )
