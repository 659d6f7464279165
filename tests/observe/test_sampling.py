"""Which traces are recorded: by the SDK's own samplers, which have the same names."""

from importlib.metadata import entry_points

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from rls.observe.sampling import SAMPLERS, named_sampler
from rls.observe.trace_context import TraceContext

ids = st.integers(1, 2**128 - 1)


def sdk_sampler(name: str, share: float) -> Sampler:
    (point,) = entry_points(group="opentelemetry_traces_sampler", name=name)
    loaded = point.load()
    made: Sampler = loaded(share if "ratio" in name else None)
    return made


@pytest.mark.parametrize("name", SAMPLERS)
@given(trace_id=ids, parent=st.sampled_from([None, False, True]), share=st.floats(0, 1))
def test_a_sampler_takes_what_the_sdk_takes(name: str, trace_id: int, parent: bool | None, share: float) -> None:
    ours = named_sampler(name, repr(share))
    theirs = sdk_sampler(name, share)
    caller = None if parent is None else TraceContext(trace_id, 1, parent)
    context = None
    if parent is not None:
        flags = TraceFlags(TraceFlags.SAMPLED if parent else TraceFlags.DEFAULT)
        context = set_span_in_context(NonRecordingSpan(SpanContext(trace_id, 1, is_remote=True, trace_flags=flags)))
    takes = theirs.should_sample(context, trace_id, "check").decision.is_sampled()
    assert ours.takes(caller, trace_id) is takes
    if takes and not parent:
        assert ours.begins


@pytest.mark.parametrize("argument", ["2", "-1", "half"])
def test_a_share_that_is_none(argument: str) -> None:
    with pytest.raises(ValueError, match="OTEL_TRACES_SAMPLER_ARG"):
        named_sampler("traceidratio", argument)
