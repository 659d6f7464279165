"""What listeners have in common: connection managers, routes, TLS.

After pilot/pkg/networking/core/{listener_builder,listener_inbound}.go of istio/istio.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.mesh.istiod.envoyfilter import HCM
from tests.mesh.istiod.model import Kind, Proxy
from tests.mesh.istiod.telemetry import Observed
from tests.mesh.manifests import Object

_TYPES = "type.googleapis.com/envoy.extensions"
_ENDS = {
    "envoy.filters.http.grpc_stats": f"{_TYPES}.filters.http.grpc_stats.v3.FilterConfig",
    "envoy.filters.http.fault": f"{_TYPES}.filters.http.fault.v3.HTTPFault",
    "envoy.filters.http.cors": f"{_TYPES}.filters.http.cors.v3.Cors",
    "envoy.filters.http.router": f"{_TYPES}.filters.http.router.v3.Router",
}


def last_filters() -> list[Object]:
    """The HTTP filters behind those of policies, up to the router."""
    return [{"name": name, "typed_config": {"@type": kind}} for name, kind in _ENDS.items()]


def manager(stat_prefix: str, routes: Object, filters: list[Object], seen: Observed, proxy: Proxy) -> Object:
    """An HTTP connection manager."""
    gateway = proxy.kind is Kind.GATEWAY
    config: Object = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": stat_prefix,
        # A gateway takes the client's address from its connection, a sidecar from the last entry of X-Forwarded-For.
        "use_remote_address": gateway,
        "server_name": "istio-envoy",
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "forward_client_cert_details": "SANITIZE_SET" if gateway else "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": True, "uri": True, "dns": True},
        "route_config": routes,
        "http_filters": filters,
        "access_log": seen.access_log,
        **({"tracing": seen.tracing} if seen.tracing else {}),
    }
    if proxy.trusted_proxies and gateway:
        config["xff_num_trusted_hops"] = proxy.trusted_proxies
    return {"name": HCM, "typed_config": config}


def route_config(name: str, hosts: list[Object]) -> Object:
    """A route configuration."""
    return {"name": name, "virtual_hosts": hosts, "validate_clusters": False}


def virtual_host(name: str, domains: list[str], clusters: Sequence[str]) -> Object:
    """A virtual host that leads to these clusters."""
    routes = [
        {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": each, "timeout": "0s"}} for each in clusters
    ]
    return {"name": name, "domains": domains, "routes": routes}


def address(port: int) -> Object:
    """A port of the pod."""
    return {"socket_address": {"address": "0.0.0.0", "port_value": port}}


def listener_filter(name: str, message: str = "TlsInspector") -> Object:
    """One that looks at a connection before its chain is chosen."""
    kind = f"{_TYPES}.filters.listener.{name}.v3.{message}"
    return {"name": f"envoy.filters.listener.{name}", "typed_config": {"@type": kind}}


def mtls() -> Object:
    """Of a chain for the mesh: certificates come by the names that istio-agent gives them."""
    config = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": common_tls(),
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def common_tls(*names: str) -> Object:
    """Certificate and CA of the mesh; with *names*, whoever else is at the other end is refused."""
    context: Object = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": n}} for n in names]}
    return {
        "tls_certificate_sds_secret_configs": [{"name": "default"}],
        "combined_validation_context": {
            "default_validation_context": context if names else {},
            "validation_context_sds_secret_config": {"name": "ROOTCA"},
        },
        "alpn_protocols": ["h2", "http/1.1"],
    }


def server_tls(credential: str) -> Object:
    """Of a gateway's HTTPS server."""
    config = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": f"kubernetes://{credential}"}],
            "alpn_protocols": ["h2", "http/1.1"],
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}
