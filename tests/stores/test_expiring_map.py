from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rls.stores.expiring_map import Windows

CAPACITY = 4
ends = st.integers(1, 6)
keys = st.sampled_from([b"a", b"b", b"c"])


class WindowsMachine(RuleBasedStateMachine):
    """Against a list of what was put, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.windows = Windows(CAPACITY)
        self.kept: dict[tuple[int, bytes], int] = {}
        self.now = 0

    @rule(end=ends, key=keys, count=st.integers(0, 9))
    def put(self, end: int, key: bytes, count: int) -> None:
        if (end, key) not in self.kept and len(self.kept) == CAPACITY:
            soonest = min(end for end, _ in self.kept)
            del self.kept[next(place for place in self.kept if place[0] == soonest)]
        self.kept[end, key] = count
        self.windows.put(end, key, count)

    @rule(end=ends, key=keys)
    def discard(self, end: int, key: bytes) -> None:
        self.kept.pop((end, key), None)
        self.windows.discard(end, key)

    @rule(seconds=st.integers(1, 3))
    def sweep(self, seconds: int) -> None:
        self.now += seconds
        self.kept = {place: count for place, count in self.kept.items() if place[0] > self.now}
        self.windows.sweep(self.now)
        self.windows.sweep(self.now)

    @invariant()
    def holds_what_was_put_last(self) -> None:
        """Where there is no room, the oldest of the window that ends next has gone."""
        held = {(end, key): count for end, group in self.windows.groups.items() for key, count in group.items()}
        assert held == self.kept
        assert len(self.windows) == len(held) <= CAPACITY


TestWindows = WindowsMachine.TestCase


def test_windows_that_are_over_leave_nothing() -> None:
    """Not even empty groups pile up, one for each second."""
    windows = Windows(10)
    for now in range(1000):
        windows.put(now + 1, b"key", 1)
        windows.sweep(now)
    assert len(windows.groups) == 1


def test_room_is_made_for_several_at_a_time_where_many_are_held() -> None:
    """Finding the first entry of a dict takes as long as there were entries deleted before it."""
    windows = Windows(2560)
    for n in range(2561):
        windows.put(100, b"%d" % n, 1)
    assert len(windows) == 2551
    assert next(iter(windows.groups[100])) == b"10"
