from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Iterator

import pytest

from rls.sources.disk import Disk
from rls.sources.watchdog import NoAnswerError, Watchdog

DEADLINE = 20.0


class GatedDisk(Disk):
    """Lists nothing, once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = threading.Event()

    def names(self, path: str) -> list[str]:
        self.asked.set()
        self.gate.wait(DEADLINE)
        return []


@pytest.fixture
def disk() -> Iterator[GatedDisk]:
    disk = GatedDisk()
    yield disk
    disk.gate.set()


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), FileNotFoundError(errno.ENOENT, "gone")])
async def test_what_a_job_raises_is_raised(error):
    def fail(_: Disk) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await Watchdog().run(fail)
    assert raised.value is error


async def test_a_path_is_not_asked_again_until_it_has_answered(disk):
    """Each job gets an error for it, at once, that says since when."""
    watchdog = Watchdog(disk, seconds=0.2)
    with pytest.raises(NoAnswerError, match="no answer since 20") as first:
        await watchdog.run(lambda disk: disk.names("/slow"))
    with pytest.raises(NoAnswerError) as second:
        await watchdog.run(lambda disk: disk.names("/slow"))
    assert str(second.value) == str(first.value)
    disk.gate.set()
    async with asyncio.timeout(DEADLINE):
        while not watchdog.answered:  # noqa: ASYNC110  # what is waited for is another thread's
            await asyncio.sleep(0.01)
    assert await watchdog.run(lambda disk: disk.names("/slow")) == []


async def test_a_job_that_nobody_waits_for_any_more_ends_at_its_next_operation(disk):
    """It must not go on and compile what it read."""
    ended = threading.Event()
    went_on = threading.Event()

    def job(disk: Disk) -> None:
        try:
            disk.names("/slow")
            went_on.set()
        finally:
            ended.set()

    task = asyncio.create_task(Watchdog(disk).run(job))
    assert await asyncio.to_thread(disk.asked.wait, DEADLINE)
    task.cancel()
    await asyncio.wait([task])
    disk.gate.set()
    assert await asyncio.to_thread(ended.wait, DEADLINE)
    assert not went_on.is_set()


def test_the_end_of_the_loop_does_not_wait_for_a_thread_that_hangs(disk):
    """Nor does the thread fail when it answers at last, and the loop is closed."""

    async def give_up() -> None:
        task = asyncio.create_task(Watchdog(disk).run(lambda disk: disk.names("/slow")))
        await asyncio.sleep(0.1)
        task.cancel()

    asyncio.run(give_up())
    assert not disk.gate.is_set()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "rules"]
    assert thread.daemon, "the end of the process would wait for it"
    disk.gate.set()
    thread.join(DEADLINE)
    assert not thread.is_alive()
