from collections.abc import Sequence
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.update import CounterUpdate
from rls.stores.redis.batch import Batch


def hit(amount: int = 1, key: bytes = b"k") -> CounterUpdate:
    return CounterUpdate(key, amount, 10, 1060, 60)


def packed(batch: Batch, *known: bytes) -> list[list[bytes]]:
    """The commands of *batch* as Redis reads them, where the counters *known* have their TTL."""
    reader = hiredis.Reader()
    reader.feed(batch.pack({1060: known}, lambda hit: 61))
    commands = []
    while (command := reader.gets()) is not False:
        commands.append(command)
    assert len(commands) == batch.expected
    return commands


def counts(batch: Batch, tickets: Sequence[tuple[int, int]]) -> list[int]:
    return [batch.offsets[command] + added for command, added in tickets]


def test_a_counter_gets_its_ttl_before_its_first_hit() -> None:
    """In one write, so that it is never without one; and only once."""
    batch = Batch()
    batch.add(hit(2))
    assert packed(batch) == [[b"SET", b"k", b"0", b"EX", b"61", b"NX"], [b"INCRBY", b"k", b"2"]]
    assert packed_again(hit(2)) == [[b"INCRBY", b"k", b"2"]]


def packed_again(*hits: CounterUpdate) -> list[list[bytes]]:
    batch = Batch()
    for one in hits:
        batch.add(one)
    return packed(batch, *(one.key for one in hits))


def test_equal_counters_are_one_command() -> None:
    batch = Batch()
    tickets = [batch.add(hit(amount, key)) for amount, key in ((1, b"a"), (1, b"b"), (2, b"a"), (0, b"a"), (1, b"a"))]
    assert packed(batch, b"a", b"b") == [[b"INCRBY", b"a", b"4"], [b"INCRBY", b"b", b"1"]]
    batch.parse_replies([14, 7])
    assert counts(batch, tickets) == [11, 7, 13, 13, 14]


def test_only_looking_is_a_get() -> None:
    """Of a counter that is not there it makes none."""
    batch = Batch()
    tickets = [batch.add(hit(0, b"a")), batch.add(hit(0, b"a")), batch.add(hit(0, b"b"))]
    assert packed(batch) == [[b"GET", b"a"], [b"GET", b"b"]]
    batch.parse_replies([b"5", None])
    assert counts(batch, tickets) == [5, 5, 0]
    assert not batch.ttl_set
    assert not batch.missing_ttl


def test_giving_back_is_not_merged() -> None:
    """It stops at 0, so what comes after it is counted after it."""
    batch = Batch()
    tickets = [batch.add(hit(amount)) for amount in (3, -5, -1, 2, 1)]
    commands = packed(batch, b"k")
    assert [command[0] for command in commands] == [b"INCRBY", b"EVAL", b"EVAL", b"INCRBY"]
    assert [command[2:] for command in commands[1:3]] == [[b"1", b"k", b"5"], [b"1", b"k", b"1"]]
    batch.parse_replies([3, 0, 0, 3])
    assert counts(batch, tickets) == [3, 0, 0, 2, 3]


def test_what_was_given_a_ttl_is_told() -> None:
    batch = Batch()
    batch.add(hit(1, b"new"))
    batch.add(hit(1, b"known"))
    packed(batch, b"known")
    batch.parse_replies([b"OK", 1, 2])
    assert batch.ttl_set == [hit(1, b"new")]
    assert not batch.missing_ttl


def test_a_counter_that_starts_over_is_told() -> None:
    """Redis lost it, and with it the TTL that this process had given it."""
    batch = Batch()
    for key in (b"lost", b"lost", b"there", b"new"):
        batch.add(hit(1, key))
    packed(batch, b"lost", b"there")
    batch.parse_replies([2, 5, b"OK", 1])
    assert batch.missing_ttl == [hit(1, b"lost")]
    after = Batch()
    after.add_expire(batch.missing_ttl[0])
    assert packed(after) == [[b"EXPIRE", b"lost", b"61"]]


