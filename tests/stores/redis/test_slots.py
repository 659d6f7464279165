import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from rls.errors import BackendError
from rls.stores.redis.slots import Range, ranges, slot_of


@given(st.binary(max_size=60) | st.text("{}a|", max_size=12).map(str.encode))
def test_the_slot_of_a_key_is_the_one_that_redis_py_finds(key: bytes) -> None:
    assert slot_of(key) == key_slot(key)


@pytest.mark.parametrize(
    ("primary", "host"),
    [
        ([b"10.0.0.1", 6379, b"id"], "10.0.0.1"),
        ([b"redis-0.redis", 6379, b"id", [b"ip", b"10.0.0.1"]], "redis-0.redis"),
        ([b"", 6379, b"id"], "asked"),
        ([None, 6379, b"id", []], "asked"),
        ([None, 6379, b"id", [b"ip", b"10.0.0.1"]], "asked"),
        ([b"?", 6379, b"id", []], "asked"),
        ([b"?", 6379, b"id", [b"ip", b"10.0.0.1"]], "10.0.0.1"),
        ([b"::1", 6379], "::1"),
    ],
)
def test_a_node_whose_host_is_not_told_is_where_it_was_asked(primary: list[object], host: str) -> None:
    replica = [b"10.9.9.9", 6379, b"other"]
    assert ranges([[0, 5460, primary, replica]], "asked") == [Range(0, 5460, host, 6379)]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ([], "has no slots yet"),
        (b"OK", "unexpected reply to CLUSTER SLOTS"),
        (None, "unexpected reply to CLUSTER SLOTS"),
        ([[1, 2]], "unexpected reply to CLUSTER SLOTS"),
        ([[1, 2, [b"host"]]], "unexpected reply to CLUSTER SLOTS"),
    ],
)
def test_what_tells_of_no_slots_is_an_error(reply: object, reason: str) -> None:
    with pytest.raises(BackendError, match=f"^Redis at asked: .*{reason}"):
        ranges(reply, "asked")
