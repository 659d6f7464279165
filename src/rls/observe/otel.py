"""What OpenTelemetry's environment variables say about traces. What only concerns the exporter, the exporter reads itself.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/. As the specification has it, a value
that cannot be used is reported and passed over: a server is not to fail for its traces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rls.observe.sampling import DEFAULT_SAMPLER, Sampler, named_sampler
from rls.observe.trace_context import FORMATS

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NO_FORMATS = frozenset({"baggage", "none"})
"""Names in OTEL_PROPAGATORS that bring no trace context."""
DEFAULT_QUEUE, DEFAULT_DELAY = 8_192, 1.0


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
        given = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
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
        return cls(
            exporter,
            chosen,
            _formats(given, problems),
            int(_number(given, "OTEL_BSP_MAX_QUEUE_SIZE", DEFAULT_QUEUE, problems)),
            _number(given, "OTEL_BSP_SCHEDULE_DELAY", 1000 * DEFAULT_DELAY, problems) / 1000,
            tuple(problems) if exporter else (),
        )


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
    if text.isascii() and text.isdecimal() and int(text) >= 1:
        return float(min(int(text), _MOST))
    problems.append(f"{name} is {text!r}, expected a whole number from 1; {default:g} is used")
    return default


_MOST = 1_000_000
