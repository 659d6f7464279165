"""Receivers of OpenTelemetry's protocol, as a collector has them: gRPC and HTTP. They keep what they get."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from examples.mesh.processes import wait_for


class Received:
    """What came.

    Attributes:
        endpoint: Where to send to: OTEL_EXPORTER_OTLP_ENDPOINT.
        protocol: How: OTEL_EXPORTER_OTLP_PROTOCOL.
        requests: Export requests.
        headers: Those of each request, names in lower case.
        refusing: Whether it refuses what comes.
    """

    def __init__(self, protocol: str) -> None:
        self.endpoint = ""
        self.protocol = protocol
        self.requests: list[messages.ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.refusing = False

    @property
    def variables(self) -> dict[str, str]:
        """What makes a server send its spans here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }

    @property
    def spans(self) -> list[Span]:
        """All spans so far."""
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resource(self) -> dict[str, Any]:
        """The attributes of what sent the first spans."""
        return attributes(self.requests[0].resource_spans[0].resource.attributes)

    def wait_for(self, *names: str, times: int = 1) -> dict[str, Span]:
        """The last span of each name, once there are so many of each."""

        def found() -> dict[str, Span] | None:
            spans = self.spans
            enough = all(sum(span.name == name for span in spans) >= times for name in names)
            return {span.name: span for span in spans} if enough else None

        got = wait_for(found, f"spans {names}")
        assert got is not None
        return got


def attributes(pairs: Iterator[KeyValue] | Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [_plain(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind or "")


class _Service(services.TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    def Export(  # noqa: N802 - gRPC's name
        self, request: messages.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> messages.ExportTraceServiceResponse:
        if self._received.refusing:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused by the test")
        self._received.requests.append(request)
        self._received.headers.append({str(name): str(value) for name, value in context.invocation_metadata()})
        return messages.ExportTraceServiceResponse()


@contextmanager
def grpc_receiver() -> Iterator[Received]:
    received = Received("grpc")
    server = grpc.server(ThreadPoolExecutor(2))
    services.add_TraceServiceServicer_to_server(_Service(received), server)
    received.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield received
    finally:
        server.stop(None).wait()


@contextmanager
def http_receiver() -> Iterator[Received]:
    received = Received("http/protobuf")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if received.refusing or self.path != "/v1/traces":
                self.send_error(400)
                return
            received.requests.append(messages.ExportTraceServiceRequest.FromString(body))
            received.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
