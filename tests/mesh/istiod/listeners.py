"""Listeners before any patch: of a sidecar for what comes in, of a gateway, of a waypoint.

After pilot/pkg/networking/core/{listener_inbound,listener_builder,gateway}.go of istio/istio. Filters that are in
Istio's Envoy alone (metadata exchange, istio.stats) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from tests.mesh.istiod.envoyfilter import HCM
from tests.mesh.istiod.hbone import by_service, connect_terminate, main_internal
from tests.mesh.istiod.model import Kind, Port, Proxy, Service, selects
from tests.mesh.istiod.security import jwt_authn, rbac
from tests.mesh.manifests import Object, ns, of

_TYPES = "type.googleapis.com/envoy.extensions"
_ENDS = {
    "envoy.filters.http.grpc_stats": f"{_TYPES}.filters.http.grpc_stats.v3.FilterConfig",
    "envoy.filters.http.fault": f"{_TYPES}.filters.http.fault.v3.HTTPFault",
    "envoy.filters.http.cors": f"{_TYPES}.filters.http.cors.v3.Cors",
    "envoy.filters.http.router": f"{_TYPES}.filters.http.router.v3.Router",
}


def listeners(
    objects: Sequence[Object], proxy: Proxy, services: Sequence[Service], jwks: Mapping[str, str], log: list[Object]
) -> list[Object]:
    """Those that take requests; *log* is what access_log of each is."""

    def filters(*, hbone: bool) -> list[Object]:
        ends = [{"name": name, "typed_config": {"@type": kind}} for name, kind in _ENDS.items()]
        return [*jwt_authn(objects, proxy, jwks), *rbac(objects, proxy, hbone=hbone), *ends]

    if proxy.kind is Kind.GATEWAY:
        found = _servers(objects, proxy)
        return [_gateway(server, objects, proxy, services, filters(hbone=False), log) for server in found]
    if proxy.kind is Kind.WAYPOINT:
        return [connect_terminate(mtls()), _waypoint(proxy, filters(hbone=True), log)]
    inbound = _inbound(objects, proxy, filters(hbone=False), log)
    if not proxy.hbone:
        return [inbound]
    return [inbound, connect_terminate(mtls()), _inbound_by_hbone(proxy, filters(hbone=True), log)]


def _inbound(objects: Sequence[Object], proxy: Proxy, filters: list[Object], log: list[Object]) -> Object:
    """virtualInbound: a chain for each port of a Service, and those for all other ports, each with mTLS and without."""
    strict = any(
        each["spec"]["mtls"]["mode"] == "STRICT" for each in of(objects, "PeerAuthentication") if selects(each, proxy)
    )
    chains = []
    for port, cluster in _inbound_clusters(proxy):
        name, routes = _inbound_name(port), _inbound_routes(port, cluster)
        for with_tls in (True, False)[: 1 if strict else 2]:
            match: Object = {"transport_protocol": "tls" if with_tls else "raw_buffer"}
            if port.target:
                match["destination_port"] = port.target
            chains.append(
                {
                    "name": name,
                    "filter_chain_match": match,
                    "filters": [_manager(f"{name};", routes, filters, log, proxy)],
                    **({"transport_socket": mtls()} if with_tls else {}),
                }
            )
    return {
        "name": "virtualInbound",
        "traffic_direction": "INBOUND",
        "address": _address(15006),
        "listener_filters": [_listener_filter("original_dst", "OriginalDst"), _listener_filter("tls_inspector")],
        "filter_chains": chains,
    }


def _inbound_by_hbone(proxy: Proxy, filters: list[Object], log: list[Object]) -> Object:
    """main_internal of a sidecar: what virtualInbound has, for its own address only, and without mTLS, which has ended."""
    chains = []
    for port, cluster in _inbound_clusters(proxy):
        match: Object = {"prefix_ranges": [{"address_prefix": proxy.address, "prefix_len": 32}]}
        if port.target:
            match["destination_port"] = port.target
        name = _inbound_name(port)
        manager = _manager(f"{name};", _inbound_routes(port, cluster), filters, log, proxy)
        chains.append({"name": name, "filter_chain_match": match, "filters": [manager]})
    return main_internal(chains)


def _inbound_clusters(proxy: Proxy) -> list[tuple[Port, str]]:
    ports = [(port, f"inbound|{port.target}||") for service in proxy.services for port in service.ports]
    return [*ports, (Port(0, 0), "InboundPassthroughCluster")]


def _inbound_name(port: Port) -> str:
    return f"0.0.0.0_{port.target}" if port.target else "virtualInbound-catchall-http"


def _inbound_routes(port: Port, cluster: str) -> Object:
    return _routes(cluster, [_virtual_host(f"inbound|http|{port.number}", ["*"], [cluster])])


def _waypoint(proxy: Proxy, filters: list[Object], log: list[Object]) -> Object:
    """main_internal of a waypoint: a chain for each port of each service that it stands before."""
    chains: list[Object] = []
    for service in proxy.services:
        for port in service.ports:
            name = f"inbound-vip|{port.number}|http|{service.host}"
            routes = _routes(name, [_virtual_host(f"inbound|http|{port.number}", ["*"], [name])])
            chains.append({"name": name, "filters": [_manager(name, routes, filters, log, proxy)]})
    return {**main_internal(chains), "filter_chain_matcher": by_service(proxy.services)}


def _servers(objects: Sequence[Object], proxy: Proxy) -> list[tuple[Object, Object]]:
    """Of the Gateways that select the proxy; by default they do so in every namespace."""
    return [
        (each, server)
        for each in of(objects, "Gateway")
        if all(proxy.labels.get(name) == value for name, value in each["spec"]["selector"].items())
        for server in each["spec"]["servers"]
    ]


def _gateway(
    server: tuple[Object, Object],
    objects: Sequence[Object],
    proxy: Proxy,
    services: Sequence[Service],
    filters: list[Object],
    log: list[Object],
) -> Object:
    """One listener for each port; its number is the target port of the gateway's own Service, where it knows that."""
    gateway, spec = server
    number, protocol = spec["port"]["number"], spec["port"]["protocol"]
    (ports,) = (service.ports for service in proxy.services)
    (target,) = (port.target for port in ports if port.number == number)
    name = f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"
    known = {service.host: service for service in services}
    hosts = []
    for each in of(objects, "VirtualService"):
        if name not in each["spec"]["gateways"]:
            continue
        for host in set(each["spec"]["hosts"]) & set(spec["hosts"]):
            clusters = [
                _destination(route, known) for route in chain(*(http["route"] for http in each["spec"]["http"]))
            ]
            virtual_host = _virtual_host(f"{host}:{number}", [host, f"{host}:*"], clusters)
            if (spec.get("tls") or {}).get("httpsRedirect"):
                virtual_host["require_tls"] = "ALL"
            hosts.append(virtual_host)
    tls = protocol == "HTTPS"
    route_name = (
        f"https.{number}.{spec['port']['name']}.{gateway['metadata']['name']}.{ns(gateway)}"
        if tls
        else f"http.{target}"
    )
    stat_prefix = f"outbound_0.0.0.0_{target};"
    chain_: Object = {"filters": [_manager(stat_prefix, _routes(route_name, hosts), filters, log, proxy)]}
    if tls:
        chain_["filter_chain_match"] = {"server_names": spec["hosts"]}
        chain_["transport_socket"] = _tls(spec["tls"]["credentialName"])
    return {
        "name": f"0.0.0.0_{target}",
        "traffic_direction": "OUTBOUND",
        "address": _address(target),
        "listener_filters": [_listener_filter("tls_inspector")] if tls else [],
        "filter_chains": [chain_],
    }


