"""Our own stores run the suite that stores from outside run."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from rls.stores.base import CounterStore
from rls.stores.memory import MemoryStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.redis import RedisClusterStore, RedisSentinelStore, RedisStore
from rls.testing.store_conformance import ListingConformance, RecordsConformance, StoreConformance
from tests.counters import PATIENT
from tests.stores.conftest import KINDS


def open_store(kind: str, request: pytest.FixtureRequest) -> CounterStore:
    if kind == "memory":
        return MemoryStore()
    patient: dict[str, Any] = {"timeout_seconds": PATIENT, "connect_timeout_seconds": PATIENT}
    if kind == "cluster":
        return RedisClusterStore(request.getfixturevalue("cluster").url, **patient)
    if kind == "sentinel":
        return RedisSentinelStore(request.getfixturevalue("sentinels").url, **patient)
    return RedisStore(request.getfixturevalue("servers")(kind).url, **patient)


class _Ours:
    """A store of each kind."""

    @pytest.fixture(params=["memory", *KINDS, "cluster", "sentinel"])
    async def counted(self, request: pytest.FixtureRequest) -> AsyncIterator[CounterStore]:
        """A store that counts."""
        store = open_store(request.param, request)
        yield store
        await store.aclose()


class TestStores(_Ours, StoreConformance):
    @pytest.fixture(params=["alone", "remembered"])
    def store(self, request: pytest.FixtureRequest, counted: CounterStore) -> CounterStore:
        """Alone, and behind the over-limit cache."""
        return OverLimitCache(counted) if request.param == "remembered" else counted


class TestAbilities(_Ours, ListingConformance, RecordsConformance):
    @pytest.fixture
    def store(self, counted: CounterStore) -> CounterStore:
        """As the admin API and overrides use it: without the cache."""
        return counted
