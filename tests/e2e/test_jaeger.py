"""One trace from a client through a real Envoy and `rls` to the write to Redis, as a real Jaeger shows it.

Jaeger is a program in Go. JAEGER_BINARY names it, or it is `jaeger` on the PATH; in a folder of its own, outside of this one:

    go mod init jaeger && go get -tool github.com/jaegertracing/jaeger/cmd/jaeger@v1.76.0
    go build github.com/jaegertracing/jaeger/cmd/jaeger
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from examples.mesh.envoy import Envoy, EnvoyConfig, Tree
from examples.mesh.http import ask
from examples.mesh.processes import Process, free_port, wait_for
from rls.observe.spans import CHECK, WRITE
from tests.e2e.mesh import RULES, Redis
from tests.redis_server import redis_binary
from tests.rls_process import RlsProcess


def jaeger_binary() -> str:
    found = os.environ.get("JAEGER_BINARY") or shutil.which("jaeger")
    if not found:
        pytest.skip("Jaeger is not installed: tests/e2e/test_jaeger.py says how to build it; JAEGER_BINARY names it")
    return found


class Jaeger(Process):
    """A Jaeger that keeps traces in memory."""

    def __init__(self, folder: Path) -> None:
        self.otlp, self.zipkin, self.query = free_port(), free_port(), free_port()
        config = {
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "pipelines": {
                    "traces": {
                        "receivers": ["otlp", "zipkin"],
                        "processors": [],
                        "exporters": ["jaeger_storage_exporter"],
                    }
                },
                "telemetry": {"metrics": {"level": "none"}},
            },
            "extensions": {
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 1000}}}},
                "jaeger_query": {
                    "storage": {"traces": "memory"},
                    "http": {"endpoint": f"127.0.0.1:{self.query}"},
                    "grpc": {"endpoint": f"127.0.0.1:{free_port()}"},
                },
            },
            "receivers": {
                "otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{self.otlp}"}}},
                "zipkin": {"endpoint": f"127.0.0.1:{self.zipkin}"},
            },
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        }
        path = folder / "jaeger.json"
        path.write_text(json.dumps(config))
        super().__init__("jaeger", [jaeger_binary(), "--config", path], folder / "jaeger.log")
        try:
            self.wait_until(lambda: ask(self.query, "/api/services").status == 200, "it answers", 60)
        except BaseException:
            self.kill()
            raise

    def way_to(self, operation: str, service: str) -> list[dict[str, Any]]:
        """The spans from the root down to the one of *operation* in the only trace of *service*, once all are there."""

        def found() -> list[dict[str, Any]]:
            for trace in ask(self.query, f"/api/traces?service={quote(service)}").json()["data"]:
                by_id = {span["spanID"]: span for span in trace["spans"]}
                for span in by_id.values():
                    span["service"] = trace["processes"][span["processID"]]["serviceName"]
                last = next((span for span in by_id.values() if span["operationName"] == operation), None)
                if last is not None:
                    return _way_to(last, by_id)
            return []

        return wait_for(found, f"a trace of {service} with {operation}, whole", 60)


def _way_to(span: dict[str, Any], by_id: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The spans from the root of the trace down to *span*; empty while one of them is missing."""
    for reference in span["references"]:
        if reference["refType"] == "CHILD_OF":
            above = _way_to(by_id[reference["spanID"]], by_id) if reference["spanID"] in by_id else []
            return [*above, span] if above else []
    return [span]


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory) -> Iterator[Jaeger]:
    with Jaeger(tmp_path_factory.mktemp("jaeger")) as process:
        yield process


def opentelemetry(jaeger: Jaeger) -> tuple[Tree, int, bool]:
    """Envoy's tracer for OpenTelemetry, which sends W3C Trace Context; its collector's port, and whether that is gRPC."""
    service = {"envoy_grpc": {"cluster_name": "jaeger"}, "timeout": "5s"}
    return (
        {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "grpc_service": service,
                "service_name": "envoy",
            },
        },
        jaeger.otlp,
        True,
    )


def zipkin(jaeger: Jaeger) -> tuple[Tree, int, bool]:
    """Envoy's tracer for Zipkin, which sends B3."""
    return (
        {
            "name": "envoy.tracers.zipkin",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                "collector_cluster": "jaeger",
                "collector_endpoint": "/api/v2/spans",
                "collector_endpoint_version": "HTTP_JSON",
                "shared_span_context": False,
            },
        },
        jaeger.zipkin,
        False,
    )


def trace_with(config: EnvoyConfig, provider: Tree, port: int, *, http2: bool) -> None:
    """Let Envoy record every request, and send its spans soon to the collector on *port*."""
    config.manager["tracing"] = {"provider": provider, "random_sampling": {"value": 100}}
    options: Tree = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    config.tree["static_resources"]["clusters"].append(
        {
            "name": "jaeger",
            "type": "STATIC",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": options,
                }
            },
            "load_assignment": {
                "cluster_name": "jaeger",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
    )
    soon = {f"tracing.{name}.flush_interval_ms": 50 for name in ("opentelemetry", "zipkin")}
    config.tree["layered_runtime"] = {"layers": [{"name": "soon", "static_layer": soon}]}


@pytest.mark.parametrize("tracer", [opentelemetry, zipkin])
def test_one_trace_from_the_client_to_the_write(
    tmp_path, issuer, users, jaeger: Jaeger, tracer: Callable[[Jaeger], tuple[Tree, int, bool]]
) -> None:
    provider, port, http2 = tracer(jaeger)
    service = f"limits asked with {tracer.__name__}"
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{jaeger.otlp}",
        "OTEL_SERVICE_NAME": service,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with ExitStack() as stack:
        redis = stack.enter_context(Redis(redis_binary(), tmp_path))
        options = ("--backend", redis.url, "--backend-timeout", "10s")
        rls = stack.enter_context(RlsProcess(tmp_path, *options, rules=RULES, env=variables))
        config = EnvoyConfig(
            users=users.port,
            rls=[int(rls.addresses["grpc"].rpartition(":")[2])],
            jwks=issuer.jwks(),
            access_log=tmp_path / "access.log",
        )
        config.ratelimit["timeout"] = "10s"
        trace_with(config, provider, port, http2=http2)
        envoy = stack.enter_context(Envoy(config, tmp_path))
        token = issuer.token({"company_id": f"traced by {tracer.__name__}"})
        assert envoy.get(headers={"authorization": f"Bearer {token}"}).status == 200
        way = jaeger.way_to("INCRBY", service)
    request, asked, check, *_ = way
    assert [span["operationName"] for span in way[2:]] == [CHECK, WRITE, "INCRBY"]
    assert [span["service"] for span in way[2:]] == [service] * 3
    assert service not in (request["service"], asked["service"])
    assert "ShouldRateLimit" in asked["operationName"]  # Envoy's call of the rate limit service
    tags = {tag["key"]: tag["value"] for tag in check["tags"]}
    assert (tags["rls.domain"], tags["rls.rule"], tags["rls.rule.name"]) == ("users", "company_id", "company")
    assert tags["rls.rule.place"] == f"{rls.rules}:3"
    assert (tags["rls.answered_by"], tags["rls.code"]) == ("redis", "OK")
