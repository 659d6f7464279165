"""What has to be changed: the kind of object, and its file in this project, by the kind of proxy and its version."""

from __future__ import annotations

from enum import Enum, auto

from rls.mesh.model import Kind, Proxy


class Target(Enum):
    """What has to be changed."""

    FILTER = auto()
    OPTIONAL_JWT = auto()
    TOKENS = auto()
    CLUSTERS = auto()
    SERVICE = auto()
    PODS = auto()
    HOPS = auto()
    MESH = auto()
    POLICY = auto()
    LOG = auto()
    RULES = auto()
    VARIANT = auto()
    NONE = auto()


_OF_RLS = {Target.PODS, Target.RULES, Target.VARIANT, Target.NONE}


def target(wanted: Target, proxy: Proxy | None) -> tuple[str, str, str]:
    """Kind of object, file, and field; each may be empty, and the field is where it depends on the finding."""
    where = proxy.kind if proxy else Kind.SIDECAR
    if where is Kind.ENVOY and wanted not in _OF_RLS:
        return "Envoy's configuration", "", ""
    folder = {Kind.GATEWAY: "istio/at-gateway/", Kind.WAYPOINT: "istio/waypoint/"}.get(where, "istio/")
    release = proxy.release if proxy else None
    old = "-istio-1.27" if release is not None and release < (1, 28) else ""
    filter_file = f"{folder}envoyfilter{old}.yaml"
    optional = f"{folder}envoyfilter.yaml" if folder != "istio/" else "istio/envoyfilter-optional-jwt.yaml"
    tokens = "istio/waypoint/kustomization.yaml" if where is Kind.WAYPOINT else f"{folder}requestauthentication.yaml"
    clusters = ("Sidecar", "istio/sidecar.yaml", "spec.egress[].hosts")
    if where is not Kind.SIDECAR:
        clusters = ("EnvoyFilter", filter_file, "annotation envoyfilter.istio.io/referenced-services")
    return {
        Target.FILTER: ("EnvoyFilter", filter_file, ""),
        Target.OPTIONAL_JWT: ("EnvoyFilter", optional, ""),
        Target.TOKENS: ("RequestAuthentication", tokens, ""),
        Target.CLUSTERS: clusters,
        Target.SERVICE: ("Service", "k8s/base/service.yaml", ""),
        Target.PODS: ("Deployment", "k8s/base/deployment.yaml", ""),
        Target.HOPS: ("EnvoyFilter", "istio/behind-load-balancer/envoyfilter.yaml", ""),
        Target.MESH: ("mesh configuration", "istio/values-istiod.yaml", ""),
        Target.POLICY: ("AuthorizationPolicy", "istio/authorizationpolicy.yaml", ""),
        Target.LOG: ("Telemetry", "istio/telemetry.yaml", ""),
        Target.RULES: ("rules", "", ""),
        Target.VARIANT: ("kustomization", "your own, see docs/istio.md", ""),
        Target.NONE: ("", "", ""),
    }[wanted]
