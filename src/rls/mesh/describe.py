"""What a proxy does with requests, in words: which filter limits which of them, and whom it asks."""

from __future__ import annotations

from collections.abc import Iterator

from rls.mesh.filters import Counted, Limited, LimitedChain, RateLimitFilter
from rls.mesh.findings import place
from rls.mesh.model import Kind, Proxy
from rls.mesh.trees import Tree


def lines(limited: Limited) -> Iterator[str]:
    """A title, then what the proxy does, indented."""
    proxy = limited.proxy
    version = f", Istio {proxy.version}" if proxy.version else ""
    yield f"{proxy.title}{version}, from {proxy.source}"
    if not limited.requests:
        yield "  takes no HTTP requests"
    elif not limited.limits:
        yield "  limits nothing"
    else:
        for text, places in _grouped(limited).items():
            yield f"  {text}:"
            yield from (f"    {each}" for each in places)
        for text in dict.fromkeys(_asks(one, proxy) for _, one in limited.filters()):
            yield f"  {text}"


def _grouped(limited: Limited) -> dict[str, list[str]]:
    """What is done, and where."""
    found: dict[str, list[str]] = {}
    for each in limited.requests:
        for text, host in _of_chain(each):
            where = str(place(each.chain, host))
            if not each.chain.port and limited.proxy.kind is Kind.SIDECAR:
                where += ", all other ports"
            found.setdefault(text, []).append(where)
    return found


def _of_chain(each: LimitedChain) -> Iterator[tuple[str, str]]:
    """What is done, and of which virtual host, where they differ."""
    counted = each.counted()
    texts = dict.fromkeys((_counts(at), at.host) for at in counted)
    if len({text for text, _ in texts}) > 1:
        yield from texts
    else:
        yield next((text for text, _ in texts), "limits nothing"), ""


def _counts(at: Counted) -> str:
    if not at.sent:
        return "limits nothing"
    by_domain: dict[tuple[str, int], list[str]] = {}
    for (domain, title), number in at.sent.items():
        by_domain.setdefault((domain, number), []).append(title)
    parts = [
        f"{_times(number)} in the domain {domain}, as {_and(titles)}" for (domain, number), titles in by_domain.items()
    ]
    return f"counts each request {'; '.join(parts)}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _and(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _asks(one: RateLimitFilter, proxy: Proxy) -> str:
    cluster = proxy.clusters.get(one.cluster)
    if cluster is None:
        who = (
            f"{one.cluster or 'a service that is no cluster'}, which is not there" if one.cluster else "another service"
        )
    else:
        number = None if cluster.endpoints is None else sum(endpoint.healthy for endpoint in cluster.endpoints)
        who = f"{one.cluster} ({'?' if number is None else number} endpoints)"
    waits = f"waits at most {one.timeout * 1000:g} ms" if one.timeout else "waits without end"
    then = "gets 500" if one.denies else "passes"
    return f"asks {who}; a request {waits}, and {then} without an answer"


def as_tree(limited: Limited) -> Tree:
    """The same, for programs."""
    proxy = limited.proxy
    return {
        "proxy": proxy.title,
        "kind": str(proxy.kind),
        "namespace": proxy.namespace,
        "name": proxy.name,
        "workload": proxy.workload,
        "version": proxy.version,
        "source": proxy.source,
        "limits": limited.limits,
        "chains": [_chain_tree(each, proxy) for each in limited.requests],
    }


def _chain_tree(each: LimitedChain, proxy: Proxy) -> Tree:
    return {
        **{name: value for name, value in place(each.chain)._asdict().items() if name != "host"},
        "counts": [
            {"host": at.host, "route": at.route, "domain": domain, "descriptor": title, "times": number}
            for at in each.counted()
            for (domain, title), number in at.sent.items()
        ],
        "filters": [_filter_tree(one, proxy) for one in each.filters],
    }


def _filter_tree(one: RateLimitFilter, proxy: Proxy) -> Tree:
    cluster = proxy.clusters.get(one.cluster)
    known = cluster is not None and cluster.endpoints is not None
    return {
        "name": one.name,
        "domain": one.domain,
        "stage": one.stage,
        "timeout_seconds": one.timeout,
        "failure_mode_deny": one.denies,
        "enabled_percent": one.enabled,
        "enforced_percent": one.enforced,
        "cluster": one.cluster,
        "endpoints": len(cluster.endpoints or ()) if known and cluster else None,
    }
