"""`docs/migration.md` tells the truth: every variable of the other server, and only settings that are there."""

import re
import subprocess
from itertools import chain
from pathlib import Path

import pytest
import yaml

from rls.settings import read
from tests.differential.reference import CHECKER, binary
from tests.k8s.manifests import rendered
from tests.migration_page import PAGE, commands, printed_by, run

# Of envoyproxy/ratelimit at f2fb157, as its binary lists them, those that it makes names of, and one that is newer.
VARIABLES = """
BACKEND_TYPE CACHE_KEY_PREFIX CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS CONFIG_GRPC_XDS_CLIENT_TLS_CERT
CONFIG_GRPC_XDS_CLIENT_TLS_KEY CONFIG_GRPC_XDS_NODE_ID CONFIG_GRPC_XDS_NODE_METADATA
CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL CONFIG_GRPC_XDS_SERVER_TLS_CACERT CONFIG_GRPC_XDS_SERVER_TLS_SAN
CONFIG_GRPC_XDS_SERVER_URL CONFIG_GRPC_XDS_SERVER_USE_TLS CONFIG_TYPE DEBUG_HOST DEBUG_PORT DISABLE_STATS
EXPIRATION_JITTER_MAX_SECONDS EXTRA_TAGS FORCE_START_WITHOUT_INITIAL_CONFIG GOSTATS_FLUSH_INTERVAL_SECONDS
GOSTATS_LOGGING_SINK_DISABLED GRPC_CLIENT_TLS_CACERT GRPC_CLIENT_TLS_SAN GRPC_HOST GRPC_MAX_CONNECTION_AGE
GRPC_MAX_CONNECTION_AGE_GRACE GRPC_PORT GRPC_SERVER_TLS_CERT GRPC_SERVER_TLS_KEY GRPC_SERVER_USE_TLS GRPC_UDS
HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED HOST LIMIT_LIMIT_HEADER LIMIT_REMAINING_HEADER LIMIT_RESET_HEADER
LIMIT_RESPONSE_HEADERS_ENABLED LOCAL_CACHE_SIZE_IN_BYTES LOG_FORMAT LOG_LEVEL MEMCACHE_HOST_PORT
MEMCACHE_MAX_IDLE_CONNS MEMCACHE_SRV MEMCACHE_SRV_REFRESH MEMCACHE_TLS MEMCACHE_TLS_CACERT MEMCACHE_TLS_CLIENT_CERT
MEMCACHE_TLS_CLIENT_KEY MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION MERGE_DOMAIN_CONFIG NEAR_LIMIT_RATIO PORT
PROMETHEUS_ADDR PROMETHEUS_MAPPER_YAML PROMETHEUS_PATH PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS QUOTA_MODE REDIS_AUTH
REDIS_CLUSTER_PIPELINE_PARALLELISM REDIS_HEALTH_CHECK_ACTIVE_CONNECTION REDIS_PERSECOND REDIS_PERSECOND_AUTH
REDIS_PERSECOND_CLUSTER_PIPELINE_PARALLELISM REDIS_PERSECOND_PIPELINE_LIMIT REDIS_PERSECOND_PIPELINE_WINDOW
REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR REDIS_PERSECOND_POOL_SIZE REDIS_PERSECOND_SENTINEL_AUTH
REDIS_PERSECOND_SOCKET_TYPE REDIS_PERSECOND_TIMEOUT REDIS_PERSECOND_TLS REDIS_PERSECOND_TYPE REDIS_PERSECOND_URL
REDIS_PIPELINE_LIMIT REDIS_PIPELINE_WINDOW REDIS_POOL_ON_EMPTY_BEHAVIOR REDIS_POOL_SIZE REDIS_SENTINEL_AUTH
REDIS_SOCKET_TYPE REDIS_STARTUP_INITIAL_INTERVAL REDIS_STARTUP_MAX_ELAPSED_TIME REDIS_STARTUP_MAX_INTERVAL
REDIS_TIMEOUT REDIS_TLS REDIS_TLS_CACERT REDIS_TLS_CLIENT_CERT REDIS_TLS_CLIENT_KEY
REDIS_TLS_SKIP_HOSTNAME_VERIFICATION REDIS_TYPE REDIS_URL RESPONSE_DYNAMIC_METADATA RUNTIME_APPDIRECTORY
RUNTIME_IGNOREDOTFILES RUNTIME_ROOT RUNTIME_SUBDIRECTORY RUNTIME_WATCH_ROOT SHADOW_MODE STATSD_HOST STATSD_PORT
STATSD_PROTOCOL STATS_FLUSH_INTERVAL STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT TRACING_ENABLED
TRACING_EXPORTER_PROTOCOL TRACING_SAMPLING_RATE TRACING_SERVICE_INSTANCE_ID TRACING_SERVICE_NAME
TRACING_SERVICE_NAMESPACE USE_DOG_STATSD USE_DOG_STATSD_MOGRIFIERS USE_PROMETHEUS USE_STATSD
XDS_CLIENT_BACKOFF_INITIAL_INTERVAL XDS_CLIENT_BACKOFF_JITTER XDS_CLIENT_BACKOFF_MAX_INTERVAL
XDS_CLIENT_BACKOFF_RANDOM_FACTOR XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES USE_CALENDAR_MONTH_RATE_LIMIT
DOG_STATSD_MOGRIFIER_<NAME>_NAME DOG_STATSD_MOGRIFIER_<NAME>_PATTERN DOG_STATSD_MOGRIFIER_<NAME>_TAGS
OTEL_EXPORTER_OTLP_*
"""


