"""EnvoyFilters that let proxies ask `rls`, as those in `istio/` do; docs/istio.md has their reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

Object: TypeAlias = dict[str, Any]

_NEW = r"^(1\.(2[89]|[3-9][0-9])|[2-9])([^0-9]|$)"
_OLD = r"^1\.([0-9]|1[0-9]|2[0-7])([^0-9]|$)"
_WAYPOINT_OLD = r"^1\.27([^0-9]|$)"
_MANAGER = "envoy.filters.network.http_connection_manager"
_RATELIMIT = "envoy.filters.http.ratelimit"
_TRY = 0.8
"""Of the timeout, what the first try may take: Envoy takes `max_interval` for the time of one try, too."""
_TYPES = "type.googleapis.com/envoy.extensions"


class Place(StrEnum):
    """The proxies that ask."""

    SIDECAR = "sidecar"
    GATEWAY = "gateway"
    WAYPOINT = "waypoint"


class Answers(NamedTuple):
    """What the rules do not say.

    Attributes:
        place: The proxies that ask.
        namespace: Theirs.
        labels: Of the gateway's pods.
        waypoint: Name of the waypoint's Gateway.
        service: Name of the Service of `rls`, as NAME.NAMESPACE.svc.cluster.local.
        port: Of its gRPC.
        seconds: How long a proxy waits for an answer.
        fail_closed: Whether requests get 500 where there is no answer.
    """

    place: Place
    namespace: str
    labels: Mapping[str, str]
    waypoint: str
    service: str
    port: int
    seconds: float
    fail_closed: bool


def envoyfilters(domain: str, rate_limits: Sequence[Object], answers: Answers) -> list[Object]:
    """One for Istio 1.28 and newer, and one for older versions, whose Envoy takes `rate_limits` at virtual hosts only.

    Each proxy takes the one of its version.
    """
    old = _WAYPOINT_OLD if answers.place is Place.WAYPOINT else _OLD
    asking = _asking(domain, answers)
    new_filter = _insert(answers, _NEW, {**asking, "rate_limits": list(rate_limits)})
    hosts = {
        "applyTo": "VIRTUAL_HOST",
        "match": {"context": _context(answers), "proxy": {"proxyVersion": old}},
        "patch": {"operation": "MERGE", "value": {"rate_limits": list(rate_limits)}},
    }
    return [
        _envoyfilter(answers, "", [new_filter, *_remove(answers, _NEW)]),
        _envoyfilter(answers, "-istio-1.27", [_insert(answers, old, asking), hosts, *_remove(answers, old)]),
    ]


def _asking(domain: str, answers: Answers) -> Object:
    """The filter without its `rate_limits`."""
    retry = {
        "retry_on": "connect-failure,refused-stream,reset,unavailable",
        "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": _seconds(_TRY * answers.seconds)},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": f"{_TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                },
            }
        ],
        "host_selection_retry_max_attempts": 50,
    }
    cluster = f"outbound|{answers.port}||{answers.service}"
    return {
        "@type": f"{_TYPES}.filters.http.ratelimit.v3.RateLimit",
        "domain": domain,
        "timeout": _seconds(answers.seconds),
        "failure_mode_deny": answers.fail_closed,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limit_service": {
            "transport_api_version": "V3",
            "grpc_service": {
                "envoy_grpc": {"cluster_name": cluster, "authority": answers.service},
                "retry_policy": retry,
            },
        },
    }


def _seconds(number: float) -> str:
    """As Envoy writes a duration."""
    return f"{number:g}s"


def _insert(answers: Answers, versions: str, config: Object) -> Object:
    # Of a waypoint, the listener after its tunnels: in the one before, each request would count once more.
    listener = {"name": "main_internal"} if answers.place is Place.WAYPOINT else {}
    return {
        "applyTo": "HTTP_FILTER",
        "match": _match(answers, versions, listener, "envoy.filters.http.router"),
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": _RATELIMIT, "typed_config": config}},
    }


def _remove(answers: Answers, versions: str) -> list[Object]:
    """A sidecar with HBONE has a listener that takes tunnels: the requests in them are counted behind it."""
    if answers.place is not Place.SIDECAR:
        return []
    match = _match(answers, versions, {"name": "connect_terminate"}, _RATELIMIT)
    return [{"applyTo": "HTTP_FILTER", "match": match, "patch": {"operation": "REMOVE"}}]


def _match(answers: Answers, versions: str, listener: Object, before: str) -> Object:
    chain = {"filter": {"name": _MANAGER, "subFilter": {"name": before}}}
    return {
        "context": _context(answers),
        "proxy": {"proxyVersion": versions},
        "listener": {**listener, "filterChain": chain},
    }


def _context(answers: Answers) -> str:
    return "GATEWAY" if answers.place is Place.GATEWAY else "SIDECAR_INBOUND"


def _envoyfilter(answers: Answers, suffix: str, patches: list[Object]) -> Object:
    place = answers.place
    labels = {"name": "ratelimit", "part-of": "istio-rate-limiter", "component": "mesh"}
    metadata: Object = {
        "name": f"ratelimit{'-waypoint' if place is Place.WAYPOINT else ''}{suffix}",
        "namespace": answers.namespace,
        "labels": {f"app.kubernetes.io/{name}": value for name, value in labels.items()},
    }
    spec: Object = {}
    if place is not Place.SIDECAR:
        # Such proxies know only Services that something refers to.
        service_namespace = answers.service.split(".")[1]
        metadata["annotations"] = {"envoyfilter.istio.io/referenced-services": f"{service_namespace}/{answers.service}"}
    if place is Place.GATEWAY:
        spec["workloadSelector"] = {"labels": dict(answers.labels)}
    elif place is Place.WAYPOINT:
        target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": answers.waypoint}
        spec["targetRefs"] = [target]
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": metadata,
        "spec": {**spec, "configPatches": patches},
    }
