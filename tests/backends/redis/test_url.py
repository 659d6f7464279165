import pytest

from rls.backends.redis.url import redacted


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379", "redis://cache:6379"),
        ("redis://cache:6379/3", "redis://cache:6379/3"),
        ("rediss://:secret@cache:6379/0", "rediss://cache:6379/0"),
        ("redis://user:secret@cache", "redis://cache"),
        ("redis://user:sec@ret@cache", "redis://cache"),
        ("redis://user:s%40cret@[::1]:6379", "redis://[::1]:6379"),
        ("redis://cache?password=secret", "redis://cache"),
        ("redis://cache/0?username=u&password=secret#secret", "redis://cache/0"),
        ("unix://user:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize("url", ["redis://:sec/ret@cache", "redis://:sec?ret@cache", "redis://:sec#ret@cache"])
def test_a_password_that_ought_to_be_escaped_is_not_shown(url: str) -> None:
    assert "sec" not in redacted(url)
    assert "ret" not in redacted(url)
