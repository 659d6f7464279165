"""Environments of envoyproxy/ratelimit, and what they come to."""

from __future__ import annotations

import os

import pytest

from rls.settings import Settings, read
from rls.settings.envoyproxy import SAME, VARIABLES
from rls.settings.translate import translate

EXAMPLES = {
    "EXPIRATION_JITTER_MAX_SECONDS": "60",
    "LOCAL_CACHE_SIZE_IN_BYTES": "10000000",
    "NEAR_LIMIT_RATIO": "0.7",
    "GRPC_MAX_CONNECTION_AGE": "24h",
    "GRPC_MAX_CONNECTION_AGE_GRACE": "1h",
    "LOG_LEVEL": "WARN",
    "LOG_FORMAT": "json",
    "REDIS_URL": "redis:6379",
    "REDIS_TIMEOUT": "10ms",
    "REDIS_PERSECOND_URL": "redis:6380",
    "RUNTIME_SUBDIRECTORY": "ratelimit",
    "LIMIT_LIMIT_HEADER": "X-Limit",
    "LIMIT_REMAINING_HEADER": "X-Remaining",
    "LIMIT_RESET_HEADER": "X-Reset",
    "CACHE_KEY_PREFIX": "a:",
    "GRPC_SERVER_TLS_CERT": "/tls/cert.pem",
    "GRPC_SERVER_TLS_KEY": "/tls/key.pem",
    "GRPC_CLIENT_TLS_CACERT": "/tls/ca.pem",
    "GRPC_CLIENT_TLS_SAN": "envoy.example.com",
    "RUNTIME_ROOT": "/data",
    "GRPC_UDS": "/run/ratelimit.sock",
    "GRPC_HOST": "::",
    "HOST": "127.0.0.1",
    "PORT": "9080",
    "DEBUG_PORT": "9070",
    "REDIS_PERSECOND_AUTH": "user:hunter2",
    "REDIS_AUTH": "hunter2",
    "REDIS_PERSECOND_TYPE": "single",
    "REDIS_SOCKET_TYPE": "tcp",
    "REDIS_PERSECOND_SOCKET_TYPE": "tcp",
    "REDIS_TYPE": "cluster",
    "REDIS_TLS_CACERT": "/tls/redis.pem",
    "REDIS_TLS_CLIENT_CERT": "/tls/me.pem",
    "REDIS_TLS_CLIENT_KEY": "/tls/me-key.pem",
    "BACKEND_TYPE": "redis",
    "CONFIG_TYPE": "FILE",
    "REDIS_SENTINEL_AUTH": "hunter2",
    "REDIS_PERSECOND_SENTINEL_AUTH": "hunter2",
    "PROMETHEUS_ADDR": ":9090",
    "REDIS_PERSECOND_TIMEOUT": "20ms",
    "GRPC_PORT": "9081",
    "DEBUG_HOST": "127.0.0.1",
    "RUNTIME_APPDIRECTORY": "config",
}


def example(name: str) -> str:
    return name.replace("<NAME>", "CODES").replace("OTLP_*", "OTLP_ENDPOINT")


ALL = {example(name): EXAMPLES.get(name, "true") for name in VARIABLES}


def values(given: dict[str, str]) -> dict[str, str]:
    return {line.name: line.value for line in translate(given).lines}


def test_each_variable_is_in_one_place_of_the_translation() -> None:
    done = translate(ALL)
    named = [name for line in done.lines for name in line.sources]
    named += [name for name, _ in (*done.left_out, *done.open)]
    assert sorted(named) == sorted(ALL)
    assert all(reason for _, reason in (*done.left_out, *done.open))


