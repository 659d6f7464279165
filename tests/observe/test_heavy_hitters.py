from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from rls.observe.heavy_hitters import HeavyHitters

SLOTS = 8
streams = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 1_000)), max_size=400)


def summary(stream: list[tuple[int, int]], slots: int = SLOTS) -> HeavyHitters[int]:
    found = HeavyHitters[int](slots)
    for key, amount in stream:
        found.add(key, amount)
    return found


def true_counts(stream: list[tuple[int, int]]) -> Counter[int]:
    counts = Counter[int]()
    for key, amount in stream:
        counts[key] += amount
    return counts


def holds(found: HeavyHitters[int], true: Counter[int]) -> None:
    """The bounds of the docstring."""
    assert found.total == true.total()
    assert found.error <= 2 * found.total / SLOTS
    assert len(found.counts) <= SLOTS
    for key in range(41):
        kept = found.counts.get(key, 0)
        assert kept <= true[key] <= kept + found.error
    assert {key for key, count in true.items() if count > 2 * found.total / SLOTS} <= found.counts.keys()


@given(streams)
def test_no_count_is_too_high_nor_too_low_by_more_than_the_error(stream) -> None:
    holds(summary(stream), true_counts(stream))


@given(streams, streams, streams)
def test_the_bounds_hold_for_summaries_that_were_merged(first, second, third) -> None:
    found = summary(first)
    found.merge(summary(second))
    found.merge(summary(third))
    holds(found, true_counts([*first, *second, *third]))


@given(st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(1, 1_000))))
def test_few_keys_are_counted_exactly(stream) -> None:
    found = summary(stream)
    assert (found.counts, found.error) == (dict(true_counts(stream)), 0)


@given(streams)
def test_the_largest_counts_come_first(stream) -> None:
    found = summary(stream)
    counts = [count for _, count in found.top(5)]
    assert counts == sorted(found.counts.values(), reverse=True)[:5]


@given(streams, st.lists(st.integers(1, 1_000), max_size=20))
def test_what_was_left_out_is_part_of_the_total(stream, left_out) -> None:
    found = summary(stream)
    for amount in left_out:
        found.left_out += amount
    other = HeavyHitters[int](SLOTS)
    other.merge(found)
    assert found.total == other.total == true_counts(stream).total() + sum(left_out)


def test_the_top_ten_of_a_zipf_stream_of_a_million_values_are_right_within_the_error() -> None:
    random = Random(1)
    values = 1_000_000
    # The inverse of the cumulative distribution of 1/x: a Zipf stream without a table of a million weights.
    stream = [(int(values ** random.random()), 1) for _ in range(300_000)]
    found, true = summary(stream, slots=100), true_counts(stream)
    assert found.error < 2 * found.total / 100
    tenth = true.most_common(10)[-1][1]
    top = dict(found.top(10))
    for key, count in true.items():
        assert found.counts.get(key, 0) <= count <= found.counts.get(key, 0) + found.error
        if count > tenth + found.error:
            assert key in top
    assert min(true[key] for key in top) >= tenth - found.error
