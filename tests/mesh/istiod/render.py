"""All of it, for one proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.mesh.istiod.clusters import clusters
from tests.mesh.istiod.envoyfilter import Patch, apply, patches
from tests.mesh.istiod.listeners import listeners
from tests.mesh.istiod.model import Proxy, Service, selects
from tests.mesh.manifests import Object, of

# What proxies show of their statistics whatever is asked for, as far as it matters here.
_SHOWN = ["cluster_manager", "listener_manager", "server", "cluster.xds-grpc"]
_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


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
        jwks: The key set behind each jwksUri, which istiod fetches.
    """
    found = patches(objects, proxy)
    log = _access_log(objects, proxy, mesh_config)
    base = listeners(objects, proxy, services, jwks, log)
    return Rendered(proxy, apply(found, base), clusters(objects, proxy, services), _stats(mesh_config), found)


def _access_log(objects: Sequence[Object], proxy: Proxy, mesh_config: Object) -> list[Object]:
    """Of the providers that Telemetry names; one that meshConfig does not have is left out, silently."""
    known = {each["name"]: each for each in mesh_config.get("extensionProviders", ())}
    found = []
    for each in of(objects, "Telemetry"):
        for logging in each["spec"].get("accessLogging", ()) if selects(each, proxy) else ():
            for provider in logging["providers"]:
                if provider["name"] in known:
                    spec = known[provider["name"]]["envoyFileAccessLog"]
                    config = {
                        "@type": _FILE_LOG,
                        "path": spec["path"],
                        "log_format": {"json_format": spec["logFormat"]["labels"]},
                    }
                    found.append({"name": "envoy.access_loggers.file", "typed_config": config})
    return found


def _stats(mesh_config: Object) -> Object:
    """stats_config: all that is not asked for is hidden."""
    matcher = mesh_config.get("defaultConfig", {}).get("proxyStatsMatcher", {})
    shown: list[Object] = [{"prefix": prefix} for prefix in _SHOWN]
    shown += [{"safe_regex": {"regex": regex}} for regex in matcher.get("inclusionRegexps", ())]
    return {"stats_matcher": {"inclusion_list": {"patterns": shown}}}
