import pytest

from rls.backends.redis.url import check, redacted
from rls.errors import SettingsError


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


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://cache:6379/",
        "redis://user:p%40ss@[::1]:6379/12",
        "redis://cache?db=1&username=u&password=a@b&client_name=c&socket_keepalive=true",
        "rediss://cache?ssl_ca_certs=/dev/null&ssl_check_hostname=false",
        "unix:///run/redis@home.sock?db=1",
    ],
)
def test_addresses_that_can_be_used(url: str) -> None:
    check(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://u:secret@cache?pasword=x", "cache cannot be used: unknown option pasword, did you mean password?"),
        (
            "redis://cache?quux=1",
            "cache cannot be used: unknown option quux, expected client_name, db, password, password_file, socket_keepalive, username",
        ),
        # Only TLS has these; that one is redis-py's, and would do nothing.
        (
            "unix:///run/redis.sock?ssl_ca_certs=/x",
            "/run/redis.sock cannot be used: unknown option ssl_ca_certs, expected ",
        ),
        ("redis://cache?max_connections=9", "cache cannot be used: unknown option max_connections, "),
        (
            "rediss://cache?ssl_keyfile=/no/such",
            "cache cannot be used: the option ssl_keyfile is '/no/such': no such file",
        ),
        ("redis:///0", "/0 cannot be used: there is no host, expected redis://HOST:PORT/DB"),
        ("redis://cache/counters", "the path is no number of a database"),
        ("redis://cache/1/2", "the path is no number of a database"),
        ("unix://?db=1", "there is no path, expected unix:///path"),
        ("redis://:6?secret@cache", "redis://*** cannot be used: unknown option; in a user or password, "),
        ("redis://u?secret&x@cache", "redis://*** cannot be used: unknown option; in a user or password, "),
        ("redis://:6/secret@cache", "redis://*** cannot be used: there is no host"),
    ],
)
def test_addresses_that_cannot_be_used(url: str, reason: str) -> None:
    """Each with what is wrong and what was expected, and none with its password."""
    with pytest.raises(SettingsError) as raised:
        check(url)
    assert reason in str(raised.value)
    assert "secret" not in str(raised.value)
