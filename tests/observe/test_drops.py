import io
from collections.abc import Callable

from rls.observe.drops import QUIET_SECONDS, Drops
from rls.observe.logs import configure

REASONS = {"queued": ("check", "queued"), "late": ("check", "late"), "shed": ("check", "shed")}


class Alarm:
    """Time that passes by hand."""

    def __init__(self) -> None:
        self.now = 50.0
        self.asked: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds, call):
        self.asked.append((self.now + seconds, call))

    def run(self, seconds):
        end = self.now + seconds
        while self.asked and self.asked[0][0] <= end:
            self.now, call = self.asked.pop(0)
            call()
        self.now = end


def drops_with_log():
    alarm, output = Alarm(), io.StringIO()
    log = configure("info", "text", output)
    drops = Drops(log, REASONS, ("queued", "shed"), answer="deny", call_later=alarm.call_later, clock=lambda: alarm.now)
    return drops, alarm, lambda: [line.partition(" ")[2] for line in output.getvalue().splitlines()]


def test_shedding_is_logged_when_it_begins_and_when_it_has_ended():
    drops, alarm, lines = drops_with_log()
    for _ in range(30):
        drops.add("shed")
        drops.add("queued")
        drops.add("late")
        alarm.run(1)
    assert lines() == ["[warning] shedding_started answer=deny"]
    alarm.run(2 * QUIET_SECONDS)
    assert lines()[1:] == ["[info] shedding_ended calls=60 seconds=30.0"]
    assert drops.counts == {"queued": 30, "late": 30, "shed": 30}
    assert not alarm.asked
    drops.add("queued")
    assert lines()[2:] == ["[warning] shedding_started answer=deny"]
    alarm.run(2 * QUIET_SECONDS)
    assert lines()[3:] == ["[info] shedding_ended calls=1 seconds=0.0"]


def test_calls_that_are_shed_together_are_all_counted():
    drops, alarm, lines = drops_with_log()
    drops.add("shed", 5)
    drops.add("shed", 3)
    assert drops.counts["shed"] == 8
    alarm.run(2 * QUIET_SECONDS)
    assert lines()[1:] == ["[info] shedding_ended calls=8 seconds=10.0"]


def test_calls_that_are_late_are_not_shed():
    drops, alarm, lines = drops_with_log()
    drops.add("late")
    assert (lines(), alarm.asked) == ([], [])
