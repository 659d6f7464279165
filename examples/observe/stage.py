"""All that `make observe` runs: two rls that share a Valkey, an Envoy before them, and what watches them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from examples.mesh.envoy import Envoy, EnvoyConfig
from examples.mesh.processes import Missing, Process, free_port
from examples.mesh.servers import Rls, UserService
from examples.mesh.valkey import Valkey
from examples.observe.load import Load
from examples.observe.programs import Alertmanager, Jaeger, Prometheus, port_or_free
from examples.tokens import Issuer

RULES = Path(__file__).with_name("rules.yaml")
ALERTS = Path(__file__).parents[2] / "k8s" / "alerts"
_OPTIONS = ("--drain-timeout", "0s", "--limited-by-header", "x-refused-by", "--replicas", "2")


class Patience(NamedTuple):
    """How long Envoy waits for rls, and rls for Valkey: Envoy's default of 20 ms may be missed on a busy laptop."""

    envoy: str = "0.25s"
    rls: str = "100ms"


PATIENCE = Patience()
_USUAL = {"prometheus": 9090, "alertmanager": 9093, "jaeger": 16686}
T = TypeVar("T", bound=Process)


@dataclass(frozen=True)
class Stage:
    """What runs; *rules* is a copy to be edited, *missing* says what is not installed.

    *admin* are the admin ports of the rls, in their order.
    """

    rls: Sequence[Rls]
    admin: Sequence[int]
    envoy: Envoy
    valkey: Valkey
    prometheus: Prometheus
    alertmanager: Alertmanager | None
    jaeger: Jaeger | None
    issuer: Issuer
    rules: Path
    missing: Sequence[str]

    def load(self) -> Load:
        """Requests through Envoy, while the context is open."""
        return Load(self.envoy.port, self.issuer)


@contextmanager
def stage(
    folder: Path, *, interval: str = "1s", standard_ports: bool = False, patience: Patience = PATIENCE
) -> Iterator[Stage]:
    """Start all, with files in *folder*, and stop all in the end; Alertmanager and Jaeger where they are installed.

    Args:
        folder: For files.
        interval: Between two scrapes.
        standard_ports: Whether Prometheus, Alertmanager and Jaeger take their usual ports, where these are free.
        patience: How long one waits for another.

    Raises:
        Missing: One of the other parts is not installed.
    """
    rules = folder / "rules.yaml"
    shutil.copyfile(RULES, rules)
    issuer, missing = Issuer(), list[str]()
    ports = {name: port_or_free(port) if standard_ports else 0 for name, port in _USUAL.items()}
    with ExitStack() as running:
        start = running.enter_context

        def start_if_installed(program: Callable[[], T]) -> T | None:
            try:
                started = program()
            except Missing as error:
                missing.append(str(error))
                return None
            start(started)
            return started

        jaeger = start_if_installed(lambda: Jaeger(folder / "jaeger", port=ports["jaeger"]))
        alertmanager = start_if_installed(lambda: Alertmanager(folder / "alertmanager", port=ports["alertmanager"]))
        valkey, users = start(Valkey(folder)), start(UserService(folder))
        admin = (free_port(), free_port())
        options = (*_OPTIONS, "--backend-timeout", patience.rls, "--backend", valkey.url)
        rls = [
            start(
                Rls(
                    rules,
                    folder,
                    (*options, "--admin", f"127.0.0.1:{port}"),
                    name=f"rls-{number}",
                    env=_traced(jaeger, f"rls-{number}"),
                )
            )
            for number, port in enumerate(admin, 1)
        ]
        config = EnvoyConfig(
            users=users.port, rls=[each.port for each in rls], jwks=issuer.jwks(), access_log=folder / "access.log"
        )
        config.ratelimit["timeout"] = patience.envoy
        if jaeger:
            trace(config, jaeger.otlp_grpc)
        envoy = start(Envoy(config, folder))
        targets = {
            "rls": ("/metrics", [each.http_port for each in rls]),
            "envoy": ("/stats/prometheus", [envoy.admin_port]),
            "users": ("/metrics", [users.port]),
        }
        prometheus = start(_prometheus(folder, targets, interval, alertmanager, ports["prometheus"]))
        yield Stage(rls, admin, envoy, valkey, prometheus, alertmanager, jaeger, issuer, rules, missing)


def _prometheus(
    folder: Path,
    targets: Mapping[str, tuple[str, Sequence[int]]],
    interval: str,
    alertmanager: Alertmanager | None,
    port: int,
) -> Prometheus:
    """With the project's alerts, where they are."""
    alerts = sorted(path for path in ALERTS.glob("*.yaml") if path.name != "kustomization.yaml")
    told = alertmanager.port if alertmanager else 0
    return Prometheus(folder / "prometheus", targets, interval=interval, rules=alerts, alertmanager=told, port=port)


def _traced(jaeger: Jaeger | None, name: str) -> Mapping[str, str]:
    """The variables by which OpenTelemetry sends spans to *jaeger*."""
    if jaeger is None:
        return {}
    return {
        "OTEL_SERVICE_NAME": "rls",
        "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={name}",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{jaeger.otlp_http}",
    }


def trace(config: EnvoyConfig, port: int, percent: float = 5) -> None:
    """Make Envoy begin traces for a share of its requests, and send its spans by OTLP over gRPC to *port*."""
    config.tree["static_resources"]["clusters"].append(_cluster("jaeger", port))
    config.manager["tracing"] = {
        "random_sampling": {"value": percent},
        "spawn_upstream_span": True,
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "grpc_service": {"envoy_grpc": {"cluster_name": "jaeger"}, "timeout": "1s"},
                "service_name": "envoy",
            },
        },
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }
