"""The trace that a caller continues: W3C Trace Context, and B3 in one header or in several (openzipkin/b3-propagation)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

Read: TypeAlias = Callable[[str], str | None]
"""The value of a metadata name, in lower case; None without one."""


class TraceContext(NamedTuple):
    """The caller's span.

    Attributes:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        sampled: Whether the caller records its trace.
        state: `tracestate`, as sent; "" without one.
    """

    trace_id: int
    span_id: int
    sampled: bool
    state: str = ""


# Trace Context, section 3.2.2. A later version may have more fields after these; ff is invalid.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_B3 = re.compile(r"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?", re.ASCII)
_TRACE_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{16}", re.ASCII)
_SPAN_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_LONGEST_STATE = 512


def w3c(read: Read) -> TraceContext | None:
    """From `traceparent` and `tracestate`."""
    found = _TRACEPARENT.fullmatch((read("traceparent") or "").strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "00" and more is not None:
        return None
    state = read("tracestate") or ""
    # Section 3.3.1.1: at least 512 characters are to be passed on, and what is cut would be wrong.
    state = state if len(state) <= _LONGEST_STATE and state.isascii() and state.isprintable() else ""
    return _valid(trace_id, span_id, sampled=bool(int(flags, 16) & 1), state=state)


def b3_single(read: Read) -> TraceContext | None:
    """From `b3`."""
    found = _B3.fullmatch((read("b3") or "").strip().lower())
    if found is None:
        return None
    trace_id, span_id, state = found.groups()
    return _valid(trace_id, span_id, sampled=state in ("1", "d"))


def b3_multi(read: Read) -> TraceContext | None:
    """From `x-b3-traceid` and its kin."""
    trace_id, span_id = ((read(f"x-b3-{name}") or "").strip().lower() for name in ("traceid", "spanid"))
    if not _TRACE_ID.fullmatch(trace_id) or not _SPAN_ID.fullmatch(span_id):
        return None
    sampled = read("x-b3-sampled") in ("1", "true", "True") or read("x-b3-flags") == "1"
    return _valid(trace_id, span_id, sampled=sampled)


def trace_id_text(context: TraceContext | None) -> str:
    """Its trace ID as 32 hex digits; "" of None."""
    return "" if context is None else f"{context.trace_id:032x}"


def _valid(trace_id: str, span_id: str, *, sampled: bool, state: str = "") -> TraceContext | None:
    context = TraceContext(int(trace_id, 16), int(span_id, 16), sampled, state)
    return context if context.trace_id and context.span_id else None


FORMATS: Mapping[str, Callable[[Read], TraceContext | None]] = {
    "tracecontext": w3c,
    "b3": b3_single,
    "b3multi": b3_multi,
}
"""By their names in OTEL_PROPAGATORS."""


def trace_context(read: Read, formats: Sequence[str] = tuple(FORMATS)) -> TraceContext | None:
    """The caller's trace context in the first of *formats* that it has; None where it has none that is valid."""
    for name in formats:
        found = FORMATS[name](read)
        if found is not None:
            return found
    return None
