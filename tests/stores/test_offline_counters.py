"""Counts of an outage, and what the backend gets of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rls.core.update import CounterUpdate
from rls.stores.offline_counters import OfflineCounters

NOW, END = 1_000, 1_060

amounts = st.lists(st.integers(-9, 9), max_size=12)


def hit(amount: int = 1, key: bytes = b"key", end: int = END) -> CounterUpdate:
    return CounterUpdate(key, amount, 5, end, 60)


def applied(count: int, hits: list[int]) -> int:
    """What a backend makes of *hits*, one by one."""
    for amount in hits:
        count = max(0, count + amount)
    return count


def taken(counters: OfflineCounters, now: int = NOW) -> list[CounterUpdate]:
    """All that the backend has not got; now it has."""
    found = []
    for hits in counters.drain(now, 10):
        found += hits
        counters.acknowledge(hits)
    return found


@given(amounts)
def test_it_counts_as_a_backend_does(hits):
    counters = OfflineCounters(100)
    assert [counters.update(hit(amount), NOW) for amount in hits] == [
        applied(0, hits[: n + 1]) for n in range(len(hits))
    ]


@given(st.integers(0, 30), amounts)
def test_the_backend_comes_to_what_it_would_have_come_to(before, hits):
    """Whatever it stood at, in at most two hits."""
    counters = OfflineCounters(100)
    for amount in hits:
        counters.update(hit(amount), NOW)
    sent = [one.amount for one in taken(counters)]
    assert len(sent) <= 2
    assert applied(before, sent) == applied(before, hits)
    assert taken(counters) == []


@given(st.integers(0, 30), amounts, amounts, st.integers(0, 2))
def test_what_did_not_arrive_is_kept(before, first, then, arrived):
    """Also where hits were counted while it was under way; what arrived is not sent again."""
    counters = OfflineCounters(100)
    for amount in first:
        counters.update(hit(amount), NOW)
    batches = list(counters.drain(NOW, 10))
    for amount in then:
        counters.update(hit(amount), NOW)
    count = before
    for hits in batches:
        count = applied(count, [one.amount for one in hits[:arrived]])
        counters.acknowledge(hits, hits[arrived:])
    assert applied(count, [one.amount for one in taken(counters)]) == applied(before, [*first, *then])


def test_what_arrived_counts_here_no_more():
    counters = OfflineCounters(100)
    counters.update(hit(3), NOW)
    assert taken(counters) == [hit(3)]
    assert len(counters) == 0
    assert counters.update(hit(1), NOW) == 1


def test_what_the_backend_may_have_got_is_not_sent():
    counters = OfflineCounters(100)
    assert counters.update(hit(3), NOW, in_doubt=True) == 3
    assert counters.update(hit(1), NOW) == 4
    assert taken(counters) == [hit(1)]


def test_windows_that_have_ended_are_forgotten():
    counters = OfflineCounters(100)
    counters.update(hit(1), NOW)
    counters.update(hit(2, b"late", end=END + 60), NOW)
    assert list(counters.drain(END, 10)) == [[hit(2, b"late", end=END + 60)]]
    assert len(counters) == 1


def test_it_is_bounded_and_hands_out_some_at_a_time():
    """One rule leaves an eighth of the room to others."""
    counters = OfflineCounters(25)
    for n in range(30):
        counters.update(hit(1, b"%d" % n), NOW)
    assert len(counters) == 22
    batches = list(counters.drain(NOW, 10))
    assert [len(hits) for hits in batches] == [10, 10, 2]


def test_looking_leaves_nothing_behind():
    counters = OfflineCounters(100)
    assert counters.update(hit(0), NOW) == 0
    assert len(counters) == 0


def test_all_of_it_can_be_forgotten():
    counters = OfflineCounters(100)
    counters.update(hit(1), NOW)
    counters.clear()
    assert len(counters) == 0
    assert taken(counters) == []


def test_what_made_room_for_others_is_counted_over_all_outages():
    counters = OfflineCounters(8)
    for outage in range(2):
        for number in range(20):
            counters.update(hit(key=b"%d" % number), NOW)
        counters.clear()
        assert counters.evicted >= 12 * (outage + 1)
