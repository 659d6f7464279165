"""A process that exports spans with OpenTelemetry's SDK, so that the server's loop need not: `python -m rls.observe.span_process`.

It reads frames from standard input until its end: `marshal` of a list of `spans.Span`, after its length in four bytes. A
frame of no bytes says that no more come for a while. What became of the spans it writes to standard output, a line of JSON
for each batch: `{"exported": 512}`, or `{"failed": 512, "reason": "..."}`. `OTEL_*` variables say where to export, as what
service, with which batches.

While it exports it reads nothing. So the server's queue fills and drops, and this process never holds more than a batch.
"""

from __future__ import annotations

import json
import logging
import marshal
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import BinaryIO, TextIO

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from rls import __version__
from rls.observe.otel import DEFAULT_BATCH, PROTOCOLS, exporter_mistakes
from rls.observe.spans import Span

LENGTH_BYTES = 4
_NICE = 5
"""The server goes first where both need one CPU."""
_NANOSECONDS = 1_000_000_000
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("rls", __version__)


def exporter_of(name: str, environ: Mapping[str, str]) -> SpanExporter:
    """The exporter that OTEL_TRACES_EXPORTER calls *name*.

    Raises:
        ValueError: No exporter has this name.
    """
    if name == "otlp":
        names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        protocol = next((environ[one].strip() for one in names if environ.get(one)), "grpc")
        if protocol not in PROTOCOLS:
            raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, expected one of: {', '.join(PROTOCOLS)}")
        name = PROTOCOLS[protocol]
    for point in entry_points(group="opentelemetry_traces_exporter", name=name):
        made: SpanExporter = point.load()()
        return made
    raise ValueError(f"OTEL_TRACES_EXPORTER is {name!r}, which no installed package provides; expected otlp or none")


def resource() -> Resource:
    """What the spans are of: `rls`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise."""
    given = OTELResourceDetector().detect().attributes
    return Resource.create({"service.name": "rls", "service.version": __version__, **given})


def sdk_span(span: Span, of: Resource) -> ReadableSpan:
    """*span* as the SDK has it."""
    name, kind, trace_id, span_id, parent_id, state, began, ended, attributes, events, links, failed = span
    trace_state = TraceState.from_header([state]) if state else None
    return ReadableSpan(
        name,
        SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED, trace_state=trace_state),
        SpanContext(trace_id, parent_id, is_remote=kind == "SERVER", trace_flags=_SAMPLED) if parent_id else None,
        of,
        attributes,
        [Event(text, about, _time(at)) for text, at, about in events],
        [Link(SpanContext(trace, other, is_remote=False, trace_flags=_SAMPLED)) for trace, other in links],
        SpanKind[kind],
        status=Status(StatusCode.UNSET if failed is None else StatusCode.ERROR, failed),
        start_time=_time(began),
        end_time=_time(ended),
        instrumentation_scope=_SCOPE,
    )


def _time(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)


def batches(stream: BinaryIO, most: int) -> Iterator[list[Span]]:
    """The spans of *stream*: at most *most* at once, and fewer where no more come for a while."""
    waiting: list[Span] = []
    while head := stream.read(LENGTH_BYTES):
        length = int.from_bytes(head, "big")
        if length:
            waiting += marshal.loads(stream.read(length))  # noqa: S302 - from our own server
        while len(waiting) >= most or (waiting and not length):
            yield waiting[:most]
            del waiting[:most]
    if waiting:
        yield waiting


class _LastWarning(logging.Handler):
    """Remembers what exporters only log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def _standard_output() -> TextIO:
    """Standard output for reports only. What exporters print, as `console` does, goes to standard error."""
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return reports


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end of standard input ends it
    os.nice(_NICE)
    reports = _standard_output()

    def report(**what: object) -> None:
        print(json.dumps(what), file=reports)

    warning = _LastWarning()
    logging.getLogger().addHandler(warning)
    for name in exporter_mistakes(os.environ):  # the server has logged them
        del os.environ[name]
    try:
        exporter, of = exporter_of(sys.argv[1], os.environ), resource()
        most = int(os.environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") or DEFAULT_BATCH)
    except Exception as error:  # noqa: BLE001 - of whatever exporter
        report(failed=0, reason=str(error) or repr(error))
        sys.exit(1)
    for spans in batches(sys.stdin.buffer, max(1, most)):
        warning.text = ""
        try:
            done = exporter.export([sdk_span(span, of) for span in spans])
        except Exception as error:  # noqa: BLE001 - as above
            done, warning.text = SpanExportResult.FAILURE, str(error) or repr(error)
        if done is SpanExportResult.SUCCESS:
            report(exported=len(spans))
        else:
            report(failed=len(spans), reason=warning.text)
    exporter.shutdown()


if __name__ == "__main__":
    main()
