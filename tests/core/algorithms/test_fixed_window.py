from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.algorithms.fixed_window import seconds_until_reset, window_start
from rls.core.model import MAX_WINDOW_SECONDS, Unit

seconds = st.integers(0, 2**40)
lengths = st.integers(1, MAX_WINDOW_SECONDS)


@given(seconds, lengths)
def test_a_second_lies_in_its_window(now: int, length: int) -> None:
    """Windows tile the time from the epoch on: each second is in one, which starts at a multiple of its length."""
    start = window_start(now, length)
    assert start % length == 0
    assert start <= now < start + length


@given(seconds, lengths)
def test_reset_is_the_next_window(now: int, length: int) -> None:
    """After as many seconds as are told, and none sooner, the next window starts."""
    reset = seconds_until_reset(now, length)
    assert 1 <= reset <= length
    assert window_start(now + reset, length) == now + reset
    assert window_start(now + reset - 1, length) == window_start(now, length)


@pytest.mark.parametrize(
    ("unit", "start"),
    [
        (Unit.SECOND, datetime(2026, 7, 5, 12, 34, 56, tzinfo=UTC)),
        (Unit.MINUTE, datetime(2026, 7, 5, 12, 34, tzinfo=UTC)),
        (Unit.HOUR, datetime(2026, 7, 5, 12, tzinfo=UTC)),
        (Unit.DAY, datetime(2026, 7, 5, tzinfo=UTC)),
        (Unit.WEEK, datetime(2026, 7, 2, tzinfo=UTC)),  # a Thursday, as 1970-01-01 was
        (Unit.MONTH, datetime(2026, 6, 6, tzinfo=UTC)),  # 687 times 30 days
        (Unit.YEAR, datetime(2025, 12, 18, tzinfo=UTC)),  # the reference names this day
    ],
)
def test_units_begin_where_the_reference_begins_them(unit: Unit, start: datetime) -> None:
    """Each unit's windows begin in UTC, weeks on Thursdays, months and years every 30 and 365 days from the epoch."""
    now = int(datetime(2026, 7, 5, 12, 34, 56, tzinfo=UTC).timestamp())
    assert window_start(now, unit.seconds) == start.timestamp()
