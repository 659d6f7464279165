"""Which traces are recorded: the samplers that OTEL_TRACES_SAMPLER names (OpenTelemetry's Tracing SDK, "Built-in samplers")."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rls.observe.trace_context import TraceContext

_ID_BITS = 64
DEFAULT_SAMPLER = "parentbased_always_off"
"""The caller decides, and nobody else: `rls` begins no trace of its own."""


class Sampler(NamedTuple):
    """Decides for each call.

    Attributes:
        by_parent: Whether the caller's trace decides, for a call that has one: it is recorded if the caller records it.
        share: Of all other traces, the share that is recorded, 0 to 1. The trace ID decides, so that all services with
            the same share record the same traces.
    """

    by_parent: bool
    share: float

    @property
    def begins(self) -> bool:
        """Whether a call may be recorded although its caller is not."""
        return self.share > 0

    def takes(self, parent: TraceContext | None, trace_id: int) -> bool:
        """Whether to record a call of the trace *trace_id*, whose caller is *parent*."""
        if self.by_parent and parent is not None:
            return parent.sampled
        low = trace_id & (1 << _ID_BITS) - 1
        return low < round(self.share * (1 << _ID_BITS))


_NAMES: dict[str, Callable[[float], Sampler]] = {
    "always_on": lambda _: Sampler(by_parent=False, share=1.0),
    "always_off": lambda _: Sampler(by_parent=False, share=0.0),
    "traceidratio": lambda share: Sampler(by_parent=False, share=share),
    "parentbased_always_on": lambda _: Sampler(by_parent=True, share=1.0),
    "parentbased_always_off": lambda _: Sampler(by_parent=True, share=0.0),
    "parentbased_traceidratio": lambda share: Sampler(by_parent=True, share=share),
}
SAMPLERS = tuple(_NAMES)


def named_sampler(name: str, argument: str = "") -> Sampler:
    """The sampler *name* with OTEL_TRACES_SAMPLER_ARG.

    Raises:
        ValueError: There is no such sampler, or *argument* is no share.
    """
    if name not in _NAMES:
        raise ValueError(f"OTEL_TRACES_SAMPLER is {name!r}, expected one of: {', '.join(SAMPLERS)}")
    share = 1.0
    if argument:
        try:
            share = float(argument)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {argument!r}, expected a number from 0 to 1")
    return _NAMES[name](share)
