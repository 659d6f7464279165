"""Whether what proxies send and what the rules expect go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rls.core.model import Entry
from rls.core.rules import Domain, Rule, RuleSet, TrieNode
from rls.mesh.filters import Limited, RouteLimits
from rls.mesh.findings import Found, place
from rls.mesh.limits import ADDRESSES, Limit

Shape = tuple[tuple[str, str | None], ...]
"""A descriptor: keys, and values where they are fixed."""


def between(proxies: Sequence[Limited], rules: RuleSet) -> Iterator[Found]:
    """Of all proxies and the rules."""
    reached: dict[str, set[Rule]] = {}
    ours = _asked(proxies, rules)
    for limited in proxies:
        for each, one in limited.filters():
            for route in one.routes:
                domain = rules.domains.get(route.domain)
                if domain is None and ours and one.cluster not in ours:
                    continue
                if domain is None:
                    there = ", ".join(rules.domains) or "none"
                    text = f"the rules have no domain {route.domain}; they have {there}"
                    yield Found("unknown_domain", text, place(each.chain), limited.proxy)
                    continue
                found = reached.setdefault(route.domain, set())
                for code, message in _of_route(route, domain, found):
                    yield Found(code, message, place(each.chain), limited.proxy)
    yield from _unreached(rules, reached)


def _asked(proxies: Sequence[Limited], rules: RuleSet) -> set[str]:
    """The clusters that are asked in a domain of the rules. Filters that ask another are those of another team."""
    filters = [one for limited in proxies for _, one in limited.filters()]
    return {one.cluster for one in filters if any(route.domain in rules.domains for route in one.routes)}


def _of_route(route: RouteLimits, domain: Domain, reached: set[Rule]) -> Iterator[tuple[str, str]]:
    found: list[tuple[Limit, set[Rule]]] = []
    for limit in route.limits:
        its: set[Rule] = set()
        for shape in limit.shapes():
            its |= rules_for(domain, shape)
        found.append((limit, its))
        reached |= its
    # A limit that overrides the rules needs none.
    without = [limit.title for limit, its in found if not its and "limit" not in limit.config]
    if without:
        code = "no_rule" if len(without) == len(found) else "no_rule_for_descriptor"
        text = f"no rule of the domain {domain.name} is for {', '.join(without)}; its rules begin with {first_keys(domain)}"
        yield code, text
    yield from _without_replaces(found)


def first_keys(domain: Domain) -> str:
    """The keys that rules of *domain* begin with."""
    return ", ".join(sorted({key for key, _ in domain.root.exact} | set(domain.root.defaults))) or "nothing"


def _without_replaces(found: Sequence[tuple[Limit, set[Rule]]]) -> Iterator[tuple[str, str]]:
    """Rules for companies that do not take the rules for addresses out of the request."""
    address = {rule for limit, its in found if _is_address(limit) for rule in its if rule.limit is not None}
    for limit, its in found:
        if not any(action.reads_tokens for action in limit.actions):
            continue
        for rule in sorted(its, key=lambda each: each.path):
            missing = sorted(each.path for each in address if not each.name or each.name not in rule.replaces)
            if missing:
                yield "no_replaces", f"the rule {rule.id} does not replace {', '.join(missing)}"


def _is_address(limit: Limit) -> bool:
    return all(action.kind in ADDRESSES for action in limit.actions)


def _unreached(rules: RuleSet, reached: dict[str, set[Rule]]) -> Iterator[Found]:
    if not reached:
        return
    for name, domain in rules.domains.items():
        if name not in reached:
            yield Found("unused_domain", f"no proxy sends the domain {name} of the rules")
            continue
        for rule in domain.rules():
            if rule not in reached[name]:
                yield Found("unreachable_rule", f"no action of any proxy makes a descriptor for the rule {rule.id}")


def rules_for(domain: Domain, shape: Shape) -> set[Rule]:
    """The rules that a descriptor of *shape* can reach, whatever values requests have."""
    nodes: set[TrieNode] = {domain.root}
    for key, value in shape:
        nodes = {child for node in nodes for child in children(node, key, value)}
    return {node.rule for node in nodes if node.rule is not None}


def children(node: TrieNode, key: str, value: str | None) -> Iterable[TrieNode]:
    """Where an entry leads to: with a fixed *value* to one child, as `core.match` walks; else to any of its key."""
    default = [node.defaults[key]] if key in node.defaults else []
    if value is None:
        return [*(child for (name, _), child in node.exact.items() if name == key), *default]
    exact = node.exact.get(Entry(key, value))
    if exact is not None:
        return [exact]
    wildcards = [child for wildcard, child in node.wildcards.get(key, ()) if wildcard.matches(value)]
    return wildcards[:1] or default
