"""Reads config dumps: Envoy's `/config_dump`, also as `istioctl proxy-config all -o json` prints it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from rls.errors import RlsError
from rls.file_kinds import kind_of
from rls.mesh.model import Chain, Cluster, Endpoint, HttpFilter, Kind, Proxy, Rejected, Role
from rls.mesh.trees import Tree, number, text, texts, tree, trees, typed

_KINDS = {"sidecar": Kind.SIDECAR, "router": Kind.GATEWAY, "waypoint": Kind.WAYPOINT}
"""By the first part of a node's id, as istio-agent writes it."""
_TUNNELS = ("connect_terminate", "forward_inner_connect")
_INBOUND = ("virtualInbound", "main_internal")
_OWN_PORTS = (15006, 15008)
"""Ports that a sidecar takes redirected connections at: no port of a Service."""


class NotADump(RlsError):
    """A file holds no config dump; the text says what it holds, and what was expected."""


def read(data: bytes | str, source: str) -> Proxy:
    """The proxy whose dump *data* is; *source* names it in messages.

    Raises:
        NotADump: It is none.
    """
    configs = _configs(data, source)
    bootstrap = tree(configs.get("BootstrapConfigDump"), "bootstrap")
    listeners = configs.get("ListenersConfigDump")
    if listeners is None:
        raise NotADump(
            f"{source}: a config dump without listeners, expected the whole of /config_dump, without mask or resource"
        )
    routes, extensions = _routes(configs), _extensions(configs)
    kind, namespace, name, workload, version = _identity(tree(bootstrap, "node"))
    if kind is Kind.ENVOY:
        kind = _by_listeners(_listeners(listeners))
    chains: list[Chain] = []
    tcp: set[int] = set()
    for listener in _listeners(listeners):
        for chain in _filter_chains(listener):
            found = _chain(listener, chain, kind, routes, extensions)
            if found is not None:
                chains.append(found)
            elif _role(listener, kind) is Role.REQUESTS:
                tcp.add(number(chain, "filter_chain_match", "destination_port"))
    http = {chain.port for chain in chains if chain.role is Role.REQUESTS}
    return Proxy(
        source,
        kind,
        namespace,
        name,
        workload,
        version,
        tuple(chains),
        tuple(sorted(tcp - http - {0, *_OWN_PORTS})),
        _clusters(configs),
        tree(bootstrap, "stats_config", "stats_matcher"),
        _runtime(bootstrap),
        tuple(_rejected(configs, kind)),
    )


def _configs(data: bytes | str, source: str) -> dict[str, Tree]:
    """The sections of a dump, by the names of their messages."""
    try:
        loaded = json.loads(data)
    except (ValueError, RecursionError):
        kind = kind_of(data.encode() if isinstance(data, str) else data)
        raise NotADump(f"{source}: it is {kind}, expected the output of Envoy's /config_dump, which is JSON") from None
    if isinstance(loaded, list):
        raise NotADump(
            f"{source}: a list, expected a whole dump: `istioctl proxy-config all POD -o json`, not `listener`"
        )
    sections = trees(loaded, "configs")
    found = {typed(section)[0]: section for section in sections}
    if not any(name.endswith("ConfigDump") for name in found):
        raise NotADump(f"{source}: no config dump, expected an object with `configs`, as Envoy's /config_dump has it")
    return found


def _identity(node: Tree) -> tuple[Kind, str, str, str, str]:
    """Kind, namespace, name, workload and version, by the node's id `KIND~IP~POD.NAMESPACE~DOMAIN` and metadata."""
    parts = text(node, "id").split("~")
    kind = _KINDS.get(parts[0], Kind.ENVOY)
    metadata = tree(node, "metadata")
    pod, _, namespace = (parts[2] if len(parts) == 4 else "").rpartition(".")
    name = text(metadata, "NAME") or pod
    if kind is Kind.ENVOY:
        name = name or text(node, "id")
    namespace = text(metadata, "NAMESPACE") or namespace
    return kind, namespace, name, text(metadata, "WORKLOAD_NAME"), text(metadata, "ISTIO_VERSION")


