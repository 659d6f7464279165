"""Which requests a filter limits, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rls.mesh.filters import JWT, Limited, LimitedChain
from rls.mesh.findings import Found, Place, place
from rls.mesh.model import Kind, Role


def of_proxy(limited: Limited) -> Iterator[Found]:
    """At one proxy."""
    for rejected in limited.proxy.rejected:
        text = f"Envoy rejected the newest {rejected.kind} {rejected.name}: {rejected.details}"
        yield Found("rejected", text, Place(rejected.name if rejected.kind == "listener" else ""))
    for each in limited.others:
        yield from _of_other(each)
    for each in limited.requests:
        yield from _of_chain(each, limited)
    if limited.limits:
        for port in limited.proxy.tcp_ports:
            yield Found("tcp_port", f"port {port} is handled as TCP, not as HTTP", Place(port=port))


def _of_other(each: LimitedChain) -> Iterator[Found]:
    if each.chain.role is Role.TUNNELS:
        yield Found("tunnel_counted", "the rate limit filter is in the listener that ends tunnels", place(each.chain))
    else:
        yield Found("outbound_limited", "the rate limit filter is in an outbound listener", place(each.chain))


def _of_chain(each: LimitedChain, limited: Limited) -> Iterator[Found]:
    chain = each.chain
    if not each.filters:
        if limited.limits:
            yield Found(
                "chain_without_filter", "there is no rate limit filter, and other chains have one", place(chain)
            )
        return
    if not chain.hosts():
        yield Found("no_routes", "the dump does not have the routes of this chain", place(chain))
    tokens = [where for where, _ in chain.of(JWT)]
    for one in each.filters:
        if tokens and one.place < tokens[-1] and each.reading_tokens():
            text = "the rate limit filter stands before jwt_authn, and reads what that has not yet written"
            yield Found("before_tokens", text, place(chain))
    yield from _how_often(each)


def _how_often(each: LimitedChain) -> Iterator[Found]:
    several = len(each.asking())
    twice = [(number, domain) for at in each.counted() for (domain, _), number in at.sent.items() if number > 1]
    if twice:
        domains = ", ".join(sorted({domain for _, domain in twice}))
        text = f"each request is counted {max(twice)[0]} times in the domain {domains}: there are {several} filters"
        yield Found("counted_twice", text, place(each.chain))
    elif several > 1:
        yield Found("two_filters", f"there are {several} rate limit filters", place(each.chain))


def between(proxies: Sequence[Limited]) -> Iterator[Found]:
    """At all of them together."""
    if not any(each.limits for each in proxies):
        if any(each.proxy.rejected for each in proxies):
            return  # what was rejected may have had the filter
        who = "the proxy" if len(proxies) == 1 else f"any of the {len(proxies)} proxies"
        proxy = proxies[0].proxy if len(proxies) == 1 else None
        yield Found("no_filter_anywhere", f"no listener of {who} has a rate limit filter for requests", None, proxy)
        return
    yield from _pods(proxies)
    yield from _twice(proxies)


def _pods(proxies: Sequence[Limited]) -> Iterator[Found]:
    """Pods without a filter, whose siblings have one; other proxies beside those that limit."""
    limiting = {_workload(each) for each in proxies if each.limits}
    spaces = {(each.proxy.kind, each.proxy.namespace) for each in proxies if each.limits}
    for each in proxies:
        if each.limits or not each.requests:
            continue
        if each.proxy.workload and _workload(each) in limiting:
            text = "there is no rate limit filter, and other pods of the same workload have one"
            yield Found("pod_without_filter", text, None, each.proxy)
        elif (each.proxy.kind, each.proxy.namespace) in spaces:
            text = "there is no rate limit filter, and others of its namespace have one"
            yield Found("unlimited_pods", text, None, each.proxy)


def _workload(each: Limited) -> tuple[Kind, str, str]:
    return each.proxy.kind, each.proxy.namespace, each.proxy.workload


def _twice(proxies: Sequence[Limited]) -> Iterator[Found]:
    """Proxies on the way of one request that both count it."""
    for first in proxies:
        for second in proxies:
            if not is_on_the_way(first, second):
                continue
            both = _all_sent(first) & _all_sent(second)
            if domains := sorted({domain for domain, _ in both}):
                text = f"the domain {', '.join(domains)} is counted here, and at {second.proxy.group}"
                yield Found("counted_at_two_proxies", text, None, first.proxy)


def is_on_the_way(first: Limited, second: Limited) -> bool:
    """Whether *first* sends requests to *second*: a gateway to what is behind it, a waypoint to sidecars."""
    order = (Kind.GATEWAY, Kind.WAYPOINT, Kind.SIDECAR)
    kinds = (first.proxy.kind, second.proxy.kind)
    if Kind.ENVOY in kinds or order.index(kinds[0]) >= order.index(kinds[1]):
        return False
    clusters = [cluster for each in first.requests for cluster in each.chain.clusters()]
    return any(cluster.rpartition("|")[2].split(".")[1:2] == [second.proxy.namespace] for cluster in clusters)


def _all_sent(limited: Limited) -> set[tuple[str, str]]:
    return {sent for each in limited.requests for at in each.counted() for sent in at.sent}
