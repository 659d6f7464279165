"""What callers send of their trace; the SDK's propagators are the oracle."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rls.observe.trace_context import FORMATS, TraceContext, trace_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = TraceContext(int(TRACE, 16), int(SPAN, 16), sampled=True)
ORACLES: Mapping[str, TextMapPropagator] = {
    "tracecontext": TraceContextTextMapPropagator(),
    "b3": B3SingleFormat(),
    "b3multi": B3MultiFormat(),
}
hexadecimal = st.text("0123456789abcdef", min_size=16, max_size=16)
trace_ids = st.one_of(st.just("0" * 32), hexadecimal, st.builds(str.__add__, hexadecimal, hexadecimal))
span_ids = st.one_of(st.just("0" * 16), hexadecimal, st.just("xyz"))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, CALLER),
        ({"traceparent": f"00-{TRACE}-{SPAN}-03", "tracestate": "vendor=1"}, CALLER._replace(state="vendor=1")),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, CALLER._replace(sampled=False)),
        ({"traceparent": f"cc-{TRACE}-{SPAN}-01-of-a-later-version"}, CALLER),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01-more"}, None),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "x=" + "y" * 600}, CALLER),
        ({"b3": f"{TRACE}-{SPAN}-1"}, CALLER),
        ({"b3": f"{TRACE}-{SPAN}-d"}, CALLER),
        ({"b3": f"{TRACE}-{SPAN}-0-{SPAN}"}, CALLER._replace(sampled=False)),
        ({"b3": f"{TRACE}-{SPAN}"}, CALLER._replace(sampled=False)),
        ({"b3": "0"}, None),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "1", "x-b3-parentspanid": SPAN}, CALLER),
        (
            {"x-b3-traceid": TRACE[:16], "x-b3-spanid": SPAN, "x-b3-flags": "1"},
            CALLER._replace(trace_id=CALLER.trace_id >> 64),
        ),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "0"}, CALLER._replace(sampled=False)),
        ({"x-b3-traceid": TRACE}, None),
        ({}, None),
    ],
)
def test_what_is_read(sent: Mapping[str, str], expected: TraceContext | None) -> None:
    assert trace_context(sent.get) == expected


def test_the_first_format_wins_and_the_next_is_read_where_it_is_missing_or_wrong() -> None:
    other = {"b3": f"{TRACE}-{SPAN}-0"}
    assert trace_context({"traceparent": f"00-{TRACE}-{SPAN}-01", **other}.get) == CALLER
    assert trace_context({"traceparent": "nonsense", **other}.get) == CALLER._replace(sampled=False)
    assert trace_context(other.get, ("tracecontext", "b3multi")) is None


def oracle(name: str, sent: Mapping[str, str]) -> TraceContext | None:
    context = get_current_span(ORACLES[name].extract(dict(sent))).get_span_context()
    if not context.is_valid:
        return None
    return TraceContext(context.trace_id, context.span_id, context.trace_flags.sampled, context.trace_state.to_header())


@given(trace_ids, span_ids, st.sampled_from(["00", "01", "02", "03"]))
def test_traceparent_is_read_as_the_sdk_reads_it(trace_id: str, span_id: str, flags: str) -> None:
    sent = {"traceparent": f"00-{trace_id}-{span_id}-{flags}", "tracestate": "a=b,c=d"}
    assert FORMATS["tracecontext"](sent.get) == oracle("tracecontext", sent)


@given(trace_ids, span_ids, st.sampled_from(["0", "1", "d"]))
def test_b3_is_read_as_the_sdk_reads_it(trace_id: str, span_id: str, state: str) -> None:
    sent = {"b3": f"{trace_id}-{span_id}-{state}"}
    assert FORMATS["b3"](sent.get) == oracle("b3", sent)


@given(trace_ids, span_ids, st.sampled_from(["0", "1", "true", "false"]), st.sampled_from(["", "0", "1"]))
def test_b3_in_several_headers_is_read_as_the_sdk_reads_it(
    trace_id: str, span_id: str, sampled: str, flags: str
) -> None:
    sent = {"x-b3-traceid": trace_id, "x-b3-spanid": span_id, "x-b3-sampled": sampled, "x-b3-flags": flags}
    assert FORMATS["b3multi"](sent.get) == oracle("b3multi", sent)