def rows(heading: str) -> list[list[str]]:
    """Cells of all tables below *heading*, without the tables' heads."""
    section = re.split(r"^## ", PAGE.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_every_variable_of_the_other_server_stands_in_the_tables_once() -> None:
    named = [variable.strip("`") for variable, _, _ in rows("Environment variables")]
    assert sorted(named) == sorted(VARIABLES.split())


def test_a_variable_without_one_of_ours_says_why() -> None:
    silent = [variable for variable, ours, why in rows("Environment variables") if ours == "–" and not why]
    assert silent == []


def test_the_second_column_is_one_variable_of_ours_or_none() -> None:
    odd = [ours for _, ours, _ in rows("Environment variables") if not re.fullmatch(r"–|`RLS_[A-Z_]+`", ours)]
    assert odd == []


def test_the_deployment_starts_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variables are settings, its ports and paths those that they name."""
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    template = yaml.safe_load(text)["spec"]["template"]["spec"]
    (container,) = template["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])

    settings = read({})

    assert [str(path) for path in settings.config] == [mount["mountPath"] for mount in container["volumeMounts"]]
    ports = {port["name"]: f"[::]:{port['containerPort']}" for port in container["ports"]}
    assert ports == {"http": settings.http, "grpc": settings.grpc}
    assert settings.key_format == "compat"
    assert template["terminationGracePeriodSeconds"] > settings.drain_timeout + 6


def test_kustomize_takes_the_deployment(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "deployment.yaml").write_text(text)
    (tmp_path / "kustomization.yaml").write_text("resources: [deployment.yaml]\n")
    assert rendered(tmp_path) == [yaml.safe_load(text)]


def test_istios_sample_is_mapped_to_what_the_deployment_sets() -> None:
    texts = chain.from_iterable(re.findall(r"RLS_[A-Z_]+=[^`]+", ours) for _, ours in rows("Istio's sample"))
    (deployment,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (container,) = yaml.safe_load(deployment)["spec"]["template"]["spec"]["containers"]
    set_there = {f"{variable['name']}={variable['value']}" for variable in container["env"]}
    assert set(texts) - {"RLS_LOG_LEVEL=debug"} < set_there


MISTAKEN = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit:
      unit: minute
      requests_per_unit: 5
      shadow_mode: true
  - key: path
    rate_limit:
      unit: minute
"""
NEWER = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: minute, requests_per_unit: 5}
    on_backend_error: allow
---
domain: mesh
descriptors: [{key: path, rate_limit: {unit: minute, requests_per_unit: 5}}]
"""


@pytest.mark.parametrize(
    ("command", "rules"), [("rls check config/", MISTAKEN), ("rls check --for envoyproxy config/", NEWER)]
)
def test_what_the_page_shows_of_rls_check_is_what_it_prints(command: str, rules: str, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "ratelimit.yaml").write_text(rules)
    assert run(command, tmp_path) == printed_by(command)


def test_the_other_server_says_that_all_is_well(tmp_path: Path) -> None:
    """As the page has it: of the mistakes that `rls check` finds."""
    (tmp_path / "ratelimit.yaml").write_text(MISTAKEN)
    command = [binary(CHECKER), "-config_dir", str(tmp_path)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0
    assert "all rate limit configs ok" in checked.stdout + checked.stderr


def test_every_command_of_the_page_is_run_here() -> None:
    assert [command for command, _ in commands()] == [
        "rls check config/",
        "rls check --for envoyproxy config/",
        "export RLS_CONFIG=/data/ratelimit/config RLS_BACKEND=redis://redis:6379 RLS_KEY_FORMAT=compat",
        "rls serve",
        "rls call old:8081 --domain mesh company_id=acme",
        "rls call new:8081 --domain mesh company_id=acme",
        "redis-cli --scan --pattern 'mesh_*'",
    ]
