"""Environment variables of envoyproxy/ratelimit: each has a setting in its place, or a reason why it has none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from rls.settings.schema import flag, variable

_NO_XDS = "no xDS: rules are read from files"
_NO_MEMCACHED = "no Memcached: the old server reads before it adds, which lets too many requests pass"
_NO_STATSD = "no statsd: Prometheus scrapes `/metrics`"
_LABELS = "metrics have labels, so nothing needs a mapping"
_NO_PIPELINE = "hits are batched while the previous write is in flight, without a timer"
_NO_POOL = "no pool: all calls share one connection to each node"
SAME = "the same value"
"""What is to be known of a setting that takes over the value."""
KEPT = "the same variables here"
"""What is to be known of variables that keep their names, and their effect."""

VARIABLES = {
    # Listeners
    "HOST": ("http", "with the port: `0.0.0.0:8080`, `[::]:8080`"),
    "PORT": ("http", "with the host: `0.0.0.0:8080`, `[::]:8080`"),
    "GRPC_HOST": ("grpc", "with the port: `0.0.0.0:8081`, `[::]:8081`"),
    "GRPC_PORT": ("grpc", "with the host: `0.0.0.0:8081`, `[::]:8081`"),
    "GRPC_UDS": ("grpc", "`unix:/path`"),
    "DEBUG_HOST": ("admin", "with the port; `127.0.0.1:6070` by default"),
    "DEBUG_PORT": ("admin", "with the host; `127.0.0.1:6070` by default"),
    "GRPC_MAX_CONNECTION_AGE": (
        "max_connection_age",
        "no maximum by default: Istio balances each call, not each connection",
    ),
    "GRPC_MAX_CONNECTION_AGE_GRACE": ("max_connection_age_grace", "10 s by default, not an hour"),
    "GRPC_SERVER_USE_TLS": ("", "TLS is on when `RLS_TLS_CERT` is set"),
    "GRPC_SERVER_TLS_CERT": ("tls_cert", SAME),
    "GRPC_SERVER_TLS_KEY": ("tls_key", SAME),
    "GRPC_CLIENT_TLS_CACERT": ("tls_client_ca", "only these authorities are trusted, not the system's"),
    "GRPC_CLIENT_TLS_SAN": ("tls_client_san", "one or more, separated by commas; URIs such as SPIFFE IDs work too"),
    # Rules
    "RUNTIME_ROOT": ("config", "the path `RUNTIME_ROOT/RUNTIME_SUBDIRECTORY/config`"),
    "RUNTIME_SUBDIRECTORY": ("config", "the path `RUNTIME_ROOT/RUNTIME_SUBDIRECTORY/config`"),
    "RUNTIME_APPDIRECTORY": ("config", "the last part of the path; `config` by default there"),
    "RUNTIME_IGNOREDOTFILES": ("", "names that begin with a dot are never read"),
    "RUNTIME_WATCH_ROOT": (
        "config",
        "with `true`, its default, the old server also reads `config.*` beside `config`, files and directories: name each of them",
    ),
    "MERGE_DOMAIN_CONFIG": ("", "files of one domain are always merged"),
    "FORCE_START_WITHOUT_INITIAL_CONFIG": (
        "",
        "`rls` starts with bad rules, and is not ready; it does not start when a path is missing",
    ),
    "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED": ("", "`rls` is never ready before rules are loaded"),
    "CONFIG_TYPE": ("", "rules are read from files only"),
    "CONFIG_GRPC_XDS_NODE_ID": ("", _NO_XDS),
    "CONFIG_GRPC_XDS_NODE_METADATA": ("", _NO_XDS),
    "CONFIG_GRPC_XDS_SERVER_URL": ("", _NO_XDS),
    "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL": ("", _NO_XDS),
    "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS": ("", _NO_XDS),
    "CONFIG_GRPC_XDS_SERVER_USE_TLS": ("", _NO_XDS),
    "CONFIG_GRPC_XDS_CLIENT_TLS_CERT": ("", _NO_XDS),
    "CONFIG_GRPC_XDS_CLIENT_TLS_KEY": ("", _NO_XDS),
    "CONFIG_GRPC_XDS_SERVER_TLS_CACERT": ("", _NO_XDS),
    "CONFIG_GRPC_XDS_SERVER_TLS_SAN": ("", _NO_XDS),
    "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL": ("", _NO_XDS),
    "XDS_CLIENT_BACKOFF_MAX_INTERVAL": ("", _NO_XDS),
    "XDS_CLIENT_BACKOFF_RANDOM_FACTOR": ("", _NO_XDS),
    "XDS_CLIENT_BACKOFF_JITTER": ("", _NO_XDS),
    "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES": ("", _NO_XDS),
    # Counting and answers
    "BACKEND_TYPE": ("backend", "the scheme of the URL; no Memcached"),
    "CACHE_KEY_PREFIX": ("key_prefix", SAME),
    "EXPIRATION_JITTER_MAX_SECONDS": (
        "expiration_jitter",
        "a duration, never more than the window; 300 s by default, as before",
    ),
    "LOCAL_CACHE_SIZE_IN_BYTES": ("over_limit_cache_size", "counters, not bytes; on by default, 0 turns it off"),
    "NEAR_LIMIT_RATIO": ("near_limit_ratio", SAME),
    "STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT": (
        "refund_over_limit",
        "refunds an over-limit request's hits on the limits that it did not exceed",
    ),
    "USE_CALENDAR_MONTH_RATE_LIMIT": ("", "newer than `f2fb157`; here a month is always 30 days, as with `false`"),
    "SHADOW_MODE": ("shadow_mode", SAME),
    "QUOTA_MODE": ("quota_mode", SAME),
    "LIMIT_RESPONSE_HEADERS_ENABLED": ("limit_response_headers_enabled", SAME),
    "LIMIT_LIMIT_HEADER": ("limit_limit_header", SAME),
    "LIMIT_REMAINING_HEADER": ("limit_remaining_header", SAME),
    "LIMIT_RESET_HEADER": ("limit_reset_header", SAME),
    "RESPONSE_DYNAMIC_METADATA": ("response_dynamic_metadata", SAME),
    # Redis
    "REDIS_URL": ("backend", "`host:6379` becomes `redis://host:6379`"),
    "REDIS_SOCKET_TYPE": ("backend", "with `unix`, `unix:///path/to/socket`; with `tcp`, `redis://host:6379`"),
    "REDIS_TYPE": (
        "backend",
        "with `cluster`, `redis+cluster://host:6379,host:6379`; with `sentinel`, `redis+sentinel://host:26379,host:26379/NAME`",
    ),
    "REDIS_AUTH": ("backend", "`redis://:password@host:6379` or `redis://user:password@host:6379`"),
    "REDIS_TLS": ("backend", "`rediss://host:6379`"),
    "REDIS_TLS_CACERT": ("backend", "`rediss://host:6379?ssl_ca_certs=/path`"),
    "REDIS_TLS_CLIENT_CERT": ("backend", "`rediss://host:6379?ssl_certfile=/path`"),
    "REDIS_TLS_CLIENT_KEY": ("backend", "`rediss://host:6379?ssl_keyfile=/path`"),
    "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION": ("backend", "`rediss://host:6379?ssl_check_hostname=false`"),
    "REDIS_TIMEOUT": (
        "backend_timeout",
        "limits the whole wait of a call, not only of a connection attempt; `10ms` by default",
    ),
    "REDIS_POOL_SIZE": ("", _NO_POOL),
    "REDIS_POOL_ON_EMPTY_BEHAVIOR": ("", _NO_POOL),
    "REDIS_PIPELINE_WINDOW": ("", _NO_PIPELINE),
    "REDIS_PIPELINE_LIMIT": ("", _NO_PIPELINE),
    "REDIS_CLUSTER_PIPELINE_PARALLELISM": ("", "all nodes are always queried in parallel"),
    "REDIS_SENTINEL_AUTH": (
        "backend",
        "`redis+sentinel://host:26379/NAME?sentinel_password=…`, and `&sentinel_username=…`",
    ),
    "REDIS_HEALTH_CHECK_ACTIVE_CONNECTION": ("on_backend_error", "`error`: not ready while Redis does not answer"),
    "REDIS_STARTUP_INITIAL_INTERVAL": ("", "`rls` starts without Redis and retries until it answers"),
    "REDIS_STARTUP_MAX_INTERVAL": ("", "`rls` retries at least every 0.2 s; an attempt takes at most 0.5 s"),
    "REDIS_STARTUP_MAX_ELAPSED_TIME": ("", "`rls` never gives up"),
    "REDIS_PERSECOND": ("per_second_backend", "a URL turns it on"),
    "REDIS_PERSECOND_SOCKET_TYPE": ("per_second_backend", "a URL of its own, written as for `REDIS_SOCKET_TYPE`"),
    "REDIS_PERSECOND_TYPE": ("per_second_backend", "a URL of its own, written as for `REDIS_TYPE`"),
    "REDIS_PERSECOND_URL": ("per_second_backend", "a URL of its own, written as for `REDIS_URL`"),
    "REDIS_PERSECOND_POOL_SIZE": ("", _NO_POOL),
    "REDIS_PERSECOND_AUTH": ("per_second_backend", "a URL of its own, written as for `REDIS_AUTH`"),
    "REDIS_PERSECOND_TLS": ("per_second_backend", "a URL of its own, written as for `REDIS_TLS`"),
    "REDIS_PERSECOND_PIPELINE_WINDOW": ("", _NO_PIPELINE),
    "REDIS_PERSECOND_PIPELINE_LIMIT": ("", _NO_PIPELINE),
    "REDIS_PERSECOND_CLUSTER_PIPELINE_PARALLELISM": ("", "all nodes are always queried in parallel"),
    "REDIS_PERSECOND_SENTINEL_AUTH": ("per_second_backend", "a URL of its own, written as for `REDIS_SENTINEL_AUTH`"),
    "REDIS_PERSECOND_TIMEOUT": ("backend_timeout", "the same timeout holds for both"),
    "REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR": ("", _NO_POOL),
    # Memcached
    "MEMCACHE_HOST_PORT": ("", _NO_MEMCACHED),
    "MEMCACHE_SRV": ("", _NO_MEMCACHED),
    "MEMCACHE_SRV_REFRESH": ("", _NO_MEMCACHED),
    "MEMCACHE_MAX_IDLE_CONNS": ("", _NO_MEMCACHED),
    "MEMCACHE_TLS": ("", _NO_MEMCACHED),
    "MEMCACHE_TLS_CLIENT_CERT": ("", _NO_MEMCACHED),
    "MEMCACHE_TLS_CLIENT_KEY": ("", _NO_MEMCACHED),
    "MEMCACHE_TLS_CACERT": ("", _NO_MEMCACHED),
    "MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION": ("", _NO_MEMCACHED),
    # Logs, metrics, traces
    "LOG_LEVEL": (
        "log_level",
        "`debug`, `info`, `warning` or `error`; `warn` and `fatal` are read, too. `info` by default, which logs nothing for a request",
    ),
    "LOG_FORMAT": ("log_format", "the same value: `text` or `json`"),
    "USE_PROMETHEUS": ("", "`/metrics` is always there"),
    "PROMETHEUS_ADDR": ("http", "`/metrics` is on the HTTP port"),
    "PROMETHEUS_PATH": ("", "the path is always `/metrics`"),
    "PROMETHEUS_MAPPER_YAML": ("", _LABELS),
    "PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS": ("", "always seconds"),
    "USE_STATSD": ("", _NO_STATSD),
    "STATSD_HOST": ("", _NO_STATSD),
    "STATSD_PORT": ("", _NO_STATSD),
    "STATSD_PROTOCOL": ("", _NO_STATSD),
    "USE_DOG_STATSD": ("", "no statsd: the Datadog agent can scrape `/metrics`"),
    "USE_DOG_STATSD_MOGRIFIERS": ("", _LABELS),
    "DOG_STATSD_MOGRIFIER_<NAME>_PATTERN": ("", _LABELS),
    "DOG_STATSD_MOGRIFIER_<NAME>_NAME": ("", _LABELS),
    "DOG_STATSD_MOGRIFIER_<NAME>_TAGS": ("", _LABELS),
    "GOSTATS_FLUSH_INTERVAL_SECONDS": ("", _NO_STATSD),
    "GOSTATS_LOGGING_SINK_DISABLED": ("", _NO_STATSD),
    "EXTRA_TAGS": ("", "set labels for all metrics of a server where it is scraped"),
    "STATS_FLUSH_INTERVAL": ("", "nothing is flushed: a scrape shows the current numbers"),
    "DISABLE_STATS": ("", "metrics are always counted"),
    "TRACING_ENABLED": ("", "`OTEL_EXPORTER_OTLP_ENDPOINT` switches traces on"),
    "TRACING_SERVICE_NAME": ("", "`OTEL_SERVICE_NAME`; `rls` by default"),
    "TRACING_SERVICE_NAMESPACE": ("", "`OTEL_RESOURCE_ATTRIBUTES`, with `service.namespace=…`"),
    "TRACING_SERVICE_INSTANCE_ID": ("", "`OTEL_RESOURCE_ATTRIBUTES`, with `service.instance.id=…`"),
    "TRACING_EXPORTER_PROTOCOL": ("", "`OTEL_EXPORTER_OTLP_PROTOCOL`: `grpc`, the default, or `http/protobuf`"),
    "TRACING_SAMPLING_RATE": ("", "`OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`; Envoy decides by default"),
    "OTEL_EXPORTER_OTLP_*": ("", KEPT),
}
"""Variable → (the name of our setting, "" without one; what to know). A name with `<NAME>` or `*` stands for several.

