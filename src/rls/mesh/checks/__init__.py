"""All checks. A new one is a module here and a line in `findings`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rls.core.rules import RuleSet
from rls.mesh.catalogue import CATALOGUE, change
from rls.mesh.checks import addresses, descriptors, presence, rules, seen, service, tokens
from rls.mesh.filters import Limited
from rls.mesh.findings import Finding, Found, merged
from rls.mesh.model import Proxy


def findings(proxies: Sequence[Limited], rule_set: RuleSet | None = None) -> list[Finding]:
    """What is wrong with *proxies*, and with *rule_set* where it is given; errors first."""
    return merged(_finding(found, proxy) for proxy, found in _all(proxies, rule_set))


def _all(proxies: Sequence[Limited], rule_set: RuleSet | None) -> Iterator[tuple[Proxy | None, Found]]:
    for limited in proxies:
        for check in (presence, descriptors, tokens, addresses, seen):
            yield from ((limited.proxy, found) for found in check.of_proxy(limited))
        yield from ((limited.proxy, found) for found in service.findings(limited, proxies))
    for found in (*presence.between(proxies), *addresses.between(proxies)):
        yield found.proxy, found
    if rule_set is not None:
        for found in rules.between(proxies, rule_set):
            yield found.proxy, found


def _finding(found: Found, proxy: Proxy | None) -> Finding:
    entry = CATALOGUE[found.code]
    return Finding(
        entry.severity,
        found.code,
        found.message,
        found.traffic or entry.traffic,
        change(entry, proxy),
        (proxy.title,) if proxy else (),
        (found.place,) if found.place else (),
    )
