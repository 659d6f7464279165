"""Config dumps of a real Envoy that has what istiod gives a proxy: by the same xDS, under the same names.

Nothing is moved to this machine's ports, since no listener binds one. So a dump has the addresses, the filter chain
matches and the resource names of the mesh.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from examples.mesh.envoy import Envoy
from tests.certs import Authority
from tests.mesh.istiod import Kind, Rendered
from tests.mesh.istiod.envoyfilter import HCM
from tests.mesh.loopback import address, secrets
from tests.mesh.manifests import Object
from tests.mesh.mistakes import ROUTER
from tests.mesh.world import TO_RLS, TO_USERS

ENDPOINTS = {
    TO_RLS: [("10.244.1.5", 8081), ("10.244.2.5", 8081)],
    TO_USERS: [("10.244.0.10", 9000)],
}
"""Of clusters, as they are where all is well."""
_KINDS = {Kind.SIDECAR: "sidecar", Kind.GATEWAY: "router", Kind.WAYPOINT: "waypoint"}
_TYPES = "type.googleapis.com/envoy.config"
_INTERNAL_LISTENERS: Object = {
    "name": "envoy.bootstrap.internal_listener",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
    },
}


_authority = functools.cache(Authority)


class _Bootstrap:
    """What istio-agent starts Envoy with: `examples.mesh.envoy.Bootstrap`."""

    def __init__(self, tree: Object, folder: Path) -> None:
        self.tree, self.access_log, self.upstream = tree, folder / "access.log", ""


@contextmanager
def configured(
    rendered: Rendered,
    folder: Path,
    *,
    endpoints: Mapping[str, Sequence[Object]] | None = None,
    more_clusters: Sequence[Object] = (),
    changed: Object | None = None,
) -> Iterator[Envoy]:
    """A proxy that has its configuration.

    Args:
        folder: For its files; it must be empty.
        endpoints: The `lb_endpoints` of clusters, by name, in place of `ENDPOINTS`.
        more_clusters: That EnvoyFilters add.
        changed: What is other in the bootstrap, at its top level.
    """
    rendered = replace(rendered, clusters=[*rendered.clusters, *more_clusters])
    usual = {name: [endpoint(ip, port) for ip, port in pods] for name, pods in ENDPOINTS.items()}
    tree = {**_bootstrap(rendered, folder, {**usual, **(endpoints or {})}), **(changed or {})}
    with Envoy(_Bootstrap(tree, folder), folder) as envoy:
        clusters, listeners = ({each["name"] for each in found} for found in (rendered.clusters, rendered.listeners))
        envoy.wait_until(
            lambda: clusters <= _clusters(envoy) and listeners <= _listeners(envoy), "it has its configuration"
        )
        yield envoy


def config_dump(rendered: Rendered, folder: Path, *, query: str = "?include_eds", **how: Any) -> str:
    """`/config_dump` of a proxy; *how*: see `configured`."""
    with configured(rendered, folder, **how) as envoy:
        return envoy.admin(f"/config_dump{query}").body.decode()


def _clusters(envoy: Envoy) -> set[str]:
    names = envoy.admin("/clusters?format=json").json().get("cluster_statuses", [])
    return {each["name"] for each in names}


def _listeners(envoy: Envoy) -> set[str]:
    """Those that it took, or rejected."""
    found = envoy.admin("/config_dump?resource=dynamic_listeners").json().get("configs", [])
    failed = [each["error_state"].get("failed_configuration", {}) for each in found if "error_state" in each]
    return {each.get("name", "") for each in [*found, *failed] if "warming_state" not in each}


def endpoint(ip: str, port: int, *, mtls: bool = True) -> Object:
    """One of a cluster, as istiod writes it of a pod with a proxy, or without."""
    found: Object = {"endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}}
    if mtls:
        found["metadata"] = {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}}
    return found


def _bootstrap(rendered: Rendered, folder: Path, endpoints: Mapping[str, Sequence[Object]]) -> Object:
    listeners, clusters = json.loads(json.dumps([rendered.listeners, rendered.clusters]))
    for number, cluster in enumerate(clusters):
        if "load_assignment" not in cluster and "type" not in cluster:
            found = [{"lb_endpoints": [*endpoints.get(cluster["name"], ())]}]
            assignment = {"cluster_name": cluster["name"], "endpoints": found}
            file = _resources(folder / f"eds-{number}.json", "endpoint.v3.ClusterLoadAssignment", [assignment])
            cluster["type"] = "EDS"
            cluster["eds_cluster_config"] = {"eds_config": _from(file)}
    for listener in listeners:
        if "internal_listener" not in listener:
            listener["bind_to_port"] = False
        _routes_by_rds(listener, folder, rendered)
    names = set(re.findall(r'"(kubernetes://[^"]*)"', json.dumps(listeners)))
    own = secrets(_authority(), rendered.proxy.spiffe)
    proxy = rendered.proxy
    kind, pod = _KINDS[proxy.kind], f"{proxy.service_account}-5d8f"
    return {
        "node": {
            "id": f"{kind}~10.244.0.10~{pod}.{proxy.namespace}~{proxy.namespace}.svc.cluster.local",
            "cluster": f"{proxy.service_account}.{proxy.namespace}",
            "metadata": {
                "ISTIO_VERSION": proxy.version,
                "NAMESPACE": proxy.namespace,
                "NAME": pod,
                "WORKLOAD_NAME": proxy.service_account,
                "LABELS": dict(proxy.labels),
            },
        },
        "admin": {"address": address(0)},
        "stats_config": rendered.stats,
        "bootstrap_extensions": [_INTERNAL_LISTENERS],
        "dynamic_resources": {
            "lds_config": _from(_resources(folder / "lds.json", "listener.v3.Listener", listeners)),
            "cds_config": _from(_resources(folder / "cds.json", "cluster.v3.Cluster", clusters)),
        },
        "static_resources": {
            "listeners": [_own_listener()],
            "secrets": [*own, *({**own[0], "name": name} for name in names)],
        },
    }


def _own_listener() -> Object:
    """One that istio-agent adds, for statistics: not for requests, so nothing limits it."""
    kinds = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stats",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "backend",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/stats/prometheus"}, "direct_response": {"status": 200}}],
                }
            ]
        },
        "http_filters": [{"name": ROUTER, "typed_config": {"@type": f"{kinds}.http.router.v3.Router"}}],
    }
    return {"address": address(0), "filter_chains": [{"filters": [{"name": HCM, "typed_config": manager}]}]}


def _routes_by_rds(listener: Object, folder: Path, rendered: Rendered) -> None:
    """Gateways get their routes apart from listeners; for inbound listeners istiod writes them inside."""
    if rendered.proxy.kind is not Kind.GATEWAY:
        return
    for manager in _managers(listener):
        routes = manager.pop("route_config")
        file = _resources(folder / f"rds-{listener['name']}.json", "route.v3.RouteConfiguration", [routes])
        manager["rds"] = {"route_config_name": routes["name"], "config_source": _from(file)}


def _managers(listener: Object) -> Iterator[Object]:
    for chain in listener["filter_chains"]:
        for each in chain["filters"]:
            if "route_config" in each["typed_config"]:
                yield each["typed_config"]


def _resources(file: Path, kind: str, found: Sequence[Object]) -> Path:
    resources = [{"@type": f"{_TYPES}.{kind}", **each} for each in found]
    file.write_text(json.dumps({"version_info": "1", "resources": resources}))
    return file


def _from(file: Path) -> Object:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(file)}}
