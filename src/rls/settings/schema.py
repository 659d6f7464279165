"""The settings: names, types, defaults and help texts. Every flag `--some-name` is also `RLS_SOME_NAME`.

It is one list, and longer than a file should be: whoever looks for a setting looks here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PlainValidator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from rls.settings.values import (
    BackendUrl,
    lowered,
    parse_admin_address,
    parse_backend,
    parse_decision_log,
    parse_drain_timeout,
    parse_duration,
    parse_grpc_address,
    parse_header,
    parse_http_address,
    parse_keys,
    parse_optional_header,
    parse_paths,
    parse_replicas,
    parse_shared_backend,
    parse_transport,
    split,
)

PREFIX = "RLS_"


def variable(name: str) -> str:
    """The environment variable of the setting *name*."""
    return PREFIX + name.upper()


def flag(name: str) -> str:
    """The flag of the setting *name*."""
    return "--" + name.replace("_", "-")


class Flag(NamedTuple):
    """How help shows a setting.

    Attributes:
        panel: Heading in `--help-all`.
        metavar: Placeholder for its value.
        common: Whether `--help` shows it; `--help-all` shows every setting.
    """

    panel: str
    metavar: str = ""
    common: bool = False


Duration = Annotated[float, BeforeValidator(parse_duration)]
Positive = Annotated[Duration, Field(gt=0)]
HeaderName = Annotated[str, PlainValidator(parse_header)]
Count = Annotated[int, Field(ge=1)]
_INT32_MAX = 2**31 - 1
CountOrNone = Annotated[int, Field(ge=0)]
RULES, COUNTING, ANSWERS = "Rules", "Counting", "Answers"
LISTENERS, TLS, LIMITS, PROCESS = "Listeners", "TLS", "Limits", "Process"
DECISIONS = "Decision log"


class Variables(PydanticBaseSettingsSource):
    """Variables of the environment: all in capitals, as no other program takes `rls_grpc` for one. Empty ones count as not set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:  # noqa: ARG002
        """See `PydanticBaseSettingsSource`."""
        return os.environ.get(variable(field_name)) or None, field_name, False

    def __call__(self) -> dict[str, object]:
        """See `PydanticBaseSettingsSource`."""
        names = self.settings_cls.model_fields
        return {name: text for name in names if (text := os.environ.get(variable(name)))}


