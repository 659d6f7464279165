"""All of it, for one proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.mesh.istiod.clusters import clusters, visible
from tests.mesh.istiod.envoyfilter import Patch, apply, patches
from tests.mesh.istiod.listeners import listeners
from tests.mesh.istiod.model import Proxy, Service
from tests.mesh.istiod.telemetry import observed
from tests.mesh.manifests import Object

# What proxies show of their statistics whatever is asked for, as far as it matters here.
_SHOWN = ["cluster_manager", "listener_manager", "server", "cluster.xds-grpc"]


@dataclass(frozen=True)
class Rendered:
    """What istiod and istio-agent give a proxy.

    Attributes:
        patches: Those of EnvoyFilters that the proxy takes, with how often each matched.
    """

    proxy: Proxy
    listeners: list[Object]
    clusters: list[Object]
    stats: Object
    patches: list[Patch]


def render(
    objects: Sequence[Object],
    proxy: Proxy,
    services: Sequence[Service],
    *,
    mesh_config: Object,
    jwks: Mapping[str, str],
) -> Rendered:
    """What *proxy* gets of *objects*.

    Args:
        objects: Of all namespaces.
        services: Of all namespaces.
        mesh_config: `meshConfig`.
        jwks: The key set behind each jwksUri, which istiod fetches; it gives proxies a placeholder for one that is not here.
    """
    found = patches(objects, proxy)
    reached = list(visible(objects, proxy, services, mesh_config))
    seen = observed(objects, proxy, mesh_config)
    base = listeners(objects, proxy, reached, jwks, seen)
    return Rendered(proxy, apply(found, base, proxy), clusters(objects, proxy, reached), _stats(mesh_config), found)


def _stats(mesh_config: Object) -> Object:
    """stats_config: all that is not asked for is hidden."""
    matcher = mesh_config.get("defaultConfig", {}).get("proxyStatsMatcher", {})
    shown: list[Object] = [{"prefix": prefix} for prefix in _SHOWN]
    shown += [{"safe_regex": {"regex": regex}} for regex in matcher.get("inclusionRegexps", ())]
    return {"stats_matcher": {"inclusion_list": {"patterns": shown}}}
