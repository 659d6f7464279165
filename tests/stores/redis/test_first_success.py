"""Who is asked when, who wins, and what becomes of the others."""

import asyncio
import gc

import pytest

from rls.errors import BackendError
from rls.stores.redis.first_success import first_success
from tests.counters import PATIENT


class Runner:
    """Answers with its name when it is told to, or fails."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = False
        self.error: Exception | None = None

    async def run(self) -> str:
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        return self.name

    def fail(self, error: Exception) -> None:
        self.error = error
        self.go.set()


async def test_the_next_is_asked_after_a_pause_and_the_quickest_wins() -> None:
    slow, quick, spare = (Runner(name) for name in ("slow", "quick", "spare"))
    race = asyncio.create_task(first_success([one.run() for one in (slow, quick, spare)], stagger_seconds=0.05))
    quick.go.set()
    assert await race == "quick"
    await asyncio.sleep(0)
    assert slow.cancelled
    assert not spare.asked.is_set()


async def test_one_that_fails_ends_the_pause() -> None:
    broken, good = Runner("broken"), Runner("good")
    race = asyncio.create_task(first_success([broken.run(), good.run()], stagger_seconds=PATIENT))
    await broken.asked.wait()
    assert not good.asked.is_set()
    broken.fail(BackendError("broken"))
    good.go.set()
    assert await race == "good"


async def test_without_a_pause_all_are_asked_at_once() -> None:
    runners = [Runner(str(n)) for n in range(3)]
    race = asyncio.create_task(first_success([one.run() for one in runners]))
    await asyncio.gather(*(one.asked.wait() for one in runners))
    runners[2].go.set()
    assert await race == "2"


async def test_where_all_fail_each_reason_is_told_once() -> None:
    runners = [Runner(str(n)) for n in range(3)]
    for one, text in zip(runners, ("refused", "silent", "refused"), strict=True):
        one.fail(BackendError(text))
    with pytest.raises(BackendError, match=r"^refused; silent$"):
        await first_success([one.run() for one in runners], stagger_seconds=0.01)
    with pytest.raises(BackendError, match=r"^there is no address to try$"):
        await first_success([])


async def test_answers_that_come_too_late_are_given_away() -> None:
    """Also one that comes in the very moment in which another one wins."""
    runners, late = [Runner(str(n)) for n in range(3)], list[str]()
    race = asyncio.create_task(first_success([one.run() for one in runners], discard=late.append))
    await asyncio.gather(*(one.asked.wait() for one in runners))
    for one in runners:
        one.go.set()
    won = await race
    await asyncio.sleep(0)
    assert sorted([won, *late]) == ["0", "1", "2"]


async def test_a_race_that_is_given_up_leaves_nothing_behind() -> None:
    runners = [Runner(str(n)) for n in range(3)]
    race = asyncio.create_task(first_success([one.run() for one in runners], stagger_seconds=PATIENT))
    await runners[0].asked.wait()
    race.cancel()
    await asyncio.wait([race])
    await asyncio.sleep(0)
    assert runners[0].cancelled
    gc.collect()  # Python warns of coroutines that nobody ran
