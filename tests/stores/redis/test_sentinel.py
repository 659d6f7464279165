"""The primary that sentinels name, and what becomes of calls when they name another."""

from collections.abc import Iterator

import pytest

from rls.errors import BackendError
from rls.stores.redis import RedisSentinelStore
from tests.counters import hit, until_works
from tests.redis_sentinel import Sentinels, running_sentinels
from tests.redis_server import newest_binary

SECRET = "c0rrect-h0rse"


@pytest.fixture
def own_sentinels(tmp_path) -> Iterator[Sentinels]:
    """A primary and sentinels that a test may maltreat; primary and replica ask for a password."""
    options = ["--requirepass", SECRET, "--masterauth", SECRET]
    with running_sentinels(Sentinels(tmp_path, newest_binary(), options, password=SECRET)) as started:
        yield started


async def test_a_failover_is_followed(own_sentinels: Sentinels) -> None:
    """Also where the old primary hangs, and so never says that it is one no more."""
    url = own_sentinels.url.replace("://", f"://:{SECRET}@")
    backend = RedisSentinelStore(url, timeout_seconds=1.0)
    one = hit()
    for n in range(1, 4):
        assert list(await backend.update([one])) == [n]
    first = own_sentinels.primary()
    with own_sentinels.client(first) as client:
        assert client.wait(1, 5000) == 1
    first.suspend()
    with pytest.raises(BackendError, match=r"no answer within 1000 ms$"):
        await backend.update([one])
    await until_works(lambda: backend.update([one]))
    assert own_sentinels.primary() is not first
    await backend.aclose()


async def test_sentinels_that_do_not_know_the_primary_are_told(sentinels: Sentinels) -> None:
    backend = RedisSentinelStore(sentinels.url + "s", timeout_seconds=1.0)
    with pytest.raises(BackendError, match=r"knows no primary called counterss$"):
        await backend.ping()
    await backend.aclose()


async def test_one_sentinel_is_enough(sentinels: Sentinels) -> None:
    backend = RedisSentinelStore(sentinels.url.replace("://", "://127.0.0.1:1,"), timeout_seconds=1.0)
    assert list(await backend.update([hit()])) == [1]
    await backend.aclose()
