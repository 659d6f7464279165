"""What istiod gives a proxy, made to run on this machine: other addresses, certificates at hand, nothing else changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from examples.mesh.processes import free_port
from tests.certs import Authority
from tests.mesh.istiod import Kind, Rendered
from tests.mesh.istiod.envoyfilter import HCM
from tests.mesh.istiod.http import common_tls
from tests.mesh.istiod.model import CONNECT_TERMINATE
from tests.mesh.manifests import Object

_INTERNAL_LISTENERS: Object = {
    "name": "envoy.bootstrap.internal_listener",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
    },
}


class Endpoint(NamedTuple):
    """A port of this machine; *mtls* where a proxy listens there."""

    port: int
    mtls: bool = False


class Placed:
    """A bootstrap for one Envoy (`examples.mesh.envoy.Bootstrap`).

    - A listener for each port of the pod, as nothing redirects connections to one listener here.
    - A gateway's HTTPS servers are plain HTTP: clients need no certificate of it.
    - Endpoints come by EDS, as in the mesh, but from files in *folder*: at first those of *endpoints*, by cluster.

    Args:
        identity: Whose certificate it has; its own unless said otherwise.

    Attributes:
        tree: The bootstrap in JSON.
        ports: Where it will listen, by the container's port, or by that of the gateway's pod.
    """

    def __init__(
        self,
        rendered: Rendered,
        endpoints: Mapping[str, Sequence[Endpoint]],
        authority: Authority,
        folder: Path,
        *,
        identity: str = "",
    ) -> None:
        self.access_log = folder / "access.log"
        self._folder = folder
        self._kind = rendered.proxy.kind
        self.ports: dict[int, int] = {}
        # All that was rendered may be placed more than once.
        copied = json.loads(json.dumps({"listeners": rendered.listeners, "clusters": rendered.clusters}))
        listeners = [each for listener in copied["listeners"] for each in self._listeners(listener, rendered)]
        for manager in _each(listeners, HCM):
            for log in manager["typed_config"]["access_log"]:
                log["typed_config"]["path"] = str(self.access_log)
        # Inside of HBONE a request still has the port that it was sent to.
        outer = [listener for listener in listeners if "internal_listener" not in listener]
        for matcher in _holding(outer, "destination_port"):
            matcher["destination_port"] = self.ports.get(matcher["destination_port"], matcher["destination_port"])
        for cluster in copied["clusters"]:
            if "load_assignment" in cluster:
                continue
            self.send_to(cluster["name"], endpoints.get(cluster["name"], ()))
            cluster["type"] = "EDS"
            source = {"path_config_source": {"path": str(self._endpoints_file(cluster["name"]))}}
            cluster["eds_cluster_config"] = {"eds_config": {"resource_api_version": "V3", **source}}
        self.upstream = f"{self._upstream_cluster(rendered)};"
        self.tree: dict[str, Any] = {
            "node": {"id": f"{rendered.proxy.kind.name.lower()}~{rendered.proxy.spiffe}", "cluster": "mesh"},
            "admin": {"address": address(0)},
            "stats_config": rendered.stats,
            "bootstrap_extensions": [_INTERNAL_LISTENERS],
            "static_resources": {
                "listeners": listeners,
                "clusters": copied["clusters"],
                "secrets": secrets(authority, identity or rendered.proxy.spiffe),
            },
        }

    def send_to(self, cluster: str, endpoints: Sequence[Endpoint]) -> None:
        """Let a cluster have these endpoints, now or while Envoy runs."""
        found = []
        for endpoint in endpoints:
            entry: Object = {"endpoint": {"address": address(endpoint.port)}}
            if endpoint.mtls:
                entry["metadata"] = {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}}
            found.append(entry)
        assignment = {"cluster_name": cluster, "endpoints": [{"lb_endpoints": found}] if found else []}
        kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
        file = self._endpoints_file(cluster)
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps({"resources": [{"@type": kind, **assignment}]}))
        # Envoy looks at a file when another takes its place.
        fresh.rename(file)

    def _endpoints_file(self, cluster: str) -> Path:
        return self._folder / f"{cluster.replace('|', '_')}.json"

    @property
    def http_filters(self) -> list[Object]:
        """Those of the first listener for requests."""
        manager = _for_requests(self.tree["static_resources"]["listeners"], self._kind)[0]
        filters: list[Object] = manager["typed_config"]["http_filters"]
        return filters

    def _listeners(self, listener: Object, rendered: Rendered) -> Iterator[Object]:
        if "internal_listener" in listener:
            yield listener
            return
        by_port: dict[int, list[Object]] = {}
        for chain in listener["filter_chains"]:
            match = chain.get("filter_chain_match", {})
            match.pop("server_names", None)
            own = listener.get("address", address(0))["socket_address"]["port_value"]
            port = match.pop("destination_port", 0 if listener["name"] == "virtualInbound" else own)
            if rendered.proxy.kind is Kind.GATEWAY or listener.get("traffic_direction") == "OUTBOUND":
                chain.pop("transport_socket", None)
                match.pop("transport_protocol", None)
            by_port.setdefault(port, []).append(chain)
        filters = [
            each
            for each in listener.get("listener_filters", ())
            if each["name"] == "envoy.filters.listener.tls_inspector" and rendered.proxy.kind is not Kind.GATEWAY
        ]
        # The ports that were declared before that of all others.
        for port, chains in sorted(by_port.items(), reverse=True):
            self.ports[port] = free_port()
            yield {
                **{name: listener[name] for name in ("traffic_direction",) if name in listener},
                "name": f"{listener['name']}:{port}",
                "address": address(self.ports[port]),
                "listener_filters": filters,
                "filter_chains": chains,
            }

    @staticmethod
    def _upstream_cluster(rendered: Rendered) -> str:
        """Where requests go from the last virtual host of the first listener with any."""
        routes = [
            route["route"]["cluster"]
            for manager in _for_requests(rendered.listeners, rendered.proxy.kind)
            for host in manager["typed_config"]["route_config"]["virtual_hosts"]
            for route in host["routes"]
        ]
        return routes[0] if routes else ""


def address(port: int) -> Object:
    """A port of this machine, as Envoy wants it; 0 is for Envoy to choose."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def secrets(authority: Authority, name: str) -> list[Object]:
    """What istio-agent would give a proxy of that name."""
    cert, key = authority.issue(name)
    chain = {"inline_string": cert.decode()}
    return [
        {
            "name": "default",
            "tls_certificate": {"certificate_chain": chain, "private_key": {"inline_string": key.decode()}},
        },
        {"name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_string": authority.pem.decode()}}},
    ]


def to_tls(protocols: Sequence[str]) -> Object:
    """The transport socket of a cluster whose servers are proxies of the mesh."""
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    common = {**common_tls(), "alpn_protocols": [*protocols]}
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind, "common_tls_context": common}}


def _for_requests(listeners: Sequence[Object], kind: Kind) -> list[Object]:
    """The HTTP connection managers, without that which ends tunnels, and those for what a sidecar's own pod sends."""
    passed = [each for each in listeners if kind is Kind.GATEWAY or each.get("traffic_direction") != "OUTBOUND"]
    return [each for each in _each(passed, HCM) if each["typed_config"]["stat_prefix"] != CONNECT_TERMINATE]


def _each(tree: Any, name: str) -> Iterator[Object]:
    """All filters of that name in *tree*."""
    yield from (found for found in _holding(tree, "typed_config") if found.get("name") == name)


def _holding(tree: Any, field: str) -> Iterator[Object]:
    """All messages in *tree* that have *field*."""
    if isinstance(tree, dict):
        if field in tree:
            yield tree
        for inner in tree.values():
            yield from _holding(inner, field)
    elif isinstance(tree, list):
        for inner in tree:
            yield from _holding(inner, field)