class Settings(BaseSettings):
    """All settings of a server; read once, never changed. Durations are in seconds."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it reads them in any case
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over variables, which are read as they are spelt."""
        return init_settings, Variables(settings_cls)

    config: Annotated[tuple[Path | str, ...], BeforeValidator(parse_paths), Flag(RULES, "PATH", common=True)] = Field(
        description=(
            "Read rules from this file or directory. Repeatable; RLS_CONFIG takes several, "
            "separated by commas or colons."
        )
    )
    allow_no_rules: Annotated[bool, Flag(RULES)] = Field(False, description="Report ready while no rule is loaded.")

    backend: Annotated[BackendUrl, PlainValidator(parse_backend), Flag(COUNTING, "URL", common=True)] = Field(
        BackendUrl("memory://"),
        description=(
            "Keep counters here: memory:// counts in each process for itself; redis://, "
            "redis+cluster://, redis+sentinel:// and unix:// share counters."
        ),
    )
    per_second_backend: Annotated[BackendUrl | None, PlainValidator(parse_shared_backend), Flag(COUNTING, "URL")] = (
        Field(None, description="Keep counters of one-second windows in this Redis instead of in --backend.")
    )
    backend_timeout: Annotated[Positive, Flag(COUNTING, "DURATION")] = Field(
        0.010, description="Wait this long for the backend; then on_backend_error decides."
    )
    key_format: Annotated[Literal["v1", "compat"], BeforeValidator(lowered), Flag(COUNTING)] = Field(
        "v1", description="Name counters in this format. compat shares them with envoyproxy/ratelimit."
    )
    key_prefix: Annotated[str, Flag(COUNTING, "TEXT")] = Field(
        "", description="Begin the name of every counter with this text; empty for none."
    )
    hash_secret_file: Annotated[Path | None, Flag(COUNTING, "FILE")] = Field(
        None,
        description=(
            "Store and show digests (HMAC) in place of values of requests, with the secret in this file; "
            "without it, the values."
        ),
    )
    hash_keys: Annotated[tuple[str, ...], PlainValidator(parse_keys), Flag(COUNTING, "KEY,…")] = Field(
        (),
        description="Hash only values of these descriptor keys, separated by commas; without it, of all. Repeatable.",
    )
    near_limit_ratio: Annotated[float, Field(gt=0, le=1), Flag(COUNTING, "RATIO")] = Field(
        0.8, description="Count hits above this share of a limit as near the limit; above 0, up to 1."
    )
    expiration_jitter: Annotated[Duration, Flag(COUNTING, "DURATION")] = Field(
        300.0,
        description="Let each counter in Redis expire up to this much later, at random; never later than by its window.",
    )
    on_backend_error: Annotated[
        Literal["local", "allow", "deny", "error"], BeforeValidator(lowered), Flag(COUNTING, common=True)
    ] = Field(
        "local",
        description=(
            "While the backend fails: count locally, allow, deny, or answer UNAVAILABLE (error). A rule's "
            "on_backend_error overrides it."
        ),
    )
    replicas: Annotated[int | str, PlainValidator(parse_replicas), Flag(COUNTING, "COUNT|dns:NAME", common=True)] = (
        Field(
            1,
            description=(
                "Divide limits by this number of servers while the backend fails and each counts "
                "locally. dns:NAME counts the addresses of NAME."
            ),
        )
    )
    refund_over_limit: Annotated[bool, Flag(COUNTING)] = Field(
        False, description="Refund an over-limit request's hits on the limits that it did not exceed."
    )
    over_limit_cache_size: Annotated[CountOrNone, Flag(COUNTING, "COUNT")] = Field(
        100_000,
        description="Remember this many over-limit counters, each for up to 1 s without asking Redis; 0 turns the cache off.",
    )
    memory_counters: Annotated[Count, Flag(COUNTING, "COUNT")] = Field(
        1_000_000, description="Hold at most this many counters with memory://, about 200 bytes each."
    )

    shadow_mode: Annotated[bool, Flag(ANSWERS, common=True)] = Field(
        False, description="Answer OK to every request; count and report as usual."
    )
    quota_mode: Annotated[bool, Flag(ANSWERS)] = Field(False, description="Apply quota_mode to every rule.")
    limit_response_headers_enabled: Annotated[bool, Flag(ANSWERS)] = Field(
        False, description="Add response headers: limit, remaining requests, seconds until reset."
    )
    limit_limit_header: Annotated[HeaderName, Flag(ANSWERS, "NAME")] = Field(
        "RateLimit-Limit", description="Name of the header with the limit."
    )
    limit_remaining_header: Annotated[HeaderName, Flag(ANSWERS, "NAME")] = Field(
        "RateLimit-Remaining", description="Name of the header with the remaining requests."
    )
    limit_reset_header: Annotated[HeaderName, Flag(ANSWERS, "NAME")] = Field(
        "RateLimit-Reset", description="Name of the header with the seconds until reset."
    )
    ietf_headers: Annotated[bool, Flag(ANSWERS)] = Field(
        False,
        description="Add RateLimit and RateLimit-Policy for every limit that applied, and Retry-After to over-limit responses.",
    )
    limited_by_header: Annotated[str, PlainValidator(parse_optional_header), Flag(ANSWERS, "NAME")] = Field(
        "", description="Name the exceeded rule in this header of over-limit responses; empty for no header."
    )
    problem_json: Annotated[bool, Flag(ANSWERS)] = Field(
        False, description="Give over-limit responses an application/problem+json body."
    )
    response_dynamic_metadata: Annotated[bool, Flag(ANSWERS)] = Field(
        False, description="Return the request and the metadata of its rules as dynamic metadata."
    )

    grpc: Annotated[str, PlainValidator(parse_grpc_address), Flag(LISTENERS, "ADDRESS", common=True)] = Field(
        "0.0.0.0:8081", description="Listen here for rate limit checks over gRPC."
    )
    http: Annotated[str, PlainValidator(parse_http_address), Flag(LISTENERS, "ADDRESS", common=True)] = Field(
        "0.0.0.0:8080", description="Listen here for probes, metrics and /json; off disables it."
    )
    json_checks: Annotated[bool, Flag(LISTENERS)] = Field(True, description="Answer checks at /json.")
    json_token_file: Annotated[Path | None, Flag(LISTENERS, "FILE")] = Field(
        None, description="Refund hits at /json for requests with the token in this file; without it, reject refunds."
    )
    admin: Annotated[str, PlainValidator(parse_admin_address), Flag(LISTENERS, "ADDRESS", common=True)] = Field(
        "127.0.0.1:6070", description="Listen here for the admin endpoints; off disables it."
    )
    admin_token_file: Annotated[Path | None, Flag(LISTENERS, "FILE")] = Field(
        None,
        description="Accept changes at --admin, and any request at one not on loopback, with a token in this file.",
    )
    max_overrides: Annotated[CountOrNone, Flag(LISTENERS, "COUNT")] = Field(
        100, description="Let at most this many overrides hold at one time."
    )
    max_override_factor: Annotated[float, Field(ge=0, allow_inf_nan=False), Flag(LISTENERS, "FACTOR")] = Field(
        10.0, description="Let an override raise a rule's limit up to this many times; 0 for any."
    )
    transport: Annotated[Literal["native", "grpcio"], BeforeValidator(parse_transport), Flag(LISTENERS)] = Field(
        "native", description="Serve gRPC with this implementation."
    )
    reflection: Annotated[bool, Flag(LISTENERS)] = Field(
        True, description="Answer gRPC server reflection; with grpcio only."
    )
    max_connection_age: Annotated[Duration, Flag(LISTENERS, "DURATION")] = Field(
        0.0, description="Ask clients to reconnect after this time; 0 for never."
    )
    max_connection_age_grace: Annotated[Duration, Flag(LISTENERS, "DURATION")] = Field(
        10.0, description="Close a connection this long after it was asked to reconnect, even if calls still run."
    )

    tls_cert: Annotated[Path | None, Flag(TLS, "FILE", common=True)] = Field(
        None, description="Serve gRPC over TLS with this certificate chain (PEM)."
    )
    tls_key: Annotated[Path | None, Flag(TLS, "FILE", common=True)] = Field(
        None, description="Private key of --tls-cert (PEM)."
    )
    tls_client_ca: Annotated[Path | None, Flag(TLS, "FILE")] = Field(
        None, description="Accept only clients with a certificate from these authorities (PEM)."
    )
    tls_client_san: Annotated[tuple[str, ...], BeforeValidator(split), Flag(TLS, "NAME")] = Field(
        (), description="Accept only client certificates with this DNS or URI SAN, e.g. a SPIFFE ID. Repeatable."
    )

    max_concurrency: Annotated[CountOrNone, Flag(LIMITS, "COUNT")] = Field(
        128,
        description="Allow this many calls in progress; above it, only the first call of a connection. 0 for no limit.",
    )
    on_overload: Annotated[Literal["error", "deny", "allow"], BeforeValidator(lowered), Flag(LIMITS)] = Field(
        "error",
        description="Answer to calls rejected under overload: RESOURCE_EXHAUSTED (error), OVER_LIMIT (deny) or OK (allow).",
    )
    max_connections: Annotated[CountOrNone, Flag(LIMITS, "COUNT")] = Field(
        10_000, description="Allow this many connections, fewer if the open-files limit is lower; 0 for no limit."
    )
    # HTTP/2 and grpcio keep both as 32 bits, of which one is the sign.
    max_concurrent_streams: Annotated[int, Field(ge=1, le=_INT32_MAX), Flag(LIMITS, "COUNT")] = Field(
        1_000, description="Allow this many calls in progress on each connection."
    )
    # Shorter messages are never measured: transport.grpc_framing.SHORT.
    max_message_bytes: Annotated[int, Field(ge=1024, le=_INT32_MAX), Flag(LIMITS, "BYTES")] = Field(
        1_048_576,
        description="Reject requests larger than this, before or after decompression; in bytes, at least 1024.",
    )
    default_deadline: Annotated[Positive, Flag(LIMITS, "DURATION")] = Field(
        0.020, description="Deadline of calls without grpc-timeout. 20ms is Envoy's default."
    )

    drain_timeout: Annotated[float, BeforeValidator(parse_drain_timeout), Flag(PROCESS, "DURATION", common=True)] = (
        Field(5.0, description="Keep serving this long after SIGTERM, so that callers can move to other servers.")
    )
    allow_unknown_variables: Annotated[bool, Flag(PROCESS)] = Field(
        False, description="Start although the environment has RLS_* variables that are no settings; log each one."
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(lowered), Flag(PROCESS, common=True)
    ] = Field("info", description="Log messages of this level and above.")
    log_format: Annotated[Literal["text", "json"], BeforeValidator(lowered), Flag(PROCESS, common=True)] = Field(
        "text", description="Write log lines as text or as JSON."
    )
    decision_log: Annotated[str, PlainValidator(parse_decision_log), Flag(DECISIONS, "FILE|stdout")] = Field(
        "", description="Log decisions as lines of JSON to this file, or to stdout; empty for no decision log."
    )
    decision_log_rate: Annotated[CountOrNone, Flag(DECISIONS, "COUNT")] = Field(
        100, description="Log at most this many requests a second that exceed a limit or fail."
    )
    decision_log_share: Annotated[float, Field(ge=0, le=1), Flag(DECISIONS, "RATIO")] = Field(
        0.0, description="Log this share of all other requests, at most 1,000 a second; 0 to 1."
    )
    decision_log_rules: Annotated[tuple[str, ...], BeforeValidator(split), Flag(DECISIONS, "RULE")] = Field(
        (), description="Log only decisions by rules with this name or path. Repeatable."
    )
