"""Which address is the client's, where limits are by address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rls.mesh.checks.presence import is_on_the_way
from rls.mesh.filters import RBAC, Limited
from rls.mesh.findings import Found, place
from rls.mesh.model import Chain, Kind, trusted_hops
from rls.mesh.trees import text as text_of


def of_proxy(limited: Limited) -> Iterator[Found]:
    """At one proxy that limits by address."""
    kind = limited.proxy.kind
    for each in limited.requests:
        if not each.by_address() or kind is Kind.ENVOY:
            continue
        by_connection = bool(each.chain.manager.get("use_remote_address"))
        if kind is Kind.GATEWAY:
            if not by_connection:
                text = "use_remote_address is not set, so that the client's address is what X-Forwarded-For says"
                yield Found("gateway_trusts_clients", text, place(each.chain))
        elif by_connection:
            text = "use_remote_address is set, so that the client's address is that of the connection"
            yield Found("gateway_is_client", text, place(each.chain))
        elif not _allows_some(each.chain):
            yield Found("anybody_may_call", "no policy says who may call", place(each.chain))


def _allows_some(chain: Chain) -> bool:
    """Whether a policy allows some callers, so that others are refused."""
    configs = [*(filter_.config for _, filter_ in chain.of(RBAC)), *chain.rbac]
    # ALLOW is what proto3 leaves out.
    return any("rules" in config and text_of(config, "rules", "action") in {"", "ALLOW"} for config in configs)


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
        text = f"{gateway.proxy.group} trust {_proxies(hops)} before them, and {skipped} is set here"
        if skipped < hops:
            yield Found("balancer_is_client", text, place(each.chain), other.proxy)
        elif skipped > hops:
            yield Found("client_chooses_address", text, place(each.chain), other.proxy)


def _proxies(number: int) -> str:
    return f"{number} proxy" if number == 1 else f"{number} proxies"
