"""The settings: names, types, defaults and what they are for. Every flag `--some-name` is also `RLS_SOME_NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PlainValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rls.settings.values import (
    BackendUrl,
    lowered,
    parse_admin_address,
    parse_backend,
    parse_duration,
    parse_grpc_address,
    parse_header,
    parse_http_address,
    parse_optional_header,
    parse_paths,
    parse_replicas,
    parse_shared_backend,
    parse_transport,
    split,
)

PREFIX = "RLS_"


class Flag(NamedTuple):
    """How a setting is shown in help: under which heading, and what stands for its value."""

    panel: str
    metavar: str = ""


Duration = Annotated[float, BeforeValidator(parse_duration)]
Positive = Annotated[Duration, Field(gt=0)]
HeaderName = Annotated[str, PlainValidator(parse_header)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
RULES, COUNTING, ANSWERS = "Rules", "Counting", "Answers"
LISTENERS, TLS, LIMITS, PROCESS = "Listeners", "TLS", "Limits", "Process"


class Settings(BaseSettings):
    """Everything that a server can be told; read once, never changed. Durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    config: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(parse_paths), Flag(RULES, "PATH")] = Field(
        description="File or directory of rules; may be repeated (in the environment: separated by commas or colons)."
    )
    allow_no_rules: Annotated[bool, Flag(RULES)] = Field(
        False, description="Be ready without any rule. Otherwise a server without rules is not ready."
    )

    backend: Annotated[BackendUrl, PlainValidator(parse_backend), Flag(COUNTING, "URL")] = Field(
        BackendUrl("memory://"),
        description="Where the counters are: memory://, redis://, redis+cluster://, redis+sentinel:// or unix://.",
    )
    per_second_backend: Annotated[BackendUrl | None, PlainValidator(parse_shared_backend), Flag(COUNTING, "URL")] = (
        Field(None, description="Where counters of windows of one second are; where it is not set, with the others.")
    )
    backend_timeout: Annotated[Positive, Flag(COUNTING, "DURATION")] = Field(
        0.010, description="Longest that a call waits for the backend."
    )
    key_format: Annotated[Literal["v1", "compat"], BeforeValidator(lowered), Flag(COUNTING)] = Field(
        "v1", description="How counters are named; compat shares them with envoyproxy/ratelimit."
    )
    key_prefix: Annotated[str, Flag(COUNTING, "TEXT")] = Field("", description="Put before every counter's name.")
    near_limit_ratio: Annotated[float, Field(gt=0, le=1), Flag(COUNTING, "RATIO")] = Field(
        0.8, description="Share of a limit above which hits count as near it."
    )
    expiration_jitter: Annotated[Duration, Flag(COUNTING, "DURATION")] = Field(
        300.0, description="Up to this much is added to a counter's life, but never more than its window."
    )
    on_backend_error: Annotated[
        Literal["local", "allow", "deny", "error"], BeforeValidator(lowered), Flag(COUNTING)
    ] = Field("local", description="What decides while the backend fails, for rules that do not say it themselves.")
    replicas: Annotated[int | str, PlainValidator(parse_replicas), Flag(COUNTING, "COUNT|dns:NAME")] = Field(
        1,
        description="Servers that share the limits: how many, or a DNS name with an address for each; while a server "
        "counts alone, it takes its part.",
    )
    refund_over_limit: Annotated[bool, Flag(COUNTING)] = Field(
        False, description="Refund an over-limit request's hits on the limits that it did not exceed."
    )
    over_limit_cache_size: Annotated[CountOrNone, Flag(COUNTING, "COUNT")] = Field(
        100_000,
        description="Counters over their limit to remember, each for a second before it is asked for again; 0 for none.",
    )
    memory_counters: Annotated[Count, Flag(COUNTING, "COUNT")] = Field(
        1_000_000, description="Counters that a pod holds with memory://; about 200 bytes each."
    )

    shadow_mode: Annotated[bool, Flag(ANSWERS)] = Field(False, description="Answer OK whatever the rules say.")
    quota_mode: Annotated[bool, Flag(ANSWERS)] = Field(False, description="Treat every rule as if it had quota_mode.")
    limit_response_headers_enabled: Annotated[bool, Flag(ANSWERS)] = Field(
        False, description="Add the limit, what remains and the seconds until the reset as response headers."
    )
    limit_limit_header: Annotated[HeaderName, Flag(ANSWERS, "NAME")] = Field(
        "RateLimit-Limit", description="Header that holds the limit."
    )
    limit_remaining_header: Annotated[HeaderName, Flag(ANSWERS, "NAME")] = Field(
        "RateLimit-Remaining", description="Header that holds what remains."
    )
    limit_reset_header: Annotated[HeaderName, Flag(ANSWERS, "NAME")] = Field(
        "RateLimit-Reset", description="Header that holds the seconds until the reset."
    )
    ietf_headers: Annotated[bool, Flag(ANSWERS)] = Field(
        False,
        description="Add RateLimit and RateLimit-Policy for every limit that applied, and Retry-After to refusals.",
    )
    refusal_header: Annotated[str, PlainValidator(parse_optional_header), Flag(ANSWERS, "NAME")] = Field(
        "", description="Header that names the rule that refused; none where empty."
    )
    problem_json: Annotated[bool, Flag(ANSWERS)] = Field(
        False, description="Give refused requests an application/problem+json body."
    )
    response_dynamic_metadata: Annotated[bool, Flag(ANSWERS)] = Field(
        False, description="Return the request and the rules' metadata as dynamic metadata."
    )

    grpc: Annotated[str, PlainValidator(parse_grpc_address), Flag(LISTENERS, "ADDRESS")] = Field(
        "0.0.0.0:8081", description="Where Envoy calls."
    )
    http: Annotated[str, PlainValidator(parse_http_address), Flag(LISTENERS, "ADDRESS")] = Field(
        "0.0.0.0:8080", description="Health, readiness, metrics and /json; off for none."
    )
    json_checks: Annotated[bool, Flag(LISTENERS)] = Field(True, description="Answer checks at /json.")
    json_token_file: Annotated[Path | None, Flag(LISTENERS, "FILE")] = Field(
        None, description="Token that a request to /json must show to give hits back; without it none may."
    )
    admin: Annotated[str, PlainValidator(parse_admin_address), Flag(LISTENERS, "ADDRESS")] = Field(
        "127.0.0.1:6070", description="Everything that shows or changes state; off for none."
    )
    transport: Annotated[Literal["native", "grpcio"], BeforeValidator(parse_transport), Flag(LISTENERS)] = Field(
        "native", description="What speaks gRPC."
    )
    reflection: Annotated[bool, Flag(LISTENERS)] = Field(
        True, description="Answer gRPC server reflection (grpcio only)."
    )
    max_connection_age: Annotated[Duration, Flag(LISTENERS, "DURATION")] = Field(
        0.0, description="Ask clients to reconnect after this long; 0 for never."
    )
    max_connection_age_grace: Annotated[Duration, Flag(LISTENERS, "DURATION")] = Field(
        10.0, description="Calls that still run so long after that are cut off."
    )

    tls_cert: Annotated[Path | None, Flag(TLS, "FILE")] = Field(None, description="Certificate chain (PEM) for gRPC.")
    tls_key: Annotated[Path | None, Flag(TLS, "FILE")] = Field(None, description="Its private key (PEM).")
    tls_client_ca: Annotated[Path | None, Flag(TLS, "FILE")] = Field(
        None, description="Clients must show a certificate signed by one of these (PEM)."
    )
    tls_client_san: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split), Flag(TLS, "NAME")] = Field(
        (), description="and that names this DNS name or URI (SPIFFE ID); may be repeated."
    )

    max_concurrency: Annotated[CountOrNone, Flag(LIMITS, "COUNT")] = Field(
        128,
        description="Calls that may be in progress at one time; over it, only the first call of a connection is let in. "
        "0 for no limit.",
    )
    on_overload: Annotated[Literal["error", "deny", "allow"], BeforeValidator(lowered), Flag(LIMITS)] = Field(
        "error", description="What a call is answered with that is shed: an error, OVER_LIMIT or OK."
    )
    max_connections: Annotated[CountOrNone, Flag(LIMITS, "COUNT")] = Field(
        10_000, description="Connections at one time, as far as the limit on open files allows; 0 for no limit."
    )
    max_streams: Annotated[Count, Flag(LIMITS, "COUNT")] = Field(
        1_000, description="Calls at one time on a connection."
    )
    # Shorter messages are never measured: transport.wire.SHORT.
    max_message_bytes: Annotated[int, Field(ge=1024), Flag(LIMITS, "BYTES")] = Field(
        1_048_576, description="Size of a request, sent and inflated; at least 1024."
    )
    caller_timeout: Annotated[Positive, Flag(LIMITS, "DURATION")] = Field(
        0.020, description="Deadline of a call that sends none; Envoy's default."
    )

    drain: Annotated[Duration, Flag(PROCESS, "DURATION")] = Field(
        5.0, description="How long calls are still served after SIGTERM, so that callers can go elsewhere."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lowered), Flag(PROCESS)] = Field(
        "info", description="Least severe messages that are logged."
    )
    log_format: Annotated[Literal["text", "json"], BeforeValidator(lowered), Flag(PROCESS)] = Field(
        "text", description="How messages are logged."
    )
