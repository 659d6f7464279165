import pytest

from rls.errors import SettingsError
from rls.stores.redis.url import address_of, check, check_cluster, node_urls, sentinel_urls


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
    assert address_of(url) == shown


@pytest.mark.parametrize("url", ["redis://:sec/ret@cache", "redis://:sec?ret@cache", "redis://:sec#ret@cache"])
def test_a_password_that_ought_to_be_escaped_is_not_shown(url: str) -> None:
    assert "sec" not in address_of(url)
    assert "ret" not in address_of(url)


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
        ("redis://cache/counters", "the path is not the number of a database"),
        ("redis://cache/1/2", "the path is not the number of a database"),
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


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("redis+cluster://a,b:7001", ["redis://a", "redis://b:7001"]),
        (
            "rediss+cluster://u:p%40@[::1]:2,a:1/?client_name=x",
            [f"rediss://u:p%40@{host}?client_name=x" for host in ("[::1]:2", "a:1")],
        ),
        ("redis+cluster://a:1,[::1]:2,[::2]", ["redis://a:1", "redis://[::1]:2", "redis://[::2]"]),
    ],
)
def test_the_nodes_of_a_cluster(url: str, urls: list[str]) -> None:
    assert node_urls(url) == urls


def test_what_a_url_of_sentinels_means() -> None:
    url = "rediss+sentinel://u:p@[::1]:1,a,b:1/main?db=3&ssl_ca_certs=/x&sentinel_username=s&sentinel_password=t"
    assert sentinel_urls(url) == (
        [f"rediss://{host}?ssl_ca_certs=%2Fx&username=s&password=t" for host in ("[::1]:1", "a:26379", "b:1")],
        "rediss://u:p@[::1]:1?db=3&ssl_ca_certs=%2Fx",
        "main",
    )


def test_sentinels_at_ipv6_addresses() -> None:
    """Without a port, too: theirs is 26379."""
    sentinels = sentinel_urls("redis+sentinel://a:1,[::1],[::2]:2/main").sentinels
    assert sentinels == ["redis://a:1", "redis://[::1]:26379", "redis://[::2]:2"]
    with pytest.raises(SettingsError, match=r"expected brackets around the IPv6 address: \[::1\]$"):
        sentinel_urls("redis+sentinel://a:1,::1/main")


@pytest.mark.parametrize("path", ["", "/", "/a/b"])
def test_sentinels_must_be_told_a_name(path: str) -> None:
    with pytest.raises(
        SettingsError, match=r"the name of the primary is missing, expected redis\+sentinel://HOST:PORT,"
    ):
        sentinel_urls(f"redis+sentinel://a{path}")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+cluster://a,b/1", "a cluster has no databases"),
        ("redis+cluster://a?db=1", "a cluster has no databases"),
        ("redis+cluster://a,b?pasword=secret", "unknown option pasword, did you mean password?"),
        ("redis+cluster://a,,b", "there is no host"),
        ("redis+cluster://a:1,::1", "expected brackets around the IPv6 address: [::1]"),
        ("redis+cluster://a:1,b:x", "expected a port from 0 to 65535 after the host"),
    ],
)
def test_clusters_that_cannot_be_used(url: str, reason: str) -> None:
    with pytest.raises(SettingsError) as raised:
        check_cluster(url)
    assert reason in str(raised.value)
    assert "secret" not in str(raised.value)
