from pathlib import Path

import pytest

from rls.settings.values import (
    BackendUrl,
    duration_text,
    parse_admin_address,
    parse_backend,
    parse_duration,
    parse_grpc_address,
    parse_paths,
    parse_replicas,
)
from tests.test_addresses import WITH_PASSWORDS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10ms", 0.01),
        ("250us", 0.00025),
        ("5s", 5),
        ("1m", 60),
        ("1h", 3600),
        ("1m30s", 90),
        ("1.5s", 1.5),
        ("0", 0),
        ("0.0", 0),
        ("0s", 0),
        (" 5s ", 5),
        (3, 3),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "ms", "-1", "-1s", "5 minutes", "1d", "inf", "nan", "1s5", "1e400", "1sec"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a duration such as 10ms, 5s or 1m30s$"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["10", "0.02", " 10 "])
def test_a_duration_without_a_unit_is_asked_back(text: str) -> None:
    number = text.strip()
    with pytest.raises(ValueError, match=f"^{number} has no unit, expected {number}ms or {number}s$"):
        parse_duration(text)


@pytest.mark.parametrize("seconds", [0.0, 0.00025, 0.01, 1.0, 90.0, 300.0, 86_400.0])
def test_the_text_of_a_duration_is_read_back(seconds: float) -> None:
    assert parse_duration(duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" rls.istio-system.svc:80 ", "rls.istio-system.svc:80"),
        ("8081", "0.0.0.0:8081"),
        ("[::1]:8081", "[::1]:8081"),
        (":::8081", "[::]:8081"),  # Istio's sample for the reference sets HOST=::
        ("unix:///run/rls.sock", "unix:/run/rls.sock"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert parse_grpc_address(text) == address


def test_a_port_alone_does_not_open_the_admin_address_to_all() -> None:
    assert [parse_admin_address(text) for text in ("6070", ":6070", "off")] == ["127.0.0.1:6070", "127.0.0.1:6070", ""]


@pytest.mark.parametrize("text", ["", "host", "[::1", "unix:"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_grpc_address(text)


def test_an_ipv6_address_that_could_be_without_a_port_needs_brackets() -> None:
    with pytest.raises(ValueError, match=r"brackets around the IPv6 address: \[::1\]:8081"):
        parse_grpc_address("::1:8081")


@pytest.mark.parametrize(
    ("text", "replicas"),
    [
        ("1", 1),
        (" 12 ", 12),
        (3, 3),
        ("dns:rls", "rls"),
        ("dns:rls-replicas.rate-limit.svc.cluster.local.", "rls-replicas.rate-limit.svc.cluster.local."),
        ("dns:_a.b_c.9d", "_a.b_c.9d"),
    ],
)
def test_replicas(text: object, replicas: object) -> None:
    assert parse_replicas(text) == replicas


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "-1", "1.5", "\u0662", "9" * 5000, "rls.rate-limit", "DNS:a:1"),
        *("dns:", "dns:.", "dns:a..b", "dns:-a", "dns:a b", "dns:a\x1b", "dns:\u00e9", "dns:" + "a" * 64),
        "dns:" + "a." * 128,
    ],
)
def test_what_is_no_number_of_replicas(text: str) -> None:
    with pytest.raises(ValueError, match="a whole number from 1, or dns:NAME"):
        parse_replicas(text)


@pytest.mark.parametrize(
    "url", ["redis://::1:6379", "redis+cluster://a:1,::1:6379", "redis+sentinel://u:p@::1:6379/main"]
)
def test_ipv6_addresses_of_backends_need_brackets(url: str) -> None:
    with pytest.raises(ValueError, match=r"^brackets around the IPv6 address: \[::1\]:6379$"):
        parse_backend(url)


@pytest.mark.parametrize("text", ["a.yaml,b", "a.yaml:b", " a.yaml , b,", ["a.yaml", "b"]])
def test_paths(text: object) -> None:
    assert parse_paths(text) == (Path("a.yaml"), Path("b"))


@pytest.mark.parametrize("text", ["", ",", []])
def test_no_paths(text: object) -> None:
    with pytest.raises(ValueError, match="at least one file"):
        parse_paths(text)


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "redis://h",
        "redis://h:6379/1",
        "rediss://u:p@h:1/0?x=y",
        "unix:///run/redis.sock",
        "redis://[::1]:1",
        "redis+cluster://a:1,[::1]:2,[::1]",
        "redis+sentinel://[::1],a/main",
    ],
)
def test_backends(url: str) -> None:
    assert parse_backend(url).reveal() == url


@pytest.mark.parametrize(
    "url", ["", "redis", "redis:", "redis://", "http://h", "redis://h:99999", "redis://h:x", "h:6379"]
)
def test_what_is_no_backend(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis://|a port"):
        parse_backend(url)


@pytest.mark.parametrize("url", WITH_PASSWORDS)
def test_passwords_are_never_shown(url: str) -> None:
    shown = f"{BackendUrl(url)} {BackendUrl(url)!r}"
    assert "hunter2" not in shown
    assert "host" in shown
