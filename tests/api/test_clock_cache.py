from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rls.api.clock_cache import ClockCache

CAPACITY = 20


class RecentMachine(RuleBasedStateMachine):
    """Against a plain dict that forgets nothing: what is there is right, and no more is there than may be."""

    def __init__(self) -> None:
        super().__init__()
        self.recent = ClockCache[str, object](CAPACITY)
        self.put_last: dict[str, tuple[object, int]] = {}

    @rule(key=st.sampled_from("abcdefgh"), size=st.integers(1, CAPACITY // 2))
    def put(self, key: str, size: int) -> None:
        value = object()
        self.put_last[key] = value, size
        self.recent.put(key, value, size)
        assert self.recent.get(key) is value

    @rule(key=st.sampled_from("abcdefgh"))
    def get(self, key: str) -> None:
        found = self.recent.get(key)
        assert found is None or found is self.put_last[key][0]

    @precondition(lambda self: self.put_last)
    @rule()
    def clear(self) -> None:
        self.recent.clear()
        assert len(self.recent) == 0
        assert all(self.recent.get(key) is None for key in self.put_last)

    @invariant()
    def is_bounded(self) -> None:
        sizes = [kept.size for kept in self.recent.kept.values()]
        assert self.recent._size == sum(sizes) <= CAPACITY
        assert len(self.recent) == len(sizes)


TestRecent = RecentMachine.TestCase


def test_what_is_used_stays() -> None:
    """However much else comes and goes, a key that is used in between is kept."""
    recent = ClockCache[str, int](100)
    recent.put("used", 1, 1)
    for n in range(1000):
        recent.put(f"other {n}", n, 10)
        assert recent.get("used") == 1
    assert recent.get("other 0") is None


def test_all_that_there_is_room_for_stays() -> None:
    """Asked for again and again in the same order, which is the worst for most that forgets."""
    recent = ClockCache[int, int](100)
    for _ in range(3):
        for n in range(100):
            if recent.get(n) is None:
                recent.put(n, n, 1)
    assert [recent.get(n) for n in range(100)] == list(range(100))


def test_no_more_than_some_get_a_second_chance() -> None:
    """What has to go goes at once, even where all was used."""
    recent = ClockCache[int, int](100)
    for n in range(100):
        recent.put(n, n, 1)
        recent.get(n)
    recent.put(100, 100, 1)
    assert [n for n in range(101) if recent.get(n) is None] == [16]


def test_what_is_too_large_is_not_kept() -> None:
    """It would drive everything else out."""
    recent = ClockCache[str, int](100)
    recent.put("small", 1, 10)
    recent.put("large", 2, 51)
    assert (recent.get("small"), recent.get("large")) == (1, None)
