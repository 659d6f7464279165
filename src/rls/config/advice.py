"""What rules come to when they are seen together: values that cannot occur, limits that cannot bite, names that say nothing.

Not for a server, which would repeat it with each load: only for who asks, with `rls check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from rls.config.findings import Finding, Severity
from rls.config.reader import shorten
from rls.core.model import RateLimit
from rls.core.rules import Domain, Rule, RuleSet, TrieNode
from rls.errors import SourceLocation

MOST_PER_SECOND = 10_000_000
"""Requests a second that no counter gets: a hundred times what one server answers."""
_IP_TEXT = re.compile(r"[0-9a-f:.*]*")
_NOWHERE = SourceLocation("", 1, 1)


def advice(rules: RuleSet) -> Iterator[Finding]:
    """All that is to be said of *rules*, domain by domain."""
    for domain in rules.domains.values():
        yield from _of_values(domain.root)
        yield from _of_limits(domain)
        yield from _below_stricter(domain.root, ())
        yield from _of_names(domain)


def rate(limit: RateLimit) -> str:
    """*limit* for people: `100/minute`, or `300/5 minutes`."""
    unit = limit.unit.name.lower()
    several = f"{limit.unit_multiplier} {unit}s" if limit.unit_multiplier > 1 else unit
    return f"{limit.requests_per_unit}/{several}"


def never_bites(inner: RateLimit, outer: RateLimit) -> bool:
    """Whether *inner* refuses only what *outer* refuses as well, where each hit of the inner one is one of the outer one.

    Hits over a limit are counted, too. So it holds only where each window of the inner limit lies in one of the outer.
    """
    return (
        inner.algorithm == outer.algorithm
        and outer.window_seconds % inner.window_seconds == 0
        and inner.requests_per_unit >= outer.requests_per_unit
    )


def is_strict(rule: Rule) -> bool:
    """Whether a request over the rule's limit is refused, whatever its other limits are."""
    return rule.limit is not None and not rule.shadow_mode and not rule.quota_mode


def _of_values(node: TrieNode) -> Iterator[Finding]:
    nodes = [node]
    while nodes:
        parent = nodes.pop()
        for (key, value), child in parent.exact.items():
            expected = _expected(key, value)
            if expected:
                message = f"`{key}` never has the value `{shorten(value)}`, expected {expected}"
                yield Finding(child.place or _NOWHERE, Severity.WARNING, "impossible_value", message)
        nodes += parent.children()


def _expected(key: str, value: str) -> str:
    """What Envoy's action sends as *key* that can be meant by *value*; "" where it may send *value* itself."""
    if key == "remote_address":
        return _expected_address(value)
    if key == "masked_remote_address" and "*" not in value:
        try:
            network = str(ip_network(value, strict=False))
        except ValueError:
            return "a network, such as `10.1.0.0/16`"
        return "" if network == value else f"`{network}`"
    return ""


def _expected_address(value: str) -> str:
    if "*" in value:
        return "" if _IP_TEXT.fullmatch(value) else "an address with `*`, such as `10.1.*`"
    try:
        address = str(ip_address(value))
    except ValueError:
        if "/" in value:
            return "one address; for networks, Envoy has the action `masked_remote_address`"
        return "an IP address"
    return "" if address == value else f"`{address}`, as Envoy writes it"


def _of_limits(domain: Domain) -> Iterator[Finding]:
    for rule in domain.rules():
        place = rule.place or _NOWHERE
        limit = rule.limit
        if limit is None:
            for name in ("shadow_mode", "quota_mode", "on_backend_error"):
                if getattr(rule, name):
                    yield Finding(place, Severity.WARNING, "idle_flag", f"`{name}` has no effect beside `unlimited`")
        elif limit.requests_per_unit > MOST_PER_SECOND * limit.window_seconds:
            message = f"{rate(limit)} is never reached, expected `unlimited: true`, which counts nothing"
            yield Finding(place, Severity.WARNING, "never_reached", message)


def _below_stricter(node: TrieNode, above: tuple[Rule, ...]) -> Iterator[Finding]:
    """Limits with shorter windows that cannot bite beside one above them. With equal windows they may be alternatives."""
    pending = [(node, above)]
    while pending:
        node, above = pending.pop()
        rule = node.rule
        if rule is not None and rule.limit is not None and is_strict(rule):
            for outer in above:
                assert outer.limit is not None
                if never_bites(rule.limit, outer.limit) and rule.limit.window_seconds < outer.limit.window_seconds:
                    message = (
                        f"{rate(rule.limit)} refuses nothing where a request is also counted for `{shorten(outer.path)}`, "
                        f"{rate(outer.limit)}{_at(outer)}, which refuses it sooner"
                    )
                    yield Finding(rule.place or _NOWHERE, Severity.NOTE, "never_bites", message)
                    break
        if rule is not None and is_strict(rule):
            above = (*above, rule)
        pending += [(child, above) for child in node.children()]


def _at(rule: Rule) -> str:
    return f" at {rule.id.where}" if rule.place else ""


def _of_names(domain: Domain) -> Iterator[Finding]:
    named: dict[str, list[Rule]] = {}
    replaced: dict[str, Rule] = {}
    for rule in domain.rules():
        if rule.name:
            named.setdefault(rule.name, []).append(rule)
        replaced.update(dict.fromkeys(rule.replaces, rule))
    for name, rules in named.items():
        if name in replaced:
            yield from _replaced_in_vain(name, rules, replaced[name])
        else:
            yield from _duplicates(name, rules)


def _replaced_in_vain(name: str, rules: Iterable[Rule], by: Rule) -> Iterator[Finding]:
    if all(rule.limit is None for rule in rules):
        message = f"`replaces` names `{shorten(name)}`, which is unlimited: it refuses nothing, and nothing replaces it"
        yield Finding(by.place or _NOWHERE, Severity.WARNING, "replaces_unlimited", message)


def _duplicates(name: str, rules: list[Rule]) -> Iterator[Finding]:
    first, *others = sorted(rules, key=lambda rule: rule.place or _NOWHERE)
    for rule in others:
        message = (
            f"`{shorten(name)}` is the name of another limit as well{_at(first)}: answers and logs show it for both"
        )
        yield Finding(rule.place or _NOWHERE, Severity.NOTE, "duplicate_name", message)
