"""Which address is the client's, where limits are by address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rls.mesh.checks.presence import is_on_the_way
from rls.mesh.filters import Limited
from rls.mesh.findings import Found, place
from rls.mesh.model import Kind, trusted_hops


def of_proxy(limited: Limited) -> Iterator[Found]:
    """At one proxy, behind others."""
    if limited.proxy.kind not in {Kind.SIDECAR, Kind.WAYPOINT}:
        return
    for each in limited.requests:
        if each.by_address() and each.chain.manager.get("use_remote_address"):
            text = "use_remote_address is set, so that the client's address is that of the connection"
            yield Found("gateway_is_client", text, place(each.chain))


def between(proxies: Sequence[Limited]) -> Iterator[Found]:
    """Of gateways, and proxies behind them that limit by address."""
    for gateway in proxies:
        if gateway.proxy.kind is not Kind.GATEWAY:
            continue
        hops = {trusted_hops(each.chain) for each in gateway.requests}
        for other in proxies:
            if hops and is_on_the_way(gateway, other):
                yield from _behind(gateway, max(hops), other)


def _behind(gateway: Limited, hops: int, other: Limited) -> Iterator[Found]:
    for each in other.requests:
        manager = each.chain.manager
        if not each.by_address() or manager.get("use_remote_address") or "original_ip_detection_extensions" in manager:
            continue
        skipped = trusted_hops(each.chain)
        text = f"{gateway.proxy.title} trusts {_proxies(hops)} before it, and {skipped} is set here"
        if skipped < hops:
            yield Found("balancer_is_client", text, place(each.chain), other.proxy)
        elif skipped > hops:
            yield Found("client_chooses_address", text, place(each.chain), other.proxy)


def _proxies(number: int) -> str:
    return f"{number} proxy" if number == 1 else f"{number} proxies"
