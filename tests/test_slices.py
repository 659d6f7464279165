from __future__ import annotations

import asyncio
import random

import pytest

from rls import slices
from rls.slices import STEP, Slices, chunks, finish, run, sort


def counting(number: int, seen: list[int]):
    for step in range(number):
        seen.append(step)
        yield
    return "done"


@pytest.mark.parametrize("eager", [False, True])
async def test_work_gives_way_between_slices(monkeypatch: pytest.MonkeyPatch, eager: bool) -> None:
    """Another task runs between any two of them: here each step takes as long as a slice."""
    now = [0.0]

    def clock() -> float:
        now[0] += slices.SLICE_SECONDS
        return now[0]

    monkeypatch.setattr("rls.slices.time.monotonic", clock)
    seen: list[int] = []
    others: list[int] = []

    async def other() -> None:
        while True:
            others.append(len(seen))
            await asyncio.sleep(0)

    slept: list[float] = []
    sleep = asyncio.sleep

    async def recorded(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("rls.slices.asyncio.sleep", recorded)
    task = asyncio.create_task(other())
    assert await run(counting(5, seen), eager=eager) == "done"
    assert any(slept) is not eager
    task.cancel()
    assert {1, 2, 3, 4, 5} <= set(others)


async def test_a_slice_holds_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rls.slices.time.monotonic", lambda: 0.0)
    seen: list[int] = []
    ran: list[None] = []
    asyncio.get_running_loop().call_soon(ran.append, None)
    assert await Slices().run(counting(100, seen)) == "done"
    assert len(seen) == 100
    assert not ran, "it never waited"


class Thread:
    """The clocks of a thread whose waits take half as long again as they were to, and in which calls take their shares of these."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shares: list[float], *, in_slices: bool = False) -> None:
        self.now = self.cpu = 0.0
        self.waited: list[float] = []
        self._shares = iter(shares)
        self._in_slices = in_slices
        monkeypatch.setattr("rls.slices.time.monotonic", lambda: self.now)
        monkeypatch.setattr("rls.slices.time.thread_time", lambda: self.cpu)
        monkeypatch.setattr("rls.slices.asyncio.sleep", self._sleep)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += seconds

    async def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        used = 1.5 * seconds * (next(self._shares) if seconds == pytest.approx(WORKED) else 0.0)
        self.now += 1.5 * seconds
        self.cpu += used
        if self._in_slices:
            Slices._worked += used


WORKED = 0.002


@pytest.mark.parametrize(
    ("busy", "waits"),
    [
        ([0.0], [WORKED]),
        ([0.65, 0.65], [WORKED, WORKED]),
        ([0.67], [WORKED, WORKED * 0.67 / 0.33 - 0.003]),
        ([0.8], [WORKED, 0.005]),
        ([1.0], [WORKED, 0.015]),
        ([0.1, 1.0, 1.0], [WORKED, WORKED, WORKED, WORKED * 0.676 / 0.324 - 0.003]),
        ([1.0, 0.3], [WORKED, 0.015, WORKED, WORKED * 0.72 / 0.28 - 0.003]),
    ],
)
async def test_it_waits_for_as_long_as_it_worked_and_longer_while_the_thread_is_busy(
    monkeypatch: pytest.MonkeyPatch, busy: list[float], waits: list[float]
) -> None:
    """*busy*: the share of the thread's time that calls take after each slice; their mean counts."""
    thread = Thread(monkeypatch, busy)
    work = Slices()
    thread.work(slices.SLICE_SECONDS / 2)
    await work.next()
    assert thread.waited == []
    thread.work(WORKED - slices.SLICE_SECONDS / 2)
    for number in range(len(busy)):
        thread.work(WORKED if number else 0.0)
        await work.next()
    assert thread.waited == pytest.approx(waits)
    await work.next()
    assert len(thread.waited) == len(waits)


async def test_other_work_in_slices_is_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = Thread(monkeypatch, [1.0], in_slices=True)
    work = Slices()
    thread.work(WORKED)
    await work.next()
    assert thread.waited == [WORKED]


async def test_what_a_slice_waited_for_is_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a slow reader of a page."""
    thread = Thread(monkeypatch, [])
    work = Slices()
    thread.now += 1.0
    work._busy = 1.5
    await work.next()
    assert thread.waited == [1.0, pytest.approx(0.002 * 0.9 / 0.1 - 1.5)]


async def test_to_wait_for_something_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the next piece from another process: after 5 s without any work there is nothing to make up for."""
    now, waited = [0.0], list[float]()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    async def answer() -> str:
        now[0] += 5.0
        return "answer"

    monkeypatch.setattr("rls.slices.time.monotonic", lambda: now[0])
    monkeypatch.setattr("rls.slices.asyncio.sleep", sleep)
    work = Slices()
    assert await work.wait(answer()) == "answer"
    await work.next()
    assert not waited
    now[0] += 0.002
    await work.next()
    assert waited == pytest.approx([0.002])


def test_finish_takes_all_steps_at_once() -> None:
    seen: list[int] = []
    assert finish(counting(3, seen)) == "done"
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("number", [0, 1, STEP, 5 * STEP + 1])
def test_sorting_in_steps(number: int) -> None:
    items = [random.randrange(100) for _ in range(number)]
    steps = sort([(item, place) for place, item in enumerate(items)], key=lambda pair: pair[0])
    assert finish(steps) == sorted(((item, place) for place, item in enumerate(items)), key=lambda pair: pair[0])
    assert sum(1 for _ in sort(items, key=int)) >= number / STEP


def test_chunks() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert not list(chunks([]))
