import pytest

from rls.backends.redis.refusal import Refusal


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("MOVED 3999 127.0.0.1:6381", Refusal("MOVED", 3999, "127.0.0.1", 6381)),
        ("ASK 3999 redis-0.redis:6381", Refusal("ASK", 3999, "redis-0.redis", 6381)),
        ("MOVED 3999 :6381", Refusal("MOVED", 3999, "", 6381)),
        ("MOVED 3999 ?:6381", Refusal("MOVED", 3999, "", 6381)),
        ("MOVED 3999 ::1:6381", Refusal("MOVED", 3999, "::1", 6381)),
        ("MOVED 3999", Refusal("")),
        ("MOVED x y:z", Refusal("")),
        ("LOADING Redis is loading the dataset in memory", Refusal("LOADING")),
        ("", Refusal("")),
    ],
)
def test_what_a_refusal_says(text: str, refusal: Refusal) -> None:
    assert Refusal.of(Exception(text)) == refusal


@pytest.mark.parametrize(
    ("kind", "redirection", "passing", "not_the_primary"),
    [
        ("MOVED", True, False, False),
        ("ASK", True, False, False),
        ("READONLY", False, True, True),
        ("MASTERDOWN", False, True, True),
        ("NOAUTH", False, True, True),
        ("LOADING", False, True, False),
        ("CLUSTERDOWN", False, True, False),
        ("TRYAGAIN", False, True, False),
        ("OOM", False, False, False),
        ("WRONGTYPE", False, False, False),
        ("NOPERM", False, False, False),
    ],
)
def test_what_is_made_of_a_refusal(kind: str, redirection: bool, passing: bool, not_the_primary: bool) -> None:
    refusal = Refusal(kind)
    assert (refusal.is_redirection, refusal.is_passing, refusal.is_not_the_primary) == (
        redirection,
        passing,
        not_the_primary,
    )
