"""The share of what went wrong in the last minute, read every second by a clock that is set by hand."""

from __future__ import annotations

import pytest

from rls.observe.shares import Share


class Minutes:
    """A share of calls, and what it reported."""

    def __init__(self, *, at_least: int = 1) -> None:
        self.now = 0.0
        self.totals: tuple[float, float] | None = (0, 0)
        self.reported: list[str] = []
        self._share = Share(
            lambda: self.totals,
            self.reported.append,
            "more than {share}",
            steps=(0.001, 0.01, 0.1),
            at_least=at_least,
            clock=lambda: self.now,
        )
        self._share.poll()

    def run(self, seconds: int, *, wrong: float = 0, calls: float = 1_000) -> list[str]:
        """What is reported while so many calls a second go *wrong*, of so many *calls*."""
        before = len(self.reported)
        for _ in range(seconds):
            assert self.totals is not None
            self.now += 1
            self.totals = self.totals[0] + wrong, self.totals[1] + calls
            self._share.poll()
        return self.reported[before:]


def test_a_share_above_the_first_step_is_reported_until_a_minute_without() -> None:
    minutes = Minutes()
    assert minutes.run(30, wrong=2) == ["more than 0.1 %"]
    assert minutes.run(30) == []
    assert minutes.run(60) == [""]
    assert minutes.run(60) == []


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_share_at_the_first_step_is_not_reported(wrong: float) -> None:
    assert Minutes().run(300, wrong=wrong) == []


def test_a_share_that_grows_is_reported_again_and_one_that_shrinks_is_not() -> None:
    """So the log has a line for each step, and no more."""
    minutes = Minutes()
    assert minutes.run(60, wrong=2) == ["more than 0.1 %"]
    assert minutes.run(60, wrong=500) == ["more than 1 %", "more than 10 %"]
    assert minutes.run(120, wrong=20) == []
    assert minutes.run(120) == [""]
    assert minutes.run(60, wrong=2) == ["more than 0.1 %"]


def test_a_share_near_the_first_step_does_not_come_and_go() -> None:
    minutes = Minutes()
    assert minutes.run(60, wrong=1.2) == ["more than 0.1 %"]
    for _ in range(5):
        assert minutes.run(60, wrong=0.8) == []
        assert minutes.run(60, wrong=1.2) == []


def test_few_that_go_wrong_are_not_reported_where_that_is_asked_for() -> None:
    minutes = Minutes(at_least=10)
    assert minutes.run(9, wrong=1, calls=1) == []
    assert minutes.run(1, wrong=1, calls=1) == ["more than 10 %"]


def test_it_ends_when_there_are_no_calls_any_more() -> None:
    minutes = Minutes()
    minutes.run(10, wrong=1, calls=1)
    assert minutes.run(70, calls=0) == [""]


def test_totals_that_are_not_known_report_nothing() -> None:
    reported: list[str] = []
    Share(lambda: None, reported.append, "{share}", steps=(0.1,)).poll()
    assert reported == []