def _destination(route: Object, known: Mapping[str, Service]) -> str:
    """The cluster of a route; a host that there is no Service of makes one that answers 503."""
    destination = route["destination"]
    port = destination["port"]["number"]
    if destination["host"] not in known:
        return "BlackHoleCluster"
    return f"outbound|{port}||{destination['host']}"


def _manager(stat_prefix: str, routes: Object, filters: list[Object], log: list[Object], proxy: Proxy) -> Object:
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
        "access_log": log,
    }
    if proxy.trusted_proxies and gateway:
        config["xff_num_trusted_hops"] = proxy.trusted_proxies
    return {"name": HCM, "typed_config": config}


def _routes(name: str, hosts: list[Object]) -> Object:
    return {"name": name, "virtual_hosts": hosts, "validate_clusters": False}


def _virtual_host(name: str, domains: list[str], clusters: Sequence[str]) -> Object:
    routes = [
        {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": each, "timeout": "0s"}} for each in clusters
    ]
    return {"name": name, "domains": domains, "routes": routes}


def _address(port: int) -> Object:
    return {"socket_address": {"address": "0.0.0.0", "port_value": port}}


def _listener_filter(name: str, message: str = "TlsInspector") -> Object:
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


def _tls(credential: str) -> Object:
    config = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": f"kubernetes://{credential}"}],
            "alpn_protocols": ["h2", "http/1.1"],
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}
