"""Which calls are let in, by the numbers alone: no transport, and a clock of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.transport.permits import WAIT, Permits, StreamPermits, room_for
from rls.transport.status import Aborted
from tests.clock import Clock

SECONDS = 0.02


def late_permits(rate, limit=0, seconds=0.1, **others):
    """Permits of a server where calls wait, and where so many a second were begun for so many seconds."""
    clock = Clock(100.0)
    permits = Permits(limit, SECONDS, clock=clock, **others)
    permits.note(0, late=True)
    run(permits, clock, rate, seconds)
    return permits, clock


def run(permits, clock, rate, seconds):
    for _ in range(round(seconds / 0.002)):
        clock.now += 0.002
        permits.note(round(rate * 0.002), late=True)


def slow_permits(**others):
    """As `late_permits`, where ten calls are begun in a second."""
    permits, clock = late_permits(0, **others)
    for _ in range(6):
        clock.now += 1
        permits.note(10, late=True)
    return permits


def let_in(permits, mine, others, connections, seconds=SECONDS):
    """How many calls of a connection that has *mine* are let in, one after the other, beside those of *others*."""
    count = 0
    while count < 100_000 and permits.room(mine + count, others + mine + count, connections, seconds):
        count += 1
    return count


@pytest.mark.parametrize("connections", [1, 2, 50])
def test_without_a_limit_all_are_let_in_while_the_cpu_keeps_up(connections):
    permits = Permits(0)
    assert permits.room(10**6, 10**7, connections, SECONDS)
    permits.note(3, late=False)
    assert permits.room(10**6, 10**7, connections, 0.0)


@pytest.mark.parametrize(("limit", "alone"), [(1, 1), (3, 3), (7, 7), (8, 7), (128, 112), (10_000, 8_750)])
def test_one_connection_leaves_an_eighth_to_others(limit, alone):
    permits = Permits(limit)
    assert let_in(permits, 0, 0, 1) == alone
    assert let_in(permits, 0, alone, 2) == max(1, min(limit - alone, -(-limit // 3)))
    assert not permits.room(1, limit, 2, SECONDS)


def test_the_first_call_of_a_connection_is_let_in_over_the_limit():
    permits = Permits(8)
    assert permits.room(0, 8, 8, SECONDS)
    assert permits.room(0, 1_000, 1_000, SECONDS)
    assert not permits.room(1, 9, 9, SECONDS)


def test_the_last_eighth_is_for_those_that_have_less_than_an_equal_share():
    assert room_for(80, 75, 3, 19)
    assert not room_for(80, 75, 4, 19)
    assert not room_for(80, 80, 0, 19)
    assert room_for(80, 69, 69, 1)
    assert not room_for(80, 70, 70, 1)


@given(
    rate=st.sampled_from([0, 300, 20_000]),
    limit=st.integers(0, 300),
    mine=st.integers(0, 40),
    others=st.integers(0, 300),
    connections=st.integers(1, 20),
    seconds=st.floats(-0.01, 0.1),
)
def test_so_many_are_let_in_as_there_is_room_for(rate, limit, mine, others, connections, seconds):
    permits, _ = late_permits(rate, limit)
    assert permits.room(mine, others + mine, connections, seconds) == let_in(
        permits, mine, others, connections, seconds
    )


@given(st.integers(1, 300), st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=600))
def test_over_the_limit_there_are_no_more_than_first_calls(limit, steps):
    """Whatever connections come and go."""
    permits = Permits(limit)
    held: dict[int, int] = {}
    for connection, comes in steps:
        mine, total = held.get(connection, 0), sum(held.values())
        active = sum(1 for count in held.values() if count) or 1
        if comes:
            if permits.room(mine, total, active, SECONDS):
                held[connection] = mine + 1
        elif mine:
            held[connection] = mine - 1
        assert sum(held.values()) <= limit + sum(1 for count in held.values() if count)
        if sum(held.values()) < permits.free:
            assert permits.room(0, sum(held.values()), active, SECONDS)


@pytest.mark.parametrize("rate", [2_000, 20_000, 80_000])
def test_while_calls_wait_as_many_are_let_in_as_are_begun_in_time(rate):
    """Little's law."""
    permits, _ = late_permits(rate)
    assert let_in(permits, 1, 0, 1) == pytest.approx(rate * SECONDS * WAIT, abs=2)
    assert let_in(permits, 1, 0, 1, seconds=5 * SECONDS) == pytest.approx(5 * rate * SECONDS * WAIT, abs=2)


