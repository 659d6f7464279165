"""Against a plain model: what is kept stays, room is bounded and shared, and nothing is evicted without need."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rls.stores.counter_table import CounterTable

CAPACITY = 24
rules = st.sampled_from(["a", "b", "c"])
ends = st.integers(1, 4)
numbers = st.integers(0, 30)
SourceLocation = tuple[str, int, bytes]


def key_of(name: str, end: int, number: int) -> bytes:
    return f"{name}|{number}|{end}".encode()


class TableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = CounterTable[int](CAPACITY)
        self.kept: dict[SourceLocation, int] = {}
        self.put_so_far: dict[SourceLocation, int] = {}
        self.now = 0

    def held(self, name: str) -> int:
        holder = self.table.holders.get(name)
        return 0 if holder is None else holder.size

    @rule(name=rules, end=ends, number=numbers, value=st.integers(1, 9), keep=st.booleans())
    def put(self, name: str, end: int, number: int, value: int, keep: bool) -> None:
        if end <= self.now:
            return
        place = (name, end, key_of(name, end, number))
        known = self.table.find(place[2]) is not None
        share = CAPACITY // (len(self.table.holders) + 1)
        held = self.held(name)
        full = len(self.table) >= CAPACITY
        over_share = [holder for holder in self.table.holders.values() if holder.size > share]
        own = self.table.holders.get(name)
        if self.table.put(*place, value, keep=keep):
            self.put_so_far[place] = value
            self.kept.pop(place, None)
            if keep:
                self.kept[place] = value
        else:
            assert not known, "what is there can be changed"
            assert full or held >= share, "a rule under its share is turned away only where all room is taken"
            assert not any(holder.evictable for holder in over_share), "what is over its share goes first"
            assert own is None or not own.evictable, "then a rule's own older counters"

    @rule(name=rules, end=ends, number=numbers)
    def discard(self, name: str, end: int, number: int) -> None:
        key = key_of(name, end, number)
        self.table.discard(key)
        self.kept.pop((name, end, key), None)
        self.put_so_far.pop((name, end, key), None)

    @rule(seconds=st.integers(1, 2))
    def sweep(self, seconds: int) -> None:
        self.now += seconds
        self.table.sweep(self.now)
        self.kept = {place: value for place, value in self.kept.items() if place[1] > self.now}

    @invariant()
    def what_is_kept_is_there(self) -> None:
        for place, value in self.kept.items():
            assert self.table.find(place[2]) == value

    @invariant()
    def what_is_there_was_put(self) -> None:
        for name, holder in self.table.holders.items():
            for end, window in holder.windows.items():
                for key, value in (window.open | window.kept).items():
                    assert self.put_so_far[name, end, key] == value

    @invariant()
    def its_numbers_are_right(self) -> None:
        sizes = {
            name: [len(window.open) for window in holder.windows.values()]
            for name, holder in self.table.holders.items()
        }
        kept = {
            name: [len(window.kept) for window in holder.windows.values()]
            for name, holder in self.table.holders.items()
        }
        for name, holder in self.table.holders.items():
            assert holder.evictable == sum(sizes[name])
            assert holder.size == sum(sizes[name]) + sum(kept[name])
            assert not holder.size or name in self.table._by_size[holder.size.bit_length()]
        assert len(self.table) == len(self.table.windows)
        assert len(self.table) == sum(holder.size for holder in self.table.holders.values()) <= CAPACITY
        assert sorted(self.table.values()) == sorted(
            value
            for holder in self.table.holders.values()
            for window in holder.windows.values()
            for value in (*window.open.values(), *window.kept.values())
        )


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=150, stateful_step_count=40)


@given(st.integers(1, 300), st.booleans())
def test_a_flood_of_one_rule_never_takes_the_room_of_others(values: int, keep: bool) -> None:
    """Whether its counters may be evicted or not: an eighth of the room is left to rules under their share."""
    table = CounterTable[int](80)
    for n in range(values):
        table.put("flooded", 60, b"f%d" % n, 1, keep=keep)
    assert all(table.put("other", 60, b"%d" % n, 1, keep=True) for n in range(10))


def test_room_that_others_do_not_use_is_borrowed_and_taken_back() -> None:
    table = CounterTable[int](80)
    for n in range(70):
        table.put("borrower", 60, b"b%d" % n, 1, keep=False)
    assert len(table) == 70
    for n in range(40):
        assert table.put("other", 60, b"%d" % n, 1, keep=False)
    assert table.holders["other"].size == 40
    assert len(table) <= 80


def test_the_oldest_go_first_of_the_window_that_ends_first() -> None:
    table = CounterTable[int](8)
    for n in range(4):
        table.put("a", 120, b"late%d" % n, 1, keep=False)
    for n in range(3):
        table.put("a", 60, b"soon%d" % n, 1, keep=False)
    table.put("a", 60, b"new", 1, keep=False)
    assert table.find(b"soon0") is None
    assert table.evicted == 1
    assert [table.find(b"soon%d" % n) for n in (1, 2)] == [1, 1]
    assert [table.find(b"late%d" % n) for n in range(4)] == [1] * 4


def test_windows_that_have_ended_make_room_before_anything_is_evicted() -> None:
    table = CounterTable[int](100)
    for n in range(60):
        table.put("a", 60, b"%d" % n, 1, keep=True)
    table.sweep(60)
    for n in range(60):
        assert table.put("b", 120, b"b%d" % n, 1, keep=True)
    assert "a" not in table.holders
    assert table.evicted == 0


def test_more_rules_than_room() -> None:
    table = CounterTable[int](10)
    placed = [table.put(f"rule{n}", 60, b"%d" % n, 1, keep=True) for n in range(50)]
    assert placed == [True] * 10 + [False] * 40


def test_a_counter_stays_where_it_is_when_its_rule_has_another_name() -> None:
    """As after a reload that brings a rule for one value: its counter goes on."""
    table = CounterTable[int](10)
    table.put("company", 60, b"acme", 3, keep=False)
    assert table.find(b"acme") == 3
    table.put("company_acme", 60, b"acme", 4, keep=True)
    assert table.find(b"acme") == 4
    assert (list(table.holders), len(table)) == (["company"], 1)