These are the variables of envoyproxy/ratelimit at f2fb157, and one that is newer. docs/migration.md shows the same rows.
"""

GENERIC = re.compile(
    r"(?:GRPC_|DEBUG_)?(?:HOST|PORT) | GRPC_(?:UDS|MAX_CONNECTION_AGE(?:_GRACE)?|(?:SERVER|CLIENT)_(?:USE_)?TLS(?:_\w+)?)"
    r"| (?:BACKEND|CONFIG)_TYPE | CACHE_KEY_PREFIX | REDIS_(?:URL|TYPE|AUTH|TIMEOUT|POOL_SIZE|TLS(?:_\w+)?)"
    r"| LOG_(?:LEVEL|FORMAT) | PROMETHEUS_(?:ADDR|PATH) | USE_(?:PROMETHEUS|STATSD|DOG_STATSD) | (?:GO)?STATSD?_\w+"
    r"| EXTRA_TAGS | DISABLE_STATS | TRACING_\w+ | OTEL_\w+",
    re.VERBOSE,
)
"""Names that other programs read as well: a shell, a platform or a shared ConfigMap may set them for somebody else.

They are reported only beside a variable that no other program reads. Each Deployment of the old server has one:
RUNTIME_SUBDIRECTORY or CONFIG_GRPC_XDS_*, which say where its rules are.
"""

# Kubernetes sets PORT variables for each Service in the namespace: STATSD_PORT=tcp://10.0.0.7:8125 for one called `statsd`.
_KUBERNETES_PORT = re.compile(r"(?:tcp|udp|sctp)://", re.IGNORECASE)


def left_over(environ: Mapping[str, str]) -> Iterator[str]:
    """A warning for each variable of envoyproxy/ratelimit in *environ*, without its value."""
    found = {
        name: known
        for name in sorted(environ)
        if environ[name] and not _KUBERNETES_PORT.match(environ[name]) and (known := known_as(name))
        if VARIABLES[known][1] != KEPT
    }
    if all(GENERIC.fullmatch(name) for name in found):
        return
    for name, known in found.items():
        setting, remark = VARIABLES[known]
        instead = f"use {variable(setting)} ({flag(setting)}): {remark}" if setting else remark
        yield f"{name} is a variable of envoyproxy/ratelimit and has no effect here: {instead}"


def known_as(name: str) -> str:
    """The name in `VARIABLES` that *name* goes by; "" where it is another program's."""
    if name in VARIABLES:
        return name
    return next((pattern for pattern in _PATTERNS if fnmatchcase(name, _PATTERNS[pattern])), "")


_PATTERNS = {
    name: name.replace("<NAME>", "?*").replace("OTLP_*", "OTLP_?*") for name in VARIABLES if not name.isidentifier()
}
