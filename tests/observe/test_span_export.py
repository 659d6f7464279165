"""The way of spans to the process that exports them: bounded, counted, and never in the loop's way."""

from __future__ import annotations

import asyncio
import io
import marshal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from rls.observe.span_export import ENDED, FAILED, FULL, SpanExport
from rls.observe.span_process import batches, exporter_of, sdk_span
from rls.observe.spans import SERVER, Span
from tests.counters import until

SPAN: Span = (
    "check",
    SERVER,
    10,
    11,
    12,
    "a=b",
    1.5,
    2.5,
    {"rls.domain": "mesh"},
    [("seen", 2.0, {})],
    [(13, 14)],
    None,
)
READS_AND_REPORTS = """
import json, sys
from rls.observe.span_process import batches
for spans in batches(sys.stdin.buffer, 512):
    print(json.dumps({"exported": len(spans)}), flush=True)
"""
NEVER_READS = "import time; time.sleep(600)"
ENDS_AT_ONCE = 'print(\'{"failed": 0, "reason": "no such exporter"}\')'
ENDS_LATER = """
import json, sys
from rls.observe.span_process import batches
next(batches(sys.stdin.buffer, 1))
"""
BABBLES = "print('hello')"


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


class Odd(str):
    """Text that `marshal` does not take."""

    __slots__ = ()


@asynccontextmanager
async def exporting(export: SpanExport, seconds: float = 20.0) -> AsyncIterator[None]:
    running = asyncio.create_task(export.run())
    try:
        yield
    finally:
        await export.aclose(running, seconds)


async def test_spans_are_exported_and_those_that_wait_at_the_end_too() -> None:
    export = SpanExport("otlp", delay=0.01, program=program(READS_AND_REPORTS))
    async with exporting(export):
        export.add([SPAN] * 1000)
        await until(lambda: export.exported == 1000)
        export.add([SPAN] * 3)
    assert export.exported == 1003
    assert not any(export.dropped.values())


async def test_spans_that_cannot_be_handed_over_stop_no_others() -> None:
    export = SpanExport("otlp", delay=0.01, program=program(READS_AND_REPORTS))
    async with exporting(export):
        export.add([(*SPAN[:8], {"rls.domain": Odd("mesh")}, *SPAN[9:])])
        await until(lambda: export.dropped[FAILED] == 1)
        export.add([SPAN] * 3)
        await until(lambda: export.exported == 3)


async def test_what_is_too_much_is_dropped_and_counted_whole() -> None:
    export = SpanExport("otlp", most=10, delay=0.01, program=program(READS_AND_REPORTS))
    export.add([SPAN] * 8)
    export.add([SPAN] * 3)
    found = [export.is_full]
    export.add([SPAN] * 2)
    assert [*found, export.is_full] == [False, True]
    export.drop()
    assert export.dropped == {FULL: 4, FAILED: 0, ENDED: 0}
    async with exporting(export):
        await until(lambda: export.exported == 10)


async def test_a_process_that_hangs_costs_bounded_memory_and_a_bounded_end() -> None:
    export = SpanExport("otlp", most=2_000, delay=0.01, program=program(NEVER_READS))
    added = 0
    async with exporting(export, 0.2):
        while not export.dropped[FULL]:
            export.add([SPAN] * 100)
            added += 100
            await asyncio.sleep(0.001)
            assert added < 100_000
        began = time.monotonic()
    assert time.monotonic() - began < 15
    assert export.exported == 0
    assert sum(export.dropped.values()) == added


async def test_a_process_that_ends_is_told_why_and_another_follows() -> None:
    told: list[str] = []
    export = SpanExport("otlp", delay=0.01, on_problem=told.append, program=program(ENDS_AT_ONCE))
    async with exporting(export):
        await until(lambda: told)
        export._command = program(READS_AND_REPORTS)
        export.add([SPAN])
        await until(lambda: export.exported == 1)
    assert told == ["no such exporter"]


async def test_what_a_process_had_when_it_ended_is_counted() -> None:
    export = SpanExport("otlp", delay=0.01, program=program(ENDS_LATER))
    async with exporting(export, 0.0):
        export.add([SPAN] * 5)
        await until(lambda: export.dropped[ENDED] == 5)


async def test_a_process_that_cannot_be_started_or_babbles_ends_nothing() -> None:
    told: list[str] = []
    export = SpanExport("otlp", on_problem=told.append, program=["/no/such/program"])
    async with exporting(export, 0.0):
        await until(lambda: told)
    babbling = SpanExport("otlp", on_problem=told.append, program=program(BABBLES))
    async with exporting(babbling, 0.0):
        await until(lambda: len(told) == 2)
    assert all("cannot be used" in reason for reason in told)


def frames(*lists: list[Span] | None) -> io.BytesIO:
    held = [b"" if spans is None else marshal.dumps(spans) for spans in lists]
    return io.BytesIO(b"".join(len(frame).to_bytes(4, "big") + frame for frame in held))


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([], []),
        ([[SPAN]], [1]),
        ([[SPAN], [SPAN], None, [SPAN]], [2, 1]),
        ([None, None], []),
        ([[SPAN] * 7, [SPAN] * 2, None], [4, 4, 1]),
    ],
)
def test_spans_are_batched(lists: list[list[Span] | None], expected: list[int]) -> None:
    assert [len(batch) for batch in batches(frames(*lists), 4)] == expected


def test_a_span_becomes_the_sdks() -> None:
    span = sdk_span(SPAN, Resource({"service.name": "rls"}))
    assert (span.name, span.kind, span.start_time, span.end_time) == (
        "check",
        SpanKind.SERVER,
        1_500_000_000,
        2_500_000_000,
    )
    assert span.context is not None
    assert span.parent is not None
    assert (span.context.trace_id, span.context.span_id, span.parent.span_id) == (10, 11, 12)
    assert span.context.trace_state == {"a": "b"}
    assert span.context.trace_flags.sampled
    assert dict(span.attributes or {}) == {"rls.domain": "mesh"}
    assert [(event.name, event.timestamp) for event in span.events] == [("seen", 2_000_000_000)]
    assert [(link.context.trace_id, link.context.span_id) for link in span.links] == [(13, 14)]
    assert span.status.status_code is StatusCode.UNSET
    failed = sdk_span((*SPAN[:4], 0, *SPAN[5:-1], "why"), Resource({}))
    assert failed.parent is None
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "why")


@pytest.mark.parametrize(
    ("name", "environ", "module"),
    [
        ("otlp", {}, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"),
        (
            "otlp",
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        ),
        (
            "otlp",
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        ),
        ("otlp_proto_http", {}, "opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        ("console", {}, "opentelemetry.sdk.trace.export"),
    ],
)
def test_exporters_by_name(name: str, environ: dict[str, str], module: str) -> None:
    made = exporter_of(name, environ)
    made.shutdown()
    assert type(made).__module__ == module


@pytest.mark.parametrize(
    ("name", "environ"),
    [("abacus", {}), ("otlp", {"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"})],
    ids=["exporter", "protocol"],
)
def test_exporters_that_there_are_not(name: str, environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        exporter_of(name, environ)