def _by_listeners(listeners: Sequence[Tree]) -> Kind:
    """What a proxy is whose dump lacks the bootstrap: by the listeners that istiod makes."""
    names = {text(each, "name") for each in listeners}
    return Kind.SIDECAR if "virtualInbound" in names else Kind.WAYPOINT if "main_internal" in names else Kind.ENVOY


def _listeners(section: Tree) -> list[Tree]:
    """Those in force. Static ones beside others are istio-agent's own: probes and metrics."""
    dynamic = [
        tree(each, state, "listener")
        for each in trees(section, "dynamic_listeners")
        for state in ("active_state", "warming_state")
        if state in each
    ]
    unique = {text(each, "name"): each for each in reversed(dynamic)}
    static = [tree(each, "listener") for each in trees(section, "static_listeners")]
    rejected = any("error_state" in each for each in trees(section, "dynamic_listeners"))
    return [*reversed(unique.values())] or ([] if rejected else static)


def _filter_chains(listener: Tree) -> list[Tree]:
    default = [tree(listener, "default_filter_chain")] if "default_filter_chain" in listener else []
    return [*trees(listener, "filter_chains"), *default]


def _chain(
    listener: Tree, chain: Tree, kind: Kind, routes: Mapping[str, Tree], extensions: Mapping[str, Tree]
) -> Chain | None:
    """*chain*, where it has a connection manager."""
    manager: Tree | None = None
    rbac = []
    for each in trees(chain, "filters"):
        message, config = typed(each.get("typed_config"))
        if message == "HttpConnectionManager":
            manager = config
        elif message == "RBAC":
            rbac.append(config)
    if manager is None:
        return None
    filters = tuple(_http_filter(each, extensions) for each in trees(manager, "http_filters"))
    name = text(listener, "name") or f"port {_listener_port(listener)}"
    inline = tree(manager, "route_config")
    socket = typed(tree(chain, "transport_socket").get("typed_config"))[1]
    return Chain(
        name,
        text(chain, "name") or _by_hosts(chain) or name,
        _role(listener, kind),
        _port(listener, chain, kind),
        bool(socket) or text(chain, "filter_chain_match", "transport_protocol") == "tls",
        bool(socket.get("require_client_certificate")),
        manager,
        filters,
        inline or routes.get(text(manager, "rds", "route_config_name"), {}),
        tuple(rbac),
    )


def _by_hosts(chain: Tree) -> str:
    """What tells chains of a gateway's port from each other, which have no names."""
    names = texts(chain, "filter_chain_match", "server_names")
    return f"for {', '.join(names)}" if names else ""


def _http_filter(each: Tree, extensions: Mapping[str, Tree]) -> HttpFilter:
    name = text(each, "name")
    found = each.get("typed_config") if "typed_config" in each else extensions.get(name)
    return HttpFilter(name, *typed(found), bool(each.get("disabled")))


def _role(listener: Tree, kind: Kind) -> Role:
    name = text(listener, "name")
    if name in _TUNNELS:
        return Role.TUNNELS
    inbound = text(listener, "traffic_direction") == "INBOUND" or name.partition(":")[0] in _INBOUND
    if kind in {Kind.GATEWAY, Kind.ENVOY} or inbound:
        return Role.REQUESTS
    return Role.CALLS


def _port(listener: Tree, chain: Tree, kind: Kind) -> int:
    port = number(chain, "filter_chain_match", "destination_port")
    if port or kind in {Kind.SIDECAR, Kind.WAYPOINT}:
        return port
    return _listener_port(listener)


def _listener_port(listener: Tree) -> int:
    return number(listener, "address", "socket_address", "port_value")


