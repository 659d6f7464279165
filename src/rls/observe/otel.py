"""What OpenTelemetry's environment variables say about traces. What only concerns the exporter, the exporter reads itself:
here it is only checked, since the exporter starts late and stumbles over it without a name.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/. As the specification has it, a value
that cannot be used is reported and passed over: a server is not to fail for its traces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from rls.addresses import redacted, split_host, split_url
from rls.observe.sampling import DEFAULT_SAMPLER, Sampler, named_sampler
from rls.observe.trace_context import FORMATS

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NO_FORMATS = frozenset({"baggage", "none"})
"""Names in OTEL_PROPAGATORS that bring no trace context."""
_GRPC_TARGET = re.compile(r"[^/\s]+:\d{1,5}|(?:unix|unix-abstract|dns|ipv4|ipv6|xds):\S+")
"""What gRPC dials besides a URL, with TLS unless OTEL_EXPORTER_OTLP_INSECURE says otherwise."""
PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
"""Values of OTEL_EXPORTER_OTLP_PROTOCOL → names of exporters."""
DEFAULT_QUEUE, DEFAULT_DELAY, DEFAULT_BATCH = 8_192, 1.0, 512


class TraceVariables(NamedTuple):
    """How traces are recorded.

    Attributes:
        exporter: Name of the exporter, as in OTEL_TRACES_EXPORTER; "" where traces are off.
        sampler: Which traces are recorded.
        formats: The formats of trace context that are read, in their order; names of `trace_context.FORMATS`.
        queue: The most spans that wait to be exported (OTEL_BSP_MAX_QUEUE_SIZE).
        delay: The longest that a span waits for others, in seconds (OTEL_BSP_SCHEDULE_DELAY).
        problems: What could not be used, each in a sentence.
    """

    exporter: str = ""
    sampler: Sampler = named_sampler(DEFAULT_SAMPLER)
    formats: tuple[str, ...] = tuple(FORMATS)
    queue: int = DEFAULT_QUEUE
    delay: float = DEFAULT_DELAY
    problems: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> TraceVariables:
        """What the variables of *environ* say; an empty one counts as not set."""
        given = _given(environ)
        exporter = given.get("OTEL_TRACES_EXPORTER", "otlp" if any(name in given for name in _ENDPOINTS) else "")
        if exporter == "none" or given.get("OTEL_SDK_DISABLED", "").lower() == "true":
            exporter = ""
        problems: list[str] = []
        try:
            chosen = named_sampler(
                given.get("OTEL_TRACES_SAMPLER", DEFAULT_SAMPLER), given.get("OTEL_TRACES_SAMPLER_ARG", "")
            )
        except ValueError as error:
            problems.append(f"{error}; {DEFAULT_SAMPLER} is used")
            chosen = named_sampler(DEFAULT_SAMPLER)
        if exporter == "otlp":
            problems += [*_wrong_endpoint(given), *_wrong_headers(given)]
        problems += [f"{mistake}; the default is used" for mistake in exporter_mistakes(environ).values()]
        return cls(
            exporter,
            chosen,
            _formats(given, problems),
            int(_number(given, "OTEL_BSP_MAX_QUEUE_SIZE", DEFAULT_QUEUE, problems)),
            _number(given, "OTEL_BSP_SCHEDULE_DELAY", 1000 * DEFAULT_DELAY, problems) / 1000,
            tuple(problems) if exporter else (),
        )


def exporter_mistakes(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables of *environ* that the exporter reads and cannot use, each with what is wrong."""
    checks: dict[str, Callable[[str], str]] = {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": _wrong_protocol,
        "OTEL_EXPORTER_OTLP_PROTOCOL": _wrong_protocol,
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": _wrong_timeout,
        "OTEL_EXPORTER_OTLP_TIMEOUT": _wrong_timeout,
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": _wrong_count,
    }
    given = _given(environ)
    wrong = {name: check(given[name]) for name, check in checks.items() if name in given}
    return {name: f"{name} is {given[name]!r}, expected {expected}" for name, expected in wrong.items() if expected}


def _given(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}


def _wrong_endpoint(given: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the address of the collector; the exporter tries it all the same."""
    name = next((name for name in _ENDPOINTS if name in given), "")
    protocols = (given.get(f"OTEL_EXPORTER_OTLP_{part}PROTOCOL", "") for part in ("TRACES_", ""))
    is_grpc = next((one for one in protocols if one in PROTOCOLS), "grpc") == "grpc"
    if not name or _is_url(given[name]) or (is_grpc and _GRPC_TARGET.fullmatch(given[name])):
        return
    expected = f"a URL such as http://collector:{4317 if is_grpc else 4318}"
    yield f"{name} is {redacted(given[name])!r}, expected {expected}; no spans will arrive"


def _is_url(text: str) -> bool:
    parts = split_url(text)
    try:
        host, _ = split_host(parts.netloc.rpartition("@")[2])
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host)


def _wrong_headers(given: Mapping[str, str]) -> Iterator[str]:
    """Headers may hold secrets, so they are not shown."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"):
        items = [item.partition("=") for item in given.get(name, "").split(",") if item.strip()]
        if not all(header.strip() and equals for header, equals, _ in items):
            yield f"{name} has an item that is no header, expected NAME=VALUE,NAME=VALUE; it is left out"


def _wrong_protocol(text: str) -> str:
    return "" if text in PROTOCOLS else f"one of: {', '.join(PROTOCOLS)}"


def _wrong_timeout(text: str) -> str:
    try:
        is_good = 0 < float(text) < float("inf")
    except ValueError:
        is_good = False
    return "" if is_good else "a number of seconds above 0"


def _wrong_count(text: str) -> str:
    return "" if _is_count(text) else "a whole number from 1"


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) >= 1


def _formats(given: Mapping[str, str], problems: list[str]) -> tuple[str, ...]:
    names = [name.strip() for name in given.get("OTEL_PROPAGATORS", ",".join(FORMATS)).split(",")]
    unknown = [name for name in names if name and name not in FORMATS and name not in _NO_FORMATS]
    if unknown:
        problems.append(f"OTEL_PROPAGATORS has {', '.join(unknown)}, expected some of: {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(name for name in names if name in FORMATS))


def _number(given: Mapping[str, str], name: str, default: float, problems: list[str]) -> float:
    """A number of at least 1."""
    text = given.get(name)
    if text is None:
        return default
    if _is_count(text):
        return float(min(int(text), _MOST))
    problems.append(f"{name} is {text!r}, expected a whole number from 1; {default:g} is used")
    return default


_MOST = 1_000_000