def test_call_with_time_is_let_in_whatever_waits():
    """As twenty calls of 100 descriptors, each of which takes a millisecond, with a deadline of 30 s."""
    permits, _ = late_permits(1_000)
    assert let_in(permits, 0, 0, 1, seconds=30) >= 5_000
    assert not permits.room(20, 20, 1, SECONDS)


def test_calls_of_a_connection_with_many_keep_no_other_out():
    permits, _ = late_permits(20_000)
    assert not permits.room(1_000, 1_000, 1, SECONDS)
    # They take turns: of the other's calls, each waits for one of its own and one of those.
    assert let_in(permits, 0, 1_000, 2) == pytest.approx(20_000 * SECONDS * WAIT / 2, abs=2)


def test_the_only_call_of_a_connection_is_let_in():
    permits, _ = late_permits(20_000)
    assert permits.room(0, 1_000, 1_000, SECONDS)
    assert not permits.room(1, 1_000, 1_000, SECONDS)


def test_some_may_always_wait():
    permits = slow_permits()
    assert permits.room(5, 7, 1, SECONDS)
    assert not permits.room(8, 8, 1, SECONDS)


def test_a_pause_of_the_process_lets_no_fewer_in():
    permits, clock = late_permits(20_000)
    clock.now += 0.5
    permits.note(10, late=True)
    assert permits.rate == pytest.approx(20_000, rel=0.1)


def test_calls_that_cost_more_let_fewer_in_soon():
    permits, clock = late_permits(20_000)
    run(permits, clock, 2_000, 0.06)
    assert permits.rate == pytest.approx(2_000, rel=0.1)


def test_time_in_which_none_is_begun_is_no_measure():
    """The loop does something else."""
    permits, clock = late_permits(20_000)
    run(permits, clock, 0, 1.0)
    run(permits, clock, 20_000, 0.01)
    assert permits.rate == pytest.approx(20_000, rel=0.1)


def test_time_in_which_no_call_waits_is_no_measure():
    permits, clock = late_permits(20_000)
    permits.note(1, late=False)
    assert permits.room(10**6, 10**6, 1, SECONDS)
    clock.now += 60
    permits.note(1, late=True)
    assert permits.rate == pytest.approx(20_000, rel=0.1)


def test_while_a_cpu_is_busy_with_shedding_as_many_are_let_in_as_it_has_time_for_besides():
    permits, clock = late_permits(20_000)
    run(permits, clock, 8_000, 0.1)
    assert let_in(permits, 1, 0, 1) == pytest.approx(8_000 * SECONDS * WAIT, abs=2)
    permits.note(0, late=False)
    assert not permits.late


def test_limit_is_told_at_first_and_when_it_changes():
    told: list[int] = []
    permits, clock = late_permits(20_000, limit=1_000, on_limit=told.append)
    run(permits, clock, 20_000, 0.1)
    permits.note(0, late=False)
    permits.note(0, late=False)
    assert told == [1_000, 200, 80, 1_000]


def test_limit_of_none_is_told_as_0():
    told: list[int] = []
    permits = slow_permits(on_limit=told.append)
    permits.note(0, late=False)
    assert told == [0, 200, 8, 0]


def test_a_stream_that_is_one_too_many_is_told_what_there_are():
    """And for whom the rest is."""
    permits = StreamPermits(18)
    for _ in range(16):
        permits.acquire("a")
    with pytest.raises(Aborted) as refused:
        permits.acquire("a")
    assert refused.value.text == (
        "16 of at most 18 calls of this method are in progress, 16 of them on this connection; "
        "the other 2 are for other connections"
    )
    for _ in range(2):
        permits.acquire("b")
    with pytest.raises(Aborted) as refused:
        permits.acquire("c")
    assert refused.value.text == "18 of at most 18 calls of this method are in progress, 0 of them on this connection"
