"""The mesh of our manifests: its services, its proxies, and what istiod is told besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import yaml

from examples.tokens import ISSUER
from tests.mesh.istiod import Kind, Port, Proxy, Rendered, Service, render
from tests.mesh.manifests import ISTIO, Object

USERS = Service("users", "users", [Port(80, 9000, "http")], address="10.96.0.10")
RLS = Service("rls", "rate-limit", [Port(8081, 8081, "grpc", "grpc"), Port(8080, 8080, "http")])
REDIS = Service("redis", "rate-limit", [Port(6379, 6379, "tcp-redis")])
INGRESS = Service("istio-ingress", "istio-ingress", [Port(80, 8080, "http2"), Port(443, 8443, "https")])
COLLECTOR = Service("opentelemetry-collector", "monitoring", [Port(4317, 4317, "otlp-grpc", "grpc")])
SERVICES = (USERS, RLS, REDIS, INGRESS, COLLECTOR)

USERS_SIDECAR = Proxy(Kind.SIDECAR, "users", "users", {"app.kubernetes.io/name": "users"}, services=[USERS])
POD = "10.244.0.10"
HBONE_SIDECAR = replace(USERS_SIDECAR, hbone=True, address=POD)
RLS_SIDECAR = Proxy(Kind.SIDECAR, "rate-limit", "rls", {"app.kubernetes.io/name": "rls"}, services=[RLS])
REDIS_SIDECAR = Proxy(Kind.SIDECAR, "rate-limit", "redis", {"app.kubernetes.io/name": "redis"}, services=[REDIS])
GATEWAY = Proxy(Kind.GATEWAY, "istio-ingress", "istio-ingress", {"istio": "ingress"}, services=[INGRESS])
WAYPOINT = Proxy(
    Kind.WAYPOINT,
    "users",
    "users-waypoint",
    {"gateway.networking.k8s.io/gateway-name": "users-waypoint"},
    services=[USERS],
)

TO_RLS = f"outbound|8081||{RLS.host}"
TO_USERS = f"outbound|80||{USERS.host}"
HOST = "users.example.com"
JWKS_URI = f"{ISSUER}/.well-known/jwks.json"


def mesh_config() -> Object:
    """meshConfig as in values-istiod.yaml."""
    config: Object = yaml.safe_load((ISTIO / "values-istiod.yaml").read_text())["meshConfig"]
    return config


def trusted_proxies() -> int:
    """numTrustedProxies as in the values for a gateway behind a load balancer."""
    values = yaml.safe_load((ISTIO / "behind-load-balancer" / "values-gateway.yaml").read_text())
    config = yaml.safe_load(values["podAnnotations"]["proxy.istio.io/config"])
    number: int = config["gatewayTopology"]["numTrustedProxies"]
    return number


def behind_load_balancer(gateway: Proxy = GATEWAY) -> Proxy:
    return replace(gateway, trusted_proxies=trusted_proxies())


def rendered(
    objects: Sequence[Object],
    proxy: Proxy,
    *,
    jwks: str | None = '{"keys": []}',
    services: Sequence[Service] = SERVICES,
    config: Object | None = None,
) -> Rendered:
    """What *proxy* gets of *objects*; *jwks* is the key set of our issuer, None if istiod could not fetch it."""
    config = mesh_config() if config is None else config
    return render(objects, proxy, services, mesh_config=config, jwks={} if jwks is None else {JWKS_URI: jwks})
