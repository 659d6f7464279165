import pytest

from rls.stores.redis.error_reply import ErrorReply


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("MOVED 3999 127.0.0.1:6381", ErrorReply("MOVED", 3999, "127.0.0.1", 6381)),
        ("ASK 3999 redis-0.redis:6381", ErrorReply("ASK", 3999, "redis-0.redis", 6381)),
        ("MOVED 3999 :6381", ErrorReply("MOVED", 3999, "", 6381)),
        ("MOVED 3999 ?:6381", ErrorReply("MOVED", 3999, "", 6381)),
        ("MOVED 3999 ::1:6381", ErrorReply("MOVED", 3999, "::1", 6381)),
        ("MOVED 3999", ErrorReply("")),
        ("MOVED x y:z", ErrorReply("")),
        ("LOADING Redis is loading the dataset in memory", ErrorReply("LOADING")),
        ("", ErrorReply("")),
    ],
)
def test_what_a_refusal_says(text: str, refusal: ErrorReply) -> None:
    assert ErrorReply.of(Exception(text)) == refusal


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
    refusal = ErrorReply(kind)
    assert (refusal.is_redirection, refusal.is_temporary, refusal.is_not_the_primary) == (
        redirection,
        passing,
        not_the_primary,
    )
