"""Who is asked: the cluster of the rate limit service, and how long a request waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from rls.mesh.catalogue import CATALOGUE
from rls.mesh.filters import Limited, RateLimitFilter
from rls.mesh.findings import Found, Severity, place
from rls.mesh.model import Cluster, Kind, Proxy, Role
from rls.mesh.trees import seconds, text, tree

SHORTEST, LONGEST = 0.01, 1.0
"""Seconds: `rls` waits that long for Redis by default, and no request should wait longer."""
_ALIKE = 0.9
"""How alike two names of clusters are, where one of them is misspelt."""
_DENIED = "each call to rls fails: every request gets 500 (failure_mode_deny)"


def findings(limited: Limited, all_of_them: Sequence[Limited]) -> Iterator[Found]:
    """At one proxy; *all_of_them* may hold the proxies of `rls` itself."""
    for each, one in limited.filters():
        where = place(each.chain)
        if not 0 < one.timeout <= LONGEST:
            long = f"{one.timeout:g} s" if one.timeout else "without end"
            yield Found("timeout_long", f"a request may wait {long} for rls", where)
        elif one.timeout <= SHORTEST:
            yield Found("timeout_short", f"a request waits {one.timeout * 1000:g} ms for rls", where)
        for code, message in _of_tries(one, limited.proxy):
            yield Found(code, message, where)
        for code, message in _of_cluster(one, limited.proxy, all_of_them):
            fails = CATALOGUE[code].severity is Severity.ERROR and one.denies
            yield Found(code, message, where, traffic=_DENIED if fails else "")


def _of_tries(one: RateLimitFilter, proxy: Proxy) -> Iterator[tuple[str, str]]:
    service = tree(one.config, "rate_limit_service", "grpc_service")
    policy = tree(service, "retry_policy")
    if not policy:
        if "envoy_grpc" in service and proxy.kind is not Kind.ENVOY:
            yield "one_try", "the filter has no retry_policy: a call is made once"
        return
    pauses = tree(policy, "retry_back_off")
    # Envoy's own: ten times the first pause, and that is a second.
    longest = seconds(text(pauses, "max_interval"), 10 * seconds(text(pauses, "base_interval"), 1.0))
    if 0 < one.timeout <= longest:
        yield "late_try", f"one try may take {longest:g} s (max_interval), and all of them {one.timeout:g} s (timeout)"
    if "resource-exhausted" in text(policy, "retry_on").split(","):
        yield "repeats_shed_calls", "retry_on names resource-exhausted"


def _of_cluster(one: RateLimitFilter, proxy: Proxy, all_of_them: Sequence[Limited]) -> Iterator[tuple[str, str]]:
    name = one.cluster
    if not name:
        services = tree(one.config, "rate_limit_service", "grpc_service")
        kind = "google_grpc" if "google_grpc" in services else "no envoy_grpc.cluster_name"
        yield "unknown_service", f"the rate limit service has {kind}"
        return
    cluster = proxy.clusters.get(name)
    if cluster is None:
        if close := get_close_matches(name, proxy.clusters, 1, _ALIKE):
            yield "other_cluster", f"the proxy has no cluster {name}, but it has {close[0]}"
        else:
            yield "no_cluster", f"the proxy has no cluster {name}"
        return
    if not cluster.http2:
        yield "not_http2", f"the cluster {name} speaks HTTP/1.1, and gRPC needs HTTP/2"
    yield from _of_endpoints(cluster, proxy)
    yield from _of_certificate(cluster, proxy, all_of_them)


def _of_endpoints(cluster: Cluster, proxy: Proxy) -> Iterator[tuple[str, str]]:
    if cluster.type == "ORIGINAL_DST":
        yield "original_dst", f"the cluster {cluster.name} is of the type ORIGINAL_DST, as for a headless Service"
        return
    if cluster.endpoints is None:
        yield "no_endpoints_in_dump", "the dump has no endpoints"
    elif not cluster.endpoints:
        yield "no_endpoints", f"the cluster {cluster.name} has no endpoint"
    elif not any(endpoint.healthy for endpoint in cluster.endpoints):
        yield "no_endpoints", f"none of the {len(cluster.endpoints)} endpoints of {cluster.name} is healthy"
    if cluster.type in {"STRICT_DNS", "LOGICAL_DNS"} and proxy.kind is not Kind.ENVOY:
        yield "pinned", f"the cluster {cluster.name} is of the type {cluster.type}: the Service has one address"


def _of_certificate(cluster: Cluster, proxy: Proxy, all_of_them: Sequence[Limited]) -> Iterator[tuple[str, str]]:
    endpoints = cluster.endpoints or ()
    ports = {endpoint.port for endpoint in endpoints}
    strict = _strict(cluster, ports, all_of_them)
    # An endpoint without mTLS has no proxy, and gets plain text.
    plain = (
        not cluster.certificates(mtls=False)
        if not endpoints
        else any(not cluster.certificates(mtls=endpoint.mtls) for endpoint in endpoints)
    )
    if strict and plain:
        yield (
            "no_client_certificate",
            f"{strict} takes mTLS only, and the cluster {cluster.name} presents no certificate",
        )
    elif proxy.kind is not Kind.ENVOY and not cluster.certificates(mtls=True) and cluster.type != "ORIGINAL_DST":
        yield "plain_cluster", f"the cluster {cluster.name} presents no client certificate"


def _strict(cluster: Cluster, ports: set[int], all_of_them: Sequence[Limited]) -> str:
    """The proxy of `rls` that takes nothing but mTLS at a port of the cluster; "" where none is known."""
    namespace = cluster.name.rpartition("|")[2].split(".")[1:2]
    for each in all_of_them:
        if each.proxy.kind is not Kind.SIDECAR or [each.proxy.namespace] != namespace:
            continue
        chains = [
            chain
            for chain in each.proxy.chains
            if chain.role is Role.REQUESTS and chain.port in ports and chain.listener.startswith("virtualInbound")
        ]
        if chains and all(chain.only_tls for chain in chains):
            return each.proxy.title
    return ""