def _routes(configs: Mapping[str, Tree]) -> dict[str, Tree]:
    """Route configurations by name."""
    section = configs.get("RoutesConfigDump", {})
    found = [
        tree(each, "route_config")
        for name in ("static_route_configs", "dynamic_route_configs")
        for each in trees(section, name)
    ]
    return {text(each, "name"): each for each in found}


def _extensions(configs: Mapping[str, Tree]) -> dict[str, Tree]:
    """Configurations of HTTP filters that come by ECDS, by their filters' names."""
    section = configs.get("EcdsConfigDump", {})
    found = [tree(each, "ecds_filter") for each in trees(section, "ecds_filters")]
    return {text(each, "name"): tree(each, "typed_config") for each in found}


def _clusters(configs: Mapping[str, Tree]) -> dict[str, Cluster]:
    section = configs.get("ClustersConfigDump", {})
    found = [
        tree(each, "cluster")
        for name in ("static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters")
        for each in trees(section, name)
    ]
    assignments = _assignments(configs)
    return {text(each, "name"): Cluster(text(each, "name"), each, _endpoints(each, assignments)) for each in found}


def _assignments(configs: Mapping[str, Tree]) -> dict[str, Tree] | None:
    """Endpoints by the name of their cluster; None where the dump was taken without them."""
    section = configs.get("EndpointsConfigDump")
    if section is None:
        return None
    found = [
        tree(each, "endpoint_config")
        for name in ("static_endpoint_configs", "dynamic_endpoint_configs")
        for each in trees(section, name)
    ]
    return {text(each, "cluster_name"): each for each in found}


def _endpoints(cluster: Tree, assignments: Mapping[str, Tree] | None) -> tuple[Endpoint, ...] | None:
    if text(cluster, "type") == "ORIGINAL_DST":
        return None
    if assignments is None:
        inside = tree(cluster, "load_assignment")
        return tuple(_each_endpoint(inside)) if inside else None
    name = text(cluster, "eds_cluster_config", "service_name") or text(cluster, "name")
    return tuple(_each_endpoint(assignments.get(name, {})))


def _each_endpoint(assignment: Tree) -> Iterator[Endpoint]:
    for group in trees(assignment, "endpoints"):
        for each in trees(group, "lb_endpoints"):
            address = tree(each, "endpoint", "address", "socket_address")
            mode = text(each, "metadata", "filter_metadata", "envoy.transport_socket_match", "tlsMode")
            healthy = text(each, "health_status") in {"", "UNKNOWN", "HEALTHY", "DEGRADED"}
            yield Endpoint(text(address, "address"), number(address, "port_value"), healthy, mode == "istio")


def _runtime(bootstrap: Tree) -> Tree:
    """Values of static layers; a later layer wins."""
    found: Tree = {}
    for layer in trees(bootstrap, "layered_runtime", "layers"):
        found.update(_flat(tree(layer, "static_layer")))
    return found


def _flat(values: Tree, prefix: str = "") -> Tree:
    found: Tree = {}
    for name, value in values.items():
        if isinstance(value, dict) and "numerator" not in value:
            found.update(_flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found


_RESOURCES = (
    ("listener", "ListenersConfigDump", "dynamic_listeners"),
    ("cluster", "ClustersConfigDump", "dynamic_active_clusters"),
    ("cluster", "ClustersConfigDump", "dynamic_warming_clusters"),
    ("route_config", "RoutesConfigDump", "dynamic_route_configs"),
)


def _rejected(configs: Mapping[str, Tree], proxy: Kind) -> Iterator[Rejected]:
    for kind, section, name in _RESOURCES:
        for each in trees(configs.get(section, {}), name):
            if error := tree(each, "error_state"):
                failed = tree(error, "failed_configuration")
                chains = [_chain(failed, chain, proxy, {}, {}) for chain in _filter_chains(failed)]
                named = text(each, "name") or text(failed, "name") or text(each, kind, "name")
                yield Rejected(kind, named, text(error, "details"), tuple(chain for chain in chains if chain))
