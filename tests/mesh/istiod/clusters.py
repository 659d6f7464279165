"""Clusters: of the services that a proxy may know of, and of its own.

After pilot/pkg/networking/core/cluster_builder.go and cluster_traffic_policy.go of istio/istio.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tests.mesh.istiod.hbone import ENCAP, internal_cluster
from tests.mesh.istiod.http import common_tls
from tests.mesh.istiod.model import Kind, Port, Proxy, Service, selects
from tests.mesh.manifests import Object, ns, of

_UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_REFERENCED = "envoyfilter.istio.io/referenced-services"
_REFERENCED_SINCE = (1, 26)


def clusters(objects: Sequence[Object], proxy: Proxy, reached: Sequence[Service]) -> list[Object]:
    """`outbound|…` of the services that are *reached*, `inbound|…` of its own; endpoints come later."""
    found = []
    for service in reached:
        for port in service.ports:
            cluster = _cluster(f"outbound|{port.number}||{service.host}", port)
            _apply_rules(objects, service, cluster)
            cluster["transport_socket_matches"] = _auto_mtls(service, port)
            found.append(cluster)
    if proxy.kind is Kind.SIDECAR:
        for service in proxy.services:
            found += [_cluster(f"inbound|{port.target}||", port) for port in service.ports]
        found.append(_cluster("InboundPassthroughCluster", Port(0, 0, "http")))
    if proxy.kind is Kind.WAYPOINT:
        for service in proxy.services:
            found += [_cluster(f"inbound-vip|{port.number}|http|{service.host}", port) for port in service.ports]
        found.append(_cluster(ENCAP, Port(0, 0, "http")))
    if proxy.hbone or proxy.kind is Kind.WAYPOINT:
        found.append(internal_cluster())
    return found


def visible(
    objects: Sequence[Object], proxy: Proxy, services: Sequence[Service], mesh_config: Object
) -> Iterator[Service]:
    """What the Sidecar of a sidecar's namespace allows, or what routes, annotations and providers of a gateway name."""
    if proxy.kind is Kind.SIDECAR:
        sidecars = [each for each in of(objects, "Sidecar") if selects(each, proxy)]
        hosts = [host for each in sidecars for entry in each["spec"]["egress"] for host in entry["hosts"]]
        yield from (each for each in services if not sidecars or any(_allows(host, each, proxy) for host in hosts))
        return
    named = {
        reference.strip()
        for each in of(objects, "EnvoyFilter")
        if selects(each, proxy) and proxy.release >= _REFERENCED_SINCE
        for reference in each["metadata"].get("annotations", {}).get(_REFERENCED, "").split(",")
    }
    routed = {
        route["destination"]["host"]
        for each in of(objects, "VirtualService")
        for http in each["spec"]["http"]
        for route in http["route"]
    }
    providers = {spec["service"] for each in mesh_config.get("extensionProviders", ()) for spec in _specs(each)}
    named |= {f"{service.namespace}/{service.host}" for service in services if service.host in providers}
    all_of_them = not proxy.only_named_clusters and proxy.kind is not Kind.WAYPOINT
    if proxy.kind is Kind.GATEWAY:
        named |= {f"{service.namespace}/{service.host}" for service in services if service.host in routed}
    yield from (each for each in services if all_of_them or f"{each.namespace}/{each.host}" in named)


def _specs(provider: Object) -> list[Object]:
    """Of a provider that is a Service."""
    return [spec for spec in provider.values() if isinstance(spec, dict) and "service" in spec]


def _allows(host: str, service: Service, proxy: Proxy) -> bool:
    namespace, _, name = host.partition("/")
    namespace = proxy.namespace if namespace == "." else namespace
    return namespace in {"*", service.namespace} and name in {"*", service.host}


def _cluster(name: str, port: Port) -> Object:
    options: Any = {"http_protocol_options": {}}
    if port.protocol in {"grpc", "http2"}:
        options = {"http2_protocol_options": {}}
    cluster: Object = {
        "name": name,
        "alt_stat_name": f"{name};",
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [dict.fromkeys(_LIMITS, 4294967295)]},
    }
    if port.protocol != "tcp":
        kind = f"type.googleapis.com/{_UPSTREAM}"
        cluster["typed_extension_protocol_options"] = {_UPSTREAM: {"@type": kind, "explicit_http_config": options}}
    return cluster


_LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
_POOL = {
    ("tcp", "maxConnections"): "max_connections",
    ("http", "http1MaxPendingRequests"): "max_pending_requests",
    ("http", "http2MaxRequests"): "max_requests",
    ("http", "maxRetries"): "max_retries",
}
_OUTLIER = {
    "consecutive5xxErrors": "consecutive_5xx",
    "consecutiveGatewayErrors": "consecutive_gateway_failure",
    "consecutiveLocalOriginFailures": "consecutive_local_origin_failure",
}
_OUTLIER_AS_IT_IS = {
    "interval": "interval",
    "baseEjectionTime": "base_ejection_time",
    "maxEjectionPercent": "max_ejection_percent",
    "splitExternalLocalOriginErrors": "split_external_local_origin_errors",
}


def _apply_rules(objects: Sequence[Object], service: Service, cluster: Object) -> None:
    for each in of(objects, "DestinationRule"):
        if each["spec"]["host"] != service.host:
            continue
        if ns(each) != service.namespace:
            raise NotImplementedError("a DestinationRule of another namespace")
        policy = each["spec"]["trafficPolicy"]
        pool = policy.get("connectionPool", {})
        if "connectTimeout" in pool.get("tcp", {}):
            cluster["connect_timeout"] = pool["tcp"]["connectTimeout"]
        for (part, name), field in _POOL.items():
            if name in pool.get(part, {}):
                cluster["circuit_breakers"]["thresholds"][0][field] = pool[part][name]
        if (detection := policy.get("outlierDetection")) is not None:
            cluster["outlier_detection"] = _outlier(detection)
            # Below so many percent of healthy hosts, all are asked; 0 where nothing is said, and Envoy's own is 50.
            cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": detection.get("minHealthPercent", 0)}}


def _outlier(detection: Object) -> Object:
    """A count of 0 turns its kind off, and all but 5xx are off until they are given."""
    found: Object = {
        "enforcing_success_rate": 0,
        "consecutive_gateway_failure": 5,
        "enforcing_consecutive_gateway_failure": 0,
    }
    for name, field in _OUTLIER_AS_IT_IS.items():
        if name in detection:
            found[field] = detection[name]
    for name, field in _OUTLIER.items():
        if count := detection.get(name):
            found[field] = count
        if name in detection:
            found[f"enforcing_{field}"] = 100 if count else 0
    return found


def _auto_mtls(service: Service, port: Port) -> list[Object]:
    """mTLS to an endpoint that has a proxy, which its label says; else plain."""
    kind = "type.googleapis.com/envoy.extensions.transport_sockets"
    common = common_tls()
    common["alpn_protocols"] = ["istio", "h2"] if port.protocol in {"grpc", "http2"} else ["istio", "http/1.1"]
    tls = {
        "@type": f"{kind}.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
        "sni": f"outbound_.{port.number}_._.{service.host}",
    }
    plain = {"@type": f"{kind}.raw_buffer.v3.RawBuffer"}
    return [
        {
            "name": "tlsMode-istio",
            "match": {"tlsMode": "istio"},
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        },
        {
            "name": "tlsMode-disabled",
            "match": {},
            "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": plain},
        },
    ]
