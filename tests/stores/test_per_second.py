"""Two backends, and who counts what."""

import pytest

from examples.mesh.processes import free_port
from rls.errors import BackendError
from rls.stores.memory import MemoryStore
from rls.stores.per_second import PerSecondStore
from rls.stores.redis import RedisStore
from tests.counters import hit


async def test_windows_of_a_second_are_counted_apart() -> None:
    """In one call, in any order, and whichever kinds there are."""
    others, seconds = MemoryStore(), MemoryStore()
    backend = PerSecondStore(others, seconds)
    short, longer, long = hit(1, window=1), hit(2, window=60), hit(3, window=3600)
    assert list(await backend.update([longer, short, long, short])) == [2, 1, 3, 2]
    assert list(await backend.update([short])) == [3]
    assert list(await backend.update([long, longer])) == [6, 4]
    assert list(await backend.update([])) == []
    assert (len(seconds), len(others)) == (1, 2)
    await backend.ping()
    await backend.aclose()


@pytest.mark.parametrize("gone", ["seconds", "others"])
async def test_where_one_is_out_the_other_counts(gone: str) -> None:
    lost = RedisStore(f"redis://127.0.0.1:{free_port()}", timeout_seconds=1.0)
    backend = PerSecondStore(MemoryStore(), lost) if gone == "seconds" else PerSecondStore(lost, MemoryStore())
    with pytest.raises(BackendError, match=r"^Redis at ") as caught:
        await backend.update([hit(1, window=1), hit(2), hit(3, window=1)])
    assert list(caught.value.counts) == ([None, 2, None] if gone == "seconds" else [1, None, 3])
    with pytest.raises(BackendError, match=r"^Redis at ") as caught:
        await backend.ping()
    assert caught.value.counts
    await backend.aclose()


async def test_where_both_are_out_there_is_nothing() -> None:
    lost = [RedisStore(f"redis://127.0.0.1:{free_port()}", timeout_seconds=1.0) for _ in range(2)]
    backend = PerSecondStore(*lost)
    with pytest.raises(BackendError) as caught:
        await backend.update([hit(1, window=1), hit(2)])
    assert list(caught.value.counts) == []
    with pytest.raises(BackendError, match=r"^Redis at .*; Redis at ") as caught:
        await backend.ping()
    assert not caught.value.counts
    await backend.aclose()
