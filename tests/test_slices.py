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

    task = asyncio.create_task(other())
    assert await run(counting(5, seen), eager=eager) == "done"
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


@pytest.mark.parametrize(
    ("busy", "waits"),
    [
        ([0.0], [0.003]),
        ([0.6, 0.6], [0.003, 0.003]),
        ([0.8], [0.003, 0.009]),
        ([1.0], [0.003, 0.024]),
        ([0.1, 1.0, 1.0], [0.003, 0.003, 0.003, 0.003 * (0.676 / 0.324 - 1)]),
    ],
)
async def test_it_takes_at_most_half_of_the_time_and_what_calls_leave(
    monkeypatch: pytest.MonkeyPatch, busy: list[float], waits: list[float]
) -> None:
    """*busy*: the share of the thread's time that calls take while it waits, for each slice; their mean counts."""
    now, cpu = 0.0, 0.0
    shares = iter(busy)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now, cpu
        waited.append(seconds)
        now += seconds
        cpu += seconds * next(shares, 0.0)

    monkeypatch.setattr("rls.slices.time.monotonic", lambda: now)
    monkeypatch.setattr("rls.slices.time.thread_time", lambda: cpu)
    monkeypatch.setattr("rls.slices.asyncio.sleep", sleep)
    work = Slices()
    now += slices.SLICE_SECONDS / 2
    await work.next()
    assert waited == []
    now -= slices.SLICE_SECONDS / 2
    for _ in busy:
        now += 0.003
        await work.next()
    assert waited == pytest.approx(waits)
    await work.next()
    assert len(waited) == len(waits)


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
