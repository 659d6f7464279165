"""A proxy as far as rate limits depend on it: where requests come in, what limits them, whom it asks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rls.mesh.trees import Tree, number, text, tree, trees, typed


class Kind(StrEnum):
    """What a proxy is; ENVOY is one that istiod does not configure."""

    SIDECAR = "sidecar"
    GATEWAY = "gateway"
    WAYPOINT = "waypoint"
    ENVOY = "envoy"


class Role(StrEnum):
    """What a listener takes: requests that may be limited, tunnels that hold such, or calls that the pod makes."""

    REQUESTS = "requests"
    TUNNELS = "tunnels"
    CALLS = "calls"


@dataclass(frozen=True, slots=True)
class HttpFilter:
    """One of a connection manager; *message* is the name of its configuration's message, without the package.

    *disabled*: it is off at routes that have no configuration of their own for it.
    """

    name: str
    message: str
    config: Tree
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """A filter chain with an HTTP connection manager.

    Attributes:
        listener: Its listener's name.
        name: Its own name, else the hosts that it is for, else the listener's name.
        port: The port that it is for; 0 for all others.
        tls: Whether it takes TLS.
        only_tls: Whether it asks clients for a certificate.
        manager: The connection manager's configuration.
        filters: Of HTTP, in their order.
        routes: Its route configuration; empty where the dump does not have it.
        rbac: The configurations of network filters that authorize.
    """

    listener: str
    name: str
    role: Role
    port: int
    tls: bool
    only_tls: bool
    manager: Tree
    filters: tuple[HttpFilter, ...]
    routes: Tree
    rbac: tuple[Tree, ...] = ()

    def of(self, message: str) -> list[tuple[int, HttpFilter]]:
        """Its filters of a kind, with their places."""
        return [(place, each) for place, each in enumerate(self.filters) if each.message == message]

    def hosts(self) -> list[Tree]:
        """Its virtual hosts."""
        return trees(self.routes, "virtual_hosts")

    def clusters(self) -> list[str]:
        """Where its routes lead to, each once."""
        actions = [tree(route, "route") for host in self.hosts() for route in trees(host, "routes")]
        found = [text(action, "cluster") for action in actions]
        found += [text(each, "name") for action in actions for each in trees(action, "weighted_clusters", "clusters")]
        return [name for name in dict.fromkeys(found) if name]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of a cluster; *mtls*: whether istiod says that a proxy with mTLS is there."""

    address: str
    port: int
    healthy: bool
    mtls: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster. *endpoints* is None where the dump has none of any cluster."""

    name: str
    config: Tree
    endpoints: tuple[Endpoint, ...] | None

    @property
    def type(self) -> str:
        """Its discovery type; STATIC is what proto3 leaves out."""
        return text(self.config, "type") or "STATIC"

    @property
    def stat_name(self) -> str:
        """Its name in statistics."""
        return (text(self.config, "alt_stat_name") or self.name).replace(":", "_")

    @property
    def http2(self) -> bool:
        """Whether it speaks HTTP/2, which gRPC needs."""
        if "http2_protocol_options" in self.config:
            return True
        for value in tree(self.config, "typed_extension_protocol_options").values():
            options = tree(value)
            ways = [tree(options, way) for way in ("explicit_http_config", "use_downstream_protocol_config")]
            if "auto_config" in options or any("http2_protocol_options" in way for way in ways):
                return True
        return False

    def certificates(self, *, mtls: bool) -> bool:
        """Whether it presents a certificate to an endpoint that istiod says has *mtls*, or has not."""
        sockets = [tree(self.config, "transport_socket")]
        for each in trees(self.config, "transport_socket_matches"):
            wanted = text(each, "match", "tlsMode")
            if not wanted or (mtls and wanted == "istio"):
                sockets = [tree(each, "transport_socket")]
                break
        contexts = [tree(typed(socket.get("typed_config"))[1]) for socket in sockets]
        return any(_has_certificate(context) for context in contexts)


def _has_certificate(context: Tree) -> bool:
    inner = typed(tree(context, "transport_socket").get("typed_config"))[1]  # of a socket around another
    common = tree(context, "common_tls_context")
    names = ("tls_certificates", "tls_certificate_sds_secret_configs", "tls_certificate_provider_instance")
    return any(name in common for name in names) or (bool(inner) and _has_certificate(inner))


@dataclass(frozen=True, slots=True)
class Rejected:
    """A resource whose newest version Envoy rejected: what kind, its name, and why; of a listener its chains, too."""

    kind: str
    name: str
    details: str
    chains: tuple[Chain, ...] = ()


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        source: The file or pod that its dump is of.
        workload: What it stands beside, the same for all its pods; "" where the dump does not say.
        version: Of Istio; "" for other Envoys.
        tcp_ports: Ports of a Service that it takes no requests at, only connections.
        stats: `stats_matcher`.
        runtime: What layers of the bootstrap set.
    """

    source: str
    kind: Kind
    namespace: str
    name: str
    workload: str
    version: str
    chains: tuple[Chain, ...] = ()
    tcp_ports: tuple[int, ...] = ()
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    stats: Tree = field(default_factory=dict)
    runtime: Tree = field(default_factory=dict)
    rejected: tuple[Rejected, ...] = ()

    @property
    def title(self) -> str:
        """What it is called in texts."""
        name = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.kind} {name or self.source}"

    @property
    def group(self) -> str:
        """What it is one of, such as `the sidecars of users`."""
        return f"the {self.kind}s of {self.namespace}"

    @property
    def release(self) -> tuple[int, int] | None:
        """Major and minor of its Istio; None where the dump does not say."""
        found = re.match(r"([0-9]+)\.([0-9]+)", self.version)
        return (int(found[1]), int(found[2])) if found else None

    def requests(self) -> Iterator[Chain]:
        """Its chains for requests that may be limited.

        Chains that only redirect are left out: a redirect has no upstream, and Envoy never limits it.
        """
        for chain in self.chains:
            if chain.role is Role.REQUESTS and not _only_redirects(chain):
                yield chain


def _only_redirects(chain: Chain) -> bool:
    hosts = chain.hosts()
    return bool(hosts) and all(_redirects(host) for host in hosts)


def _redirects(host: Tree) -> bool:
    if text(host, "require_tls") == "ALL":
        return True
    routes = trees(host, "routes")
    return bool(routes) and not any("route" in route for route in routes)


def trusted_hops(chain: Chain) -> int:
    """`xff_num_trusted_hops`: entries of X-Forwarded-For from the right that are proxies."""
    return number(chain.manager, "xff_num_trusted_hops")
