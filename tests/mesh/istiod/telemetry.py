"""Telemetry: which requests a proxy logs and traces, and whom it tells.

After pilot/pkg/model/telemetry.go and pilot/pkg/networking/core/tracing.go of istio/istio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.mesh.istiod.model import Kind, Proxy, selects
from tests.mesh.manifests import Object, of

_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_OPENTELEMETRY = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"


class Observed(NamedTuple):
    """`access_log` and `tracing` of an HTTP connection manager; *tracing* is empty where nothing is traced."""

    access_log: list[Object]
    tracing: Object


def observed(objects: Sequence[Object], proxy: Proxy, mesh_config: Object) -> Observed:
    """What the Telemetries for a proxy ask for; a provider that meshConfig does not have is left out, silently."""
    known = {each["name"]: each for each in mesh_config.get("extensionProviders", ())}
    chosen = [each["spec"] for each in of(objects, "Telemetry") if selects(each, proxy)]
    logs = [
        _file_log(known[provider["name"]]["envoyFileAccessLog"])
        for spec in chosen
        for logging in spec.get("accessLogging", ())
        for provider in logging["providers"]
        if provider["name"] in known
    ]
    traces = [
        _tracing(known[provider["name"]]["opentelemetry"], tracing["randomSamplingPercentage"], proxy)
        for spec in chosen
        for tracing in spec.get("tracing", ())
        for provider in tracing["providers"]
        if provider["name"] in known
    ]
    return Observed(logs, traces[0] if traces else {})


def _file_log(provider: Object) -> Object:
    config = {
        "@type": _FILE_LOG,
        "path": provider["path"],
        "log_format": {"json_format": provider["logFormat"]["labels"]},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _tracing(provider: Object, percentage: float, proxy: Proxy) -> Object:
    cluster = f"outbound|{provider['port']}||{provider['service']}"
    config = {
        "@type": _OPENTELEMETRY,
        "grpc_service": {"envoy_grpc": {"cluster_name": cluster, "authority": provider["service"]}},
        "service_name": f"{proxy.service_account}.{proxy.namespace}",
    }
    return {
        "client_sampling": {"value": 100},
        "random_sampling": {"value": percentage},
        "overall_sampling": {"value": 100},
        "spawn_upstream_span": proxy.kind is Kind.GATEWAY,
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": config},
    }
