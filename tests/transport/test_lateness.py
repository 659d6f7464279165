import asyncio
import itertools

import pytest

from rls.transport.lateness import Lateness, Strain
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


class Times:
    """Seconds that pass, and those for which this thread runs."""

    def __init__(self):
        self.now = self.cpu = 0.0
        self.shed = 0
        self.strain = Strain(clock=lambda: self.now, cpu_clock=lambda: self.cpu)

    def after(self, seconds, *, busy, shed):
        self.now += seconds
        self.cpu += busy * seconds
        self.shed += shed
        return self.strain.look(self.shed)


@pytest.mark.parametrize(
    ("busy", "shed", "strained"),
    [(0.9, 5, True), (0.9, 0, False), (0.5, 5, False), (0.1, 500, False)],
    ids=["busy", "nothing is shed", "half busy", "a slow store"],
)
def test_calls_are_shed_for_lack_of_cpu_only_while_the_thread_is_busy(busy, shed, strained):
    assert Times().after(0.011, busy=busy, shed=shed) is strained


def test_strain_is_known_when_a_window_is_over():
    times = Times()
    assert not times.after(0.005, busy=1, shed=1)
    assert times.after(0.006, busy=1, shed=0)
    assert times.after(0.005, busy=0, shed=0)  # until the next window is over
    assert not times.after(0.006, busy=0, shed=1)


def test_strain_after_a_long_calm_is_known_a_window_later():
    times = Times()
    assert not times.after(100, busy=0.1, shed=0)
    assert not times.after(0.011, busy=1, shed=1)
    assert times.after(0.011, busy=1, shed=1)
