"""URL → store: each scheme of ours opens one, with the options that it is given."""

from __future__ import annotations

import pytest

from rls.errors import SettingsError
from rls.stores import schemes
from rls.stores.memory import MemoryStore
from rls.stores.opening import open_store
from rls.stores.redis import RedisClusterStore, RedisSentinelStore, RedisStore
from rls.stores.schemes import StoreOptions

URLS = {
    "memory://": MemoryStore,
    "redis://host:6379": RedisStore,
    "rediss://host:6379": RedisStore,
    "unix:///run/redis.sock": RedisStore,
    "redis+cluster://one:6379,two:6379": RedisClusterStore,
    "rediss+cluster://one:6379": RedisClusterStore,
    "redis+sentinel://one:26379/main": RedisSentinelStore,
    "rediss+sentinel://one:26379/main": RedisSentinelStore,
}


@pytest.mark.parametrize(("url", "kind"), URLS.items(), ids=URLS)
async def test_each_scheme_opens_its_store(url, kind):
    store = open_store(url)
    assert type(store) is kind
    await store.aclose()


def test_no_scheme_is_left_out():
    assert {url.partition("://")[0] for url in URLS} == set(schemes.OWN)


def test_a_scheme_that_nobody_serves():
    with pytest.raises(SettingsError, match=r"^no installed store serves etcd://$"):
        open_store("etcd://host")


async def test_memory_is_as_large_as_it_is_to_be():
    store = open_store("memory://", StoreOptions(memory_counters=1))
    assert isinstance(store, MemoryStore)
    assert store._table.capacity == 1
