"""Names that are offered in place of one that there is not."""

from __future__ import annotations

import pytest

from rls.alike import closest, either, suggestion


@pytest.mark.parametrize(
    ("words", "text"), [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")], ids=str
)
def test_words_are_a_choice(words: list[str], text: str) -> None:
    assert either(words) == text


def test_the_closest_come_first_wherever_they_stand() -> None:
    many = [f"path_{number}" for number in range(1_000)]
    assert closest("comapny", [*many, "company", *many, "company_id"]) == ["company", "company_id"]
    assert closest("x" * 1_000_000, ["x" * 1_000_000, "y"]) == []


def test_a_long_list_is_short_and_says_how_much_is_left_out() -> None:
    names = list("abcdefgh")
    assert suggestion(["h"], names) == "h, a, b, c, d or one of 3 others"
    assert suggestion([], names[:5], total=100) == "a, b, c, d, e or one of 95 others"
    assert suggestion(["b"], ["a", "b"]) == "b or a"
