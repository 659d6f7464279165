"""Listeners whose requests leave: those of a gateway, and those of a sidecar for what its own pod sends.

After pilot/pkg/networking/core/{gateway,listener}.go of istio/istio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from tests.mesh.istiod.http import (
    address,
    last_filters,
    listener_filter,
    manager,
    route_config,
    server_tls,
    virtual_host,
)
from tests.mesh.istiod.model import Proxy, Service
from tests.mesh.istiod.telemetry import Observed
from tests.mesh.manifests import Object, ns, of


def outbound_listeners(proxy: Proxy, reached: Sequence[Service], seen: Observed) -> list[Object]:
    """One of a sidecar for each port that speaks HTTP, with a virtual host for each Service that has it."""
    hosts: dict[int, list[Object]] = {}
    for service in reached:
        for port in service.ports:
            if port.protocol != "tcp":
                name = f"{service.host}:{port.number}"
                cluster = f"outbound|{port.number}||{service.host}"
                hosts.setdefault(port.number, []).append(virtual_host(name, [service.host, name], [cluster]))
    return [
        {
            "name": f"0.0.0.0_{number}",
            "traffic_direction": "OUTBOUND",
            "address": address(number),
            "filter_chains": [
                {
                    "filter_chain_match": {"transport_protocol": "raw_buffer"},
                    "filters": [
                        manager(
                            f"outbound_0.0.0.0_{number};", route_config(str(number), found), last_filters(), seen, proxy
                        )
                    ],
                }
            ],
        }
        for number, found in hosts.items()
    ]


def servers(objects: Sequence[Object], proxy: Proxy) -> list[tuple[Object, Object]]:
    """Of Istio's Gateways that select the proxy; by default they do so in every namespace."""
    return [
        (each, server)
        for each in of(objects, "Gateway")
        if each["apiVersion"].startswith("networking.istio.io/")
        if all(proxy.labels.get(name) == value for name, value in each["spec"]["selector"].items())
        for server in each["spec"]["servers"]
    ]


def gateway_listener(
    server: tuple[Object, Object],
    objects: Sequence[Object],
    proxy: Proxy,
    reached: Sequence[Service],
    filters: list[Object],
    seen: Observed,
) -> Object:
    """One listener for each port; its number is the target port of the gateway's own Service, where it knows that."""
    gateway, spec = server
    number, protocol = spec["port"]["number"], spec["port"]["protocol"]
    (ports,) = (service.ports for service in proxy.services)
    (target,) = (port.target for port in ports if port.number == number)
    name = f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"
    known = {service.host: service for service in reached}
    hosts = []
    for each in of(objects, "VirtualService"):
        if name not in each["spec"]["gateways"]:
            continue
        for host in set(each["spec"]["hosts"]) & set(spec["hosts"]):
            clusters = [
                _destination(route, known) for route in chain(*(http["route"] for http in each["spec"]["http"]))
            ]
            made = virtual_host(f"{host}:{number}", [host, f"{host}:*"], clusters)
            if (spec.get("tls") or {}).get("httpsRedirect"):
                made["require_tls"] = "ALL"
            hosts.append(made)
    tls = protocol == "HTTPS"
    route_name = (
        f"https.{number}.{spec['port']['name']}.{gateway['metadata']['name']}.{ns(gateway)}"
        if tls
        else f"http.{target}"
    )
    stat_prefix = f"outbound_0.0.0.0_{target};"
    chain_: Object = {"filters": [manager(stat_prefix, route_config(route_name, hosts), filters, seen, proxy)]}
    if tls:
        chain_["filter_chain_match"] = {"server_names": spec["hosts"]}
        chain_["transport_socket"] = server_tls(spec["tls"]["credentialName"])
    return {
        "name": f"0.0.0.0_{target}",
        "traffic_direction": "OUTBOUND",
        "address": address(target),
        "listener_filters": [listener_filter("tls_inspector")] if tls else [],
        "filter_chains": [chain_],
    }


def _destination(route: Object, known: Mapping[str, Service]) -> str:
    """The cluster of a route; a host that there is no Service of makes one that answers 503."""
    destination = route["destination"]
    port = destination["port"]["number"]
    if destination["host"] not in known:
        return "BlackHoleCluster"
    return f"outbound|{port}||{destination['host']}"