def test_a_server_takes_the_translation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all variables at once, and with each setting that the table names."""
    for name in [name for name in os.environ if name.startswith("RLS_")]:
        monkeypatch.delenv(name)
    for name, value in values(ALL).items():
        monkeypatch.setenv(name, value)
    settings = read({})
    assert {name.removeprefix("RLS_").lower() for name in values(ALL) if name.startswith("RLS_")} == (
        {ours for ours, _ in VARIABLES.values()} - {""}
    )
    assert settings.max_connection_age == 86_400
    assert settings.log_level == "warning"
    assert (settings.grpc, settings.http, settings.admin) == (
        "unix:/run/ratelimit.sock",
        "127.0.0.1:9080",
        "127.0.0.1:9070",
    )
    assert settings.refund_over_limit is True
    assert settings.over_limit_cache_size == 100_000


def test_what_has_the_same_value_keeps_it() -> None:
    for name, (setting, remark) in VARIABLES.items():
        if remark == SAME and not name.startswith("GRPC_"):
            assert values({name: ALL[name]})[f"RLS_{setting.upper()}"] == ALL[name]


def test_no_password_is_shown() -> None:
    assert "hunter2" not in str(translate(ALL))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "unix:///var/run/nutcracker/ratelimit.sock"),
        ({"REDIS_URL": "/run/redis.sock", "REDIS_SOCKET_TYPE": "unix"}, "unix:///run/redis.sock"),
        ({"REDIS_URL": "redis:6379", "REDIS_SOCKET_TYPE": "tcp"}, "redis://redis:6379"),
        ({"REDIS_URL": "redis:6379"}, "redis://redis:6379"),
        ({"REDIS_URL": "a:6379,b:6379", "REDIS_TYPE": "CLUSTER"}, "redis+cluster://a:6379,b:6379"),
        ({"REDIS_URL": "main,a:26379,b:26379", "REDIS_TYPE": "sentinel"}, "redis+sentinel://a:26379,b:26379/main"),
        (
            {"REDIS_URL": "main,a:26379", "REDIS_TYPE": "sentinel", "REDIS_SENTINEL_AUTH": "u:p"},
            "redis+sentinel://a:26379/main?sentinel_username=u&sentinel_password=PASSWORD",
        ),
        (
            {"REDIS_URL": "redis:6379", "REDIS_AUTH": "me:secret"},
            "redis://me@redis:6379?password_file=/etc/rls/redis/password",
        ),
        (
            {"REDIS_URL": "redis:6379", "REDIS_TLS": "true", "REDIS_TLS_CACERT": "/ca.pem"},
            "rediss://redis:6379?ssl_ca_certs=/ca.pem",
        ),
        (
            {
                "REDIS_URL": "a:6379",
                "REDIS_TYPE": "cluster",
                "REDIS_TLS": "1",
                "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION": "1",
            },
            "rediss+cluster://a:6379?ssl_check_hostname=false",
        ),
    ],
)
def test_where_redis_is(given: dict[str, str], url: str) -> None:
    """With the old server's defaults, as its settings.go has them."""
    found = values({**given, "BACKEND_TYPE": "redis"})["RLS_BACKEND"]
    assert found == url
    Settings(config="rules", backend=found)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"CONFIG_TYPE": "GRPC_XDS_SOTW"}, "rules are read from files only"),
        ({"BACKEND_TYPE": "memcache"}, "no Memcached: name a Redis in RLS_BACKEND"),
        (
            {"REDIS_TYPE": "ring"},
            "REDIS_TYPE is none of single, cluster, sentinel: the old server does not start with it",
        ),
        ({"REDIS_TYPE": "sentinel", "REDIS_URL": "main"}, "REDIS_URL has no sentinels"),
        ({"PORT": "http"}, "`http` is no port"),
        ({"REDIS_TIMEOUT": "5"}, "`5` is no duration"),
        ({"SHADOW_MODE": "perhaps"}, "`perhaps` is neither true nor false"),
        ({"TRACING_ENABLED": "true"}, "`OTEL_EXPORTER_OTLP_ENDPOINT` switches traces on"),
        (
            {"NEAR_LIMIT_RATIO": "7"},
            "no server starts with it: RLS_NEAR_LIMIT_RATIO is '7': expected a number above 0, up to 1",
        ),
        (
            {"REDIS_URL": "a b", "REDIS_SOCKET_TYPE": "tcp"},
            "no server starts with it: RLS_BACKEND is 'redis://a b': expected a host without white space",
        ),
        (
            {"REDIS_URL": "redis://me:hunter2@a b"},
            "no server starts with it: RLS_BACKEND is 'redis://me:***@a b': expected a host without white space",
        ),
        ({"LOG_LEVEL": "loud"}, "no server starts with it: RLS_LOG_LEVEL is 'loud': expected 'debug', 'info', "),
        ({"LIMIT_LIMIT_HEADER": "a b"}, "no server starts with it: RLS_LIMIT_LIMIT_HEADER is 'a b': expected the name"),
        ({"EXPIRATION_JITTER_MAX_SECONDS": "9999999"}, "no server starts with it: RLS_EXPIRATION_JITTER is '9999999s'"),
        (
            {"GRPC_SERVER_USE_TLS": "true", "GRPC_SERVER_TLS_CERT": "/a.pem"},
            "no server starts with it: RLS_TLS_CERT is '/a.pem': expected RLS_TLS_KEY as well",
        ),
    ],
)
def test_what_needs_a_hand(given: dict[str, str], reason: str) -> None:
    done = translate(given)
    assert any(found.startswith(reason) for _, found in done.open)
    assert {name for name, _ in done.open}.isdisjoint(name for line in done.lines for name in line.sources)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"REDIS_TIMEOUT": "10s"}, "10s is longer than Envoy waits (20ms by default): 10ms, the default, is kept"),
        ({"GRPC_SERVER_TLS_CERT": "/a.pem"}, "had no effect, because GRPC_SERVER_USE_TLS is not `true`"),
        ({"REDIS_PERSECOND_URL": "a:6379"}, "had no effect, because REDIS_PERSECOND is not `true`"),
        ({"USE_STATSD": "false"}, "no statsd: Prometheus scrapes `/metrics`"),
    ],
)
def test_what_is_not_needed_has_a_reason(given: dict[str, str], reason: str) -> None:
    done = translate(given)
    assert (done.left_out, done.open) == (tuple((name, reason) for name in given), ())


def test_nothing_comes_to_nothing() -> None:
    assert translate({"PATH": "/bin", "SHADOW_MODE": ""}) == ((), (), (), ())
