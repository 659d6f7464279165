"""Listeners before any patch: of a sidecar, of a gateway, of a waypoint.

After pilot/pkg/networking/core/{listener_inbound,listener_builder,listener_waypoint}.go of istio/istio. Filters that are in
Istio's Envoy alone (metadata exchange, istio.stats) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.mesh.istiod.hbone import DIRECT_HTTP, ENCAP, by_service, connect_terminate, main_internal
from tests.mesh.istiod.http import address, last_filters, listener_filter, manager, mtls, route_config, virtual_host
from tests.mesh.istiod.model import Kind, Port, Proxy, Service, selects
from tests.mesh.istiod.outbound import gateway_listener, outbound_listeners, servers
from tests.mesh.istiod.security import jwt_authn, rbac
from tests.mesh.istiod.telemetry import Observed
from tests.mesh.manifests import Object, of


def listeners(
    objects: Sequence[Object], proxy: Proxy, reached: Sequence[Service], jwks: Mapping[str, str], seen: Observed
) -> list[Object]:
    """All with an HTTP connection manager."""

    def filters(*, hbone: bool) -> list[Object]:
        return [*jwt_authn(objects, proxy, jwks), *rbac(objects, proxy, hbone=hbone), *last_filters()]

    if proxy.kind is Kind.GATEWAY:
        filters_ = filters(hbone=False)
        return [gateway_listener(each, objects, proxy, reached, filters_, seen) for each in servers(objects, proxy)]
    if proxy.kind is Kind.WAYPOINT:
        return [connect_terminate(mtls()), _waypoint(proxy, filters(hbone=True), seen)]
    found = [*outbound_listeners(proxy, reached, seen), _inbound(objects, proxy, filters(hbone=False), seen)]
    if not proxy.hbone:
        return found
    return [*found, connect_terminate(mtls()), _inbound_by_hbone(proxy, filters(hbone=True), seen)]


def _inbound(objects: Sequence[Object], proxy: Proxy, filters: list[Object], seen: Observed) -> Object:
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
                    "filters": [manager(f"{name};", routes, filters, seen, proxy)],
                    **({"transport_socket": mtls()} if with_tls else {}),
                }
            )
    return {
        "name": "virtualInbound",
        "traffic_direction": "INBOUND",
        "address": address(15006),
        "listener_filters": [listener_filter("original_dst", "OriginalDst"), listener_filter("tls_inspector")],
        "filter_chains": chains,
    }


def _inbound_by_hbone(proxy: Proxy, filters: list[Object], seen: Observed) -> Object:
    """main_internal of a sidecar: what virtualInbound has, for its own address only, and without mTLS, which has ended."""
    chains = []
    for port, cluster in _inbound_clusters(proxy):
        match: Object = {"prefix_ranges": [{"address_prefix": proxy.address, "prefix_len": 32}]}
        if port.target:
            match["destination_port"] = port.target
        name = _inbound_name(port)
        filters_ = [manager(f"{name};", _inbound_routes(port, cluster), filters, seen, proxy)]
        chains.append({"name": name, "filter_chain_match": match, "filters": filters_})
    return main_internal(chains)


def _inbound_clusters(proxy: Proxy) -> list[tuple[Port, str]]:
    ports = [(port, f"inbound|{port.target}||") for service in proxy.services for port in service.ports]
    return [*ports, (Port(0, 0), "InboundPassthroughCluster")]


def _inbound_name(port: Port) -> str:
    return f"0.0.0.0_{port.target}" if port.target else "virtualInbound-catchall-http"


def _inbound_routes(port: Port, cluster: str) -> Object:
    return route_config(cluster, [virtual_host(f"inbound|http|{port.number}", ["*"], [cluster])])


def _waypoint(proxy: Proxy, filters: list[Object], seen: Observed) -> Object:
    """main_internal of a waypoint: a chain for each port of each service that it stands before, and one for pods."""
    chains: list[Object] = []
    for service in proxy.services:
        for port in service.ports:
            name = f"inbound-vip|{port.number}|http|{service.host}"
            routes = route_config(name, [virtual_host(f"inbound|http|{port.number}", ["*"], [name])])
            chains.append({"name": name, "filters": [manager(name, routes, filters, seen, proxy)]})
    # What is sent to a pod's own address goes on to that address.
    routes = route_config(ENCAP, [virtual_host("inbound|http|0", ["*"], [ENCAP])])
    chains.append({"name": DIRECT_HTTP, "filters": [manager(ENCAP, routes, filters, seen, proxy)]})
    return {**main_internal(chains), "filter_chain_matcher": by_service(proxy.services)}
