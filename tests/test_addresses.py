"""One syntax of addresses, for what listens, what calls, and what is in a URL."""

import pytest

from rls.addresses import (
    hosts_of,
    join_address,
    loopback,
    parse_address,
    redacted,
    split_address,
    split_host,
    split_url,
    unix_address,
    unix_path,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8081", "127.0.0.1:8081"),
        ("localhost:0", "localhost:0"),
        ("rls.istio-system.svc:80", "rls.istio-system.svc:80"),
        ("8081", "192.0.2.1:8081"),
        (":8081", "192.0.2.1:8081"),
        ("*:8081", "0.0.0.0:8081"),
        ("[::]:8081", "[::]:8081"),
        ("[::1]:8081", "[::1]:8081"),
        ("[fe80::1%eth0]:8081", "[fe80::1%eth0]:8081"),
        (":::8081", "[::]:8081"),
        ("fe80:0:0:0:0:0:0:1:8081", "[fe80:0:0:0:0:0:0:1]:8081"),
        ("unix:/run/rls.sock", "unix:/run/rls.sock"),
        ("unix:///run/rls.sock", "unix:/run/rls.sock"),
    ],
)
def test_an_address_has_one_form(text: str, address: str) -> None:
    assert parse_address(text, "192.0.2.1") == address
    assert parse_address(address, "192.0.2.1") == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", "host:", "host:port", "host:65536", "host:-1", "a b:1", "x:²", "host:" + "9" * 5000),
        *("[zz]:1", "[::1:1", "::1]:1", "[]:1", "[::1]", "[host]:1", "dns:///host:1", "http://host:1"),
        *("unix:", "unix:/run/"),
    ],
)
def test_what_is_not_an_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"^HOST:PORT, \[IPV6\]:PORT, PORT or unix:/path$"):
        parse_address(text, "127.0.0.1")


def test_an_ipv6_address_that_may_have_no_port_needs_brackets() -> None:
    with pytest.raises(ValueError, match=r"^brackets around the IPv6 address: \[::1\]:8081$"):
        parse_address("::1:8081", "127.0.0.1")


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 8081), ("::1", 0), ("a-b.c_d", 65_535), ("fe80::1%lo", 1)])
def test_host_and_port_are_joined_and_split(host: str, port: int) -> None:
    assert split_address(join_address(host, port)) == (host, port)


@pytest.mark.parametrize("address", ["", "8081", ":8081", "host", "::1:8081", "[::1]", "unix:/run/rls.sock"])
def test_what_has_no_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match=r"^HOST:PORT or \[IPV6\]:PORT$"):
        split_address(address)


@pytest.mark.parametrize(
    ("address", "dialled"),
    [
        ("0.0.0.0:8081", "127.0.0.1:8081"),
        ("[::]:8081", "[::1]:8081"),
        ("10.0.0.0:8081", "10.0.0.0:8081"),
        ("unix:/run/rls.sock", "unix:/run/rls.sock"),
    ],
)
def test_a_wildcard_is_dialled_on_the_loopback_interface(address: str, dialled: str) -> None:
    assert loopback(address) == dialled


def test_addresses_of_unix_sockets() -> None:
    assert unix_path(unix_address("/run/rls.sock")) == "/run/rls.sock"
    assert unix_path("127.0.0.1:8081") is None


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://cache", [("cache", None)]),
        ("redis://cache:", [("cache", None)]),
        ("redis://u:p@[::1]:6379/1", [("::1", 6379)]),
        ("redis+cluster://[::1]:1,[fe80::2], a:3,b?x=1,2", [("::1", 1), ("fe80::2", None), ("a", 3), ("b", None)]),
        # urlsplit of newer Pythons takes no IPv6 address behind another host.
        ("redis+cluster://a:1,[::1]:2/0", [("a", 1), ("::1", 2)]),
        ("unix:///run/redis.sock", [("", None)]),
        ("memory://", [("", None)]),
    ],
)
def test_the_hosts_of_a_url(url: str, hosts: list[tuple[str, int | None]]) -> None:
    parts = split_url(url)
    assert [split_host(host) for host in hosts_of(parts)] == hosts
    assert f"{parts.scheme}://{parts.netloc}{parts.path}{parts.query and f'?{parts.query}'}" == url


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("cache:x", "a port from 0 to 65535 after the host"),
        ("cache:65536", "a port from 0 to 65535 after the host"),
        ("[::1]:-1", "a port from 0 to 65535 after the host"),
        ("::1", "brackets around the IPv6 address: [::1]"),
        ("fe80:0:0:0:0:0:0:1:6379", "brackets around the IPv6 address: [fe80:0:0:0:0:0:0:1]:6379"),
        ("[::1", "[IPV6]:PORT"),
        ("[::1]6379", "[IPV6]:PORT"),
        ("[cache]:6379", "[IPV6]:PORT"),
        ("a b", "a host without white space"),
    ],
)
def test_what_is_not_a_host_of_a_url(host: str, expected: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        split_host(host)
    assert str(raised.value) == expected


WITH_PASSWORDS = [
    "redis://user:hunter2@host:1/0",
    "redis://:hunter2@host",
    "redis://user:hunter2/with:odd@characters#in?it@host",
    "redis:/user:hunter2@host",
    "user:hunter2@host",
    "redis://user:a://hunter2@host",
    "redis://host/0?password=hunter2&x=y",
    "redis://host/0?sentinel_password=hunter2",
]


@pytest.mark.parametrize("url", WITH_PASSWORDS)
def test_passwords_are_never_shown(url: str) -> None:
    shown = redacted(url)
    assert "hunter2" not in shown
    assert "host" in shown