@pytest.mark.parametrize(
    ("replies", "failed"),
    [
        ([hiredis.ReplyError("OOM"), hiredis.ReplyError("OOM"), 7], {0: "OOM"}),
        ([b"OK", hiredis.ReplyError("WRONGTYPE"), 7], {0: "WRONGTYPE"}),
        ([b"OK", 1, hiredis.ReplyError("READONLY")], {1: "READONLY"}),
        ([b"OK", 1, b"text"], {1: "invalid literal for int() with base 10: b'text'"}),
    ],
)
def test_an_error_is_that_of_its_command(replies: list[Any], failed: dict[int, str]) -> None:
    """The other counters of the batch have their counts, and a counter without a TTL is not taken for one that has it."""
    batch = Batch()
    new, looked_at = batch.add(hit(1, b"new")), batch.add(hit(0, b"looked at"))
    packed(batch)
    batch.parse_replies(replies)
    assert {command: str(error) for command, error in batch.errors.items()} == failed
    assert bool(batch.ttl_set) == (0 not in failed)
    if 0 not in failed:
        assert counts(batch, [new]) == [1]
    if 1 not in failed:
        assert counts(batch, [looked_at]) == [7]


def test_a_counter_that_was_counted_although_its_ttl_was_refused_is_told() -> None:
    """As when memory is short for a moment: it counts, and it needs a TTL."""
    batch = Batch()
    place = batch.add(hit(3))
    packed(batch)
    batch.parse_replies([hiredis.ReplyError("OOM"), 3])
    assert counts(batch, [place]) == [3]
    assert not batch.errors
    assert batch.missing_ttl == [hit(3)]
    assert not batch.ttl_set


def test_what_was_refused_is_sent_again_as_it_was() -> None:
    """To another node, behind ASKING where that one does not own the slot yet; it is not merged with what is there."""
    batch = Batch()
    tickets = [batch.add(hit(amount)) for amount in (1, 2, -1, 0)]
    batch.add_expire(hit(1, b"e"))
    packed(batch, b"k")
    other = Batch()
    other.add(hit(5))
    moved = [other.resend(batch, command, asking=command != 3) for command in range(4)]
    assert [command[0] for command in packed(other)] == [
        *(b"SET", b"INCRBY"),
        *(b"ASKING", b"SET", b"ASKING", b"INCRBY"),
        *(b"ASKING", b"EVAL"),
        *(b"ASKING", b"GET"),
        b"EXPIRE",
    ]
    other.parse_replies([b"OK", 6, b"OK", None, b"OK", 12, b"OK", 11, b"OK", b"11", 1])
    assert [other.offsets[moved[command]] + added for command, added in tickets] == [10, 12, 11, 11]


class Redis:
    """What the commands do, one by one."""

    def __init__(self, counters: dict[bytes, int]) -> None:
        self.counters = counters

    def run(self, command: list[bytes]) -> Any:
        name, key = command[0], command[3 if command[0] == b"EVAL" else 1]
        if name == b"SET":
            return b"OK" if self.counters.setdefault(key, 0) == 0 else None
        if name == b"GET":
            return b"%d" % self.counters[key] if key in self.counters else None
        change = int(command[2]) if name == b"INCRBY" else -int(command[4])
        if name == b"INCRBY" or key in self.counters:
            self.counters[key] = max(0, self.counters.get(key, 0) + change)
        return self.counters.get(key, 0)


keys = st.sampled_from([b"a", b"b", b"c"])


@given(
    st.lists(st.builds(hit, st.integers(-5, 8), keys), min_size=1),
    st.dictionaries(keys, st.integers(0, 9)),
    st.sets(keys),
)
def test_counts_are_as_if_hits_came_one_by_one(
    hits: list[CounterUpdate], before: dict[bytes, int], known: set[bytes]
) -> None:
    """With at most one command for each counter, its TTL aside, unless hits are given back."""
    naive, expected = dict(before), []
    for one in hits:
        naive[one.key] = max(0, naive.get(one.key, 0) + one.amount)
        expected.append(naive[one.key])
    batch = Batch()
    tickets = [batch.add(one) for one in hits]
    commands = packed(batch, *known)
    redis = Redis(dict(before))
    batch.parse_replies([redis.run(command) for command in commands])
    assert counts(batch, tickets) == expected
    if all(one.amount >= 0 for one in hits):
        counting = [command[1] for command in commands if command[0] != b"SET"]
        assert len(counting) == len(set(counting))
