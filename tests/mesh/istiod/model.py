"""A proxy and the services of a mesh, as istiod knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.mesh.manifests import Object, ns


class Kind(Enum):
    """What a proxy is: its type in istiod's words."""

    SIDECAR = "sidecar"
    GATEWAY = "router"
    WAYPOINT = "waypoint"

    @property
    def contexts(self) -> tuple[str, ...]:
        """Of the patches that it takes. The context WAYPOINT is in the CRD, and nothing applies it."""
        return {"sidecar": ("SIDECAR_INBOUND", "SIDECAR_OUTBOUND"), "router": ("GATEWAY",)}.get(
            self.value, ("SIDECAR_INBOUND",)
        )

    def context_of(self, listener: Object) -> str:
        """Of the patches that one of its listeners takes."""
        return self.contexts[-1 if listener.get("traffic_direction") == "OUTBOUND" else 0]


@dataclass(frozen=True)
class Port:
    """Of a Service; *target* is the container's."""

    number: int
    target: int
    name: str = ""
    app_protocol: str = ""

    @property
    def protocol(self) -> str:
        """`http`, `grpc`, `http2` or `tcp`: appProtocol, else the name up to its first dash."""
        said = (self.app_protocol or self.name.partition("-")[0]).lower()
        return said if said in {"http", "http2", "grpc"} else "tcp"


@dataclass(frozen=True)
class Service:
    """A Service; *address* is its cluster IP, which waypoints look at."""

    name: str
    namespace: str
    ports: Sequence[Port]
    address: str = ""

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc.cluster.local"


@dataclass(frozen=True)
class Proxy:
    """A proxy.

    Args:
        version: What it says of itself, ISTIO_VERSION.
        istiod: The version of its istiod, where that is another, as during an upgrade.
        services: Those whose pod it stands in, or, for a waypoint, stands before.
        trusted_proxies: numTrustedProxies of its gatewayTopology.
        only_named_clusters: PILOT_FILTER_GATEWAY_CLUSTER_CONFIG; waypoints always have named clusters only.
        hbone: A sidecar with ENABLE_HBONE, as the ambient profile sets it; waypoints always speak HBONE.
        address: Of its pod, which a sidecar with HBONE looks at.
    """

    kind: Kind
    namespace: str
    service_account: str
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = "1.31.0"
    istiod: str = ""
    services: Sequence[Service] = ()
    trusted_proxies: int = 0
    only_named_clusters: bool = False
    hbone: bool = False
    address: str = ""

    @property
    def spiffe(self) -> str:
        return f"spiffe://cluster.local/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def release(self) -> tuple[int, int]:
        """Of its istiod."""
        major, minor = re.findall(r"[0-9]+", self.istiod or self.version)[:2]
        return int(major), int(minor)


ROOT_NAMESPACE = "istio-system"
CONNECT_TERMINATE, MAIN_INTERNAL = "connect_terminate", "main_internal"
"""The two listeners of HBONE: the one that ends tunnels, and the one for the requests in them."""
TARGET_REFS_SINCE = (1, 27)
"""The Istio release that first honours targetRefs of an EnvoyFilter."""


def selects(each: Object, proxy: Proxy) -> bool:
    """Whether an object is for a proxy: by its namespace, and by its selector or its targetRefs.

    A selector selects in its own namespace only, or everywhere from the root namespace. A waypoint is reached by
    targetRefs alone, but by a Telemetry of its namespace as well. Before Istio 1.27 targetRefs of an EnvoyFilter are
    ignored: without a selector, it is for every proxy of its namespace.
    """
    if ns(each) not in {proxy.namespace, ROOT_NAMESPACE}:
        return False
    spec: Mapping[str, Any] = each.get("spec") or {}
    if each["kind"] == "EnvoyFilter" and proxy.release < TARGET_REFS_SINCE:
        return _has_labels(proxy, spec)
    gateway = proxy.labels.get("gateway.networking.k8s.io/gateway-name")
    if references := spec.get("targetRefs"):
        return any(
            (reference.get("group"), reference["kind"], reference["name"])
            == ("gateway.networking.k8s.io", "Gateway", gateway)
            for reference in references
        )
    if proxy.kind is Kind.WAYPOINT and each["kind"] != "Telemetry":
        return False
    return _has_labels(proxy, spec)


def _has_labels(proxy: Proxy, spec: Mapping[str, Any]) -> bool:
    labels = (spec.get("workloadSelector") or {}).get("labels") or (spec.get("selector") or {}).get("matchLabels") or {}
    return all(proxy.labels.get(name) == value for name, value in labels.items())
