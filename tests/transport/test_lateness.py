import asyncio
import itertools

import pytest

from rls.transport.lateness import Lateness
from tests.transport.conftest import until


@pytest.mark.parametrize(("late_by", "late"), [(0.0, False), (0.001, False), (0.004, True)])
async def test_loop_that_runs_a_timer_too_late_is_late(late_by, late):
    """By a clock of ours: asked once when a look is asked for, and once when it comes, 5 ms later."""
    looks: list[bool] = []

    def looked(was_late):
        looks.append(was_late)
        return len(looks) < 3

    clock = itertools.count(0.0, 0.005 + late_by).__next__
    lateness = Lateness(looked, clock=clock)
    lateness.watch()
    lateness.watch()
    await until(lambda: len(looks) >= 3)
    assert looks[:3] == [False, late, late]
    assert lateness.late is late


async def test_it_looks_no_more_when_there_is_nothing_to_look_at():
    looks: list[bool] = []

    def looked(was_late):
        looks.append(was_late)
        return False

    lateness = Lateness(looked, clock=itertools.count(0.0, 0.005).__next__)
    for count in (1, 2):
        lateness.watch()
        await until(lambda: not lateness.watching)
        await asyncio.sleep(0.02)
        assert len(looks) == count
