"""What is said to variables that were meant for envoyproxy/ratelimit."""

import re
from pathlib import Path

import pytest

from rls.settings import Settings, flag, left_over, variable
from rls.settings.envoyproxy import GENERIC, KEPT, VARIABLES

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
SAMPLE = {
    "LOG_LEVEL": "debug",
    "REDIS_SOCKET_TYPE": "tcp",
    "REDIS_URL": "redis:6379",
    "USE_STATSD": "false",
    "RUNTIME_ROOT": "/data",
    "RUNTIME_SUBDIRECTORY": "ratelimit",
    "RUNTIME_WATCH_ROOT": "false",
    "RUNTIME_IGNOREDOTFILES": "true",
    "HOST": "::",
    "GRPC_HOST": "::",
}
"""What Istio's samples/ratelimit/rate-limit-service.yaml sets."""
MARK = {"RUNTIME_SUBDIRECTORY": "ratelimit"}
"""No other program reads it."""


def named(environ: dict[str, str]) -> list[str]:
    return [warning.partition(" ")[0] for warning in left_over(environ)]


def example(name: str) -> str:
    return name.replace("<NAME>", "CODES").replace("OTLP_*", "OTLP_ENDPOINT")


@pytest.mark.parametrize("name", [name for name, (_, remark) in VARIABLES.items() if remark != KEPT])
def test_each_variable_has_one_warning_that_names_our_setting_or_the_reason(name: str) -> None:
    warnings = [
        warning for warning in left_over({example(name): "1"} | MARK) if warning.startswith(f"{example(name)} ")
    ]
    setting, remark = VARIABLES[name]
    assert remark
    instead = f"use {variable(setting)} ({flag(setting)}): {remark}" if setting else remark
    assert warnings == [f"{example(name)} is a variable of envoyproxy/ratelimit and has no effect here: {instead}"]


def test_the_page_shows_the_same_rows() -> None:
    shown = re.findall(
        r"^\| `(.+?)` \| (?:–|`(RLS_\w+)`) \| (.+) \|$", PAGE.partition("\n## Metrics\n")[0], re.MULTILINE
    )
    assert shown == [(name, variable(ours) if ours else "", remark) for name, (ours, remark) in VARIABLES.items()]


def test_the_settings_are_there() -> None:
    assert {ours for ours, _ in VARIABLES.values()} - {""} <= set(Settings.model_fields)


def test_istios_sample_is_named_whole() -> None:
    assert named(SAMPLE) == sorted(SAMPLE)


@pytest.mark.parametrize(
    "environ",
    [
        {"HOST": "pod-1", "PORT": "8080", "LOG_LEVEL": "info"},
        {"REDIS_URL": "redis://cache:6379", "REDIS_TLS": "true", "GRPC_PORT": "50051"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "TRACING_ENABLED": "true"},
        {"REDIS_PORT": "tcp://10.0.0.1:6379", "REDIS_SERVICE_HOST": "10.0.0.1"},
        {"RLS_CONFIG": "rules", "PATH": "/bin", "KUBERNETES_PORT": "tcp://10.0.0.1:443"},
        {},
    ],
)
def test_names_that_other_programs_read_say_nothing_alone(environ: dict[str, str]) -> None:
    assert named(environ) == []


@pytest.mark.parametrize("name", ["SHADOW_MODE", "REDIS_PERSECOND_URL", "MERGE_DOMAIN_CONFIG", "NEAR_LIMIT_RATIO"])
def test_a_name_that_no_other_program_reads_is_enough(name: str) -> None:
    assert named({name: "true"}) == [name]
    assert named({name: "true", "PORT": "8080"}) == sorted([name, "PORT"])


@pytest.mark.parametrize("name", ["STATSD_PORT", "GRPC_PORT", "DEBUG_PORT", "MEMCACHE_HOST_PORT"])
def test_what_kubernetes_adds_for_a_service_is_not_reported(name: str) -> None:
    """For a Service called `statsd`, `grpc`, `debug` or `memcache-host`."""
    for scheme in ("tcp", "udp", "sctp"):
        assert named({name: f"{scheme}://10.0.0.7:8125"} | MARK) == ["RUNTIME_SUBDIRECTORY"]
    assert named({name: "8125"} | MARK) == sorted([name, "RUNTIME_SUBDIRECTORY"])


@pytest.mark.parametrize(
    "name", ["redis_url", "REDIS_URLS", "MY_REDIS_URL", "DOG_STATSD_MOGRIFIER__NAME", "OTEL_EXPORTER_OTLP_"]
)
def test_other_names_are_left_alone(name: str) -> None:
    assert named({name: "x"} | MARK) == ["RUNTIME_SUBDIRECTORY"]


def test_an_empty_variable_says_nothing() -> None:
    """As with ours: a chart writes one for each value that is not given."""
    assert named(dict.fromkeys(SAMPLE, "")) == []


def test_values_are_not_shown() -> None:
    assert "hunter2" not in "".join(left_over({"REDIS_AUTH": "hunter2", "REDIS_SENTINEL_AUTH": "hunter2"}))


def test_variables_that_work_here_too_are_not_reported() -> None:
    assert named({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"} | MARK) == ["RUNTIME_SUBDIRECTORY"]


def test_a_server_of_each_kind_is_recognized() -> None:
    """Rules in files or by xDS: each way takes a variable that no other program reads."""
    for name in ("RUNTIME_SUBDIRECTORY", "CONFIG_GRPC_XDS_SERVER_URL"):
        assert GENERIC.fullmatch(name) is None
