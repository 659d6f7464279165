"""The matrix: each way to limit, with what may go with it, at each kind of proxy of each version of Istio.

A cell is what one proxy gets. Many cells are alike, whatever their version: `Cell.key` says which, and
tests/e2e/test_istio_matrix.py runs one Envoy for all of a key.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product

from scripts import mesh_versions
from tests.mesh.istiod import Kind, Proxy, Rendered
from tests.mesh.manifests import Object, load
from tests.mesh.running import patient
from tests.mesh.world import GATEWAY, HBONE_SIDECAR, USERS_SIDECAR, WAYPOINT, behind_load_balancer, rendered

BASES = ("none", "at-gateway", "waypoint")
"""Where limits are: at sidecars, at the gateway, at a waypoint."""
BESIDES = (
    (),
    ("behind-load-balancer",),
    ("fail-closed",),
    ("numeric-company",),
    ("tracing",),
    ("behind-load-balancer", "fail-closed", "numeric-company", "tracing"),
)
KINDS = {
    "sidecar": USERS_SIDECAR,
    "sidecar with HBONE": HBONE_SIDECAR,
    "router": GATEWAY,
    "waypoint": WAYPOINT,
}
LIMITING = {"none": ("sidecar", "sidecar with HBONE"), "at-gateway": ("router",), "waypoint": ("waypoint",)}
VERSIONS = {"1.24": ("", "1.24.0"), "1.27": ("", "1.27.0"), "1.27 under 1.28": ("1.28.0", "1.27.0")}
VERSIONS |= {"1.28": ("", "1.28.0"), "1.31": ("", "1.31.0")}
"""Of istiod, where it is another, and of the proxy."""


@cache
def objects(components: tuple[str, ...]) -> list[Object]:
    """Those of `istio/`; not to be changed."""
    return load(*components)


@dataclass(frozen=True)
class Cell:
    """One proxy, with what is applied: *base*, and *besides* it."""

    base: str
    besides: tuple[str, ...]
    kind: str
    version: str

    @property
    def components(self) -> tuple[str, ...]:
        return (*((self.base,) if self.base != "none" else ()), *self.besides)

    @property
    def proxy(self) -> Proxy:
        istiod, version = VERSIONS[self.version]
        proxy = replace(KINDS[self.kind], istiod=istiod, version=version)
        lb = proxy.kind is Kind.GATEWAY and "behind-load-balancer" in self.besides
        return behind_load_balancer(proxy) if lb else proxy

    @property
    def limits(self) -> bool:
        """Whether this proxy is the one that counts."""
        return self.kind in LIMITING[self.base]

    @cached_property
    def refused(self) -> str:
        """What scripts/mesh_versions.py says against it; empty if nothing."""
        istiod, version = VERSIONS[self.version]
        pod = {Kind.WAYPOINT: "users-waypoint", Kind.GATEWAY: "istio-ingress"}.get(self.proxy.kind, "users")
        there = mesh_versions.Proxy(self.proxy.kind.value, f"{pod}-7d9f-abcde", self.proxy.namespace, version)
        applied = objects(self.components)
        places, namespaces = mesh_versions.filters(applied), mesh_versions.namespaces(applied)
        found = mesh_versions.report(places, namespaces, [istiod or version], [there])
        return "; ".join(text for verdict, text in found if verdict == "REFUSED")

    def rendered(self, jwks: str = '{"keys": []}', *, wait: bool = False) -> Rendered:
        """What its proxy gets; to *wait* is to wait for rls as long as a busy machine may take."""
        applied = objects(self.components)
        return rendered(patient(applied) if wait else applied, self.proxy, jwks=jwks)

    @cached_property
    def key(self) -> str:
        """Equal for cells whose Envoys are configured alike."""
        made = self.rendered()
        config: Object = {"listeners": made.listeners, "clusters": made.clusters, "stats": made.stats}
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


@cache
def cells() -> tuple[Cell, ...]:
    """All, by rows of the table."""
    return tuple(
        Cell(base, besides, kind, version) for base, kind, besides, version in product(BASES, KINDS, BESIDES, VERSIONS)
    )
