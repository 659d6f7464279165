"""Whether rules and the actions of rate limit filters go together: for `rls check --envoyfilter`, from files alone.

`rls mesh check` asks the same of what proxies really have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rls.config.advice import is_strict, never_bites, rate
from rls.config.envoyfilter import Filters
from rls.config.findings import Finding, Severity
from rls.core.rules import Domain, Rule, RuleSet, TrieNode
from rls.errors import SourceLocation
from rls.mesh.checks.rules import Shape, children, first_keys, rules_for
from rls.mesh.limits import Limit, limits


class Sent(NamedTuple):
    """What one list of `rate_limits` sends with one request: a descriptor for each limit at most, all to *domains*."""

    domains: tuple[str, ...]
    limits: tuple[tuple[SourceLocation, Limit], ...]


def sent_by(files: Sequence[Filters]) -> list[Sent]:
    """What the filters of *files* send. Where a file has no filter beside its limits, they belong to those of all files."""
    everywhere = tuple(dict.fromkeys(domain for found in files for domain in found.domains))
    lists = []
    for found in files:
        own = [one for one in found.limits if one.in_filter] or found.limits
        stages = found.stages or tuple(stage for other in files for stage in other.stages) or (0,)
        for one in own:
            made = zip(
                [policy.place for policy in one.policies],
                limits([dict(policy.fields) for policy in one.policies]),
                strict=True,
            )
            kept = tuple((place, limit) for place, limit in made if limit.stage in stages)
            lists.append(Sent((one.domain,) if one.domain else tuple(found.domains) or everywhere, kept))
    return lists


def most_descriptors(files: Sequence[Filters]) -> dict[str, int]:
    """The most descriptors that one request has at one filter, by domain."""
    most: dict[str, int] = {}
    for one in sent_by(files):
        most.update({domain: max(most.get(domain, 0), len(one.limits)) for domain in one.domains})
    return most


def compare(files: Sequence[Filters], rules: RuleSet) -> Iterator[Finding]:
    """What of *files* and *rules* does not go together."""
    places = {domain: place for found in reversed(files) for domain, place in found.places.items()}
    for name, place in places.items():
        if name not in rules.domains:
            there = ", ".join(rules.domains) or "no domain"
            message = f"no rule is for the domain `{name}`, so every request passes; the rules have {there}"
            yield Finding(place, Severity.ERROR, "unknown_domain", message)
    lists = sent_by(files)
    for name, domain in rules.domains.items():
        sent = [one.limits for one in lists if name in one.domains]
        if name in places or sent:
            yield from _of_domain(domain, sent)
        else:
            message = f"no rate limit filter names the domain `{name}`"
            yield Finding(_place(domain), Severity.NOTE, "unused_domain", message)


def _of_domain(domain: Domain, sent: Sequence[Sequence[tuple[SourceLocation, Limit]]]) -> Iterator[Finding]:
    reached: set[Rule] = set()
    for place, limit in (one for together in sent for one in together):
        found = {rule for shape in limit.shapes() for rule in rules_for(domain, shape)}
        reached |= found
        if not found and "limit" not in limit.config:  # such a limit overrides the rules, and needs none
            message = (
                f"no rule is for the descriptor {limit.title}; those of `{domain.name}` begin with {first_keys(domain)}"
            )
            yield Finding(place, Severity.WARNING, "no_rule_for_descriptor", message)
    for rule in domain.rules():
        if rule not in reached:
            message = f"no descriptor reaches `{rule.path}`: no list of actions makes its keys, in their order"
            yield Finding(_of(rule), Severity.WARNING, "unreachable_rule", message)
    for together in sent:
        kept = [limit for _, limit in together if not limit.late and not limit.disable_key]
        yield from _below_stricter(domain, kept)
        yield from _always_replaced(domain, kept)


def _below_stricter(domain: Domain, together: Sequence[Limit]) -> Iterator[Finding]:
    """Limits that refuse nothing, because the same request has a descriptor that begins the same, with a stricter limit."""
    shapes = [shape for limit in together for shape in _only_shape(limit)]
    replaced = {name for rule in domain.rules() for name in rule.replaces}
    found: dict[Rule, Rule] = {}
    for shape in shapes:
        lengths = {len(other) for other in shapes if len(other) < len(shape) and shape[: len(other)] == other}
        for way in _ways(domain, shape):
            inner = way[-1].rule
            for length in sorted(lengths):
                outer = way[length - 1].rule
                if inner and outer and outer.name not in replaced and _is_idle_beside(inner, outer):
                    found.setdefault(inner, outer)
    for inner, outer in found.items():
        assert inner.limit is not None
        assert outer.limit is not None
        message = (
            f"{rate(inner.limit)} refuses nothing: each such request is also counted for `{outer.path}`, "
            f"{rate(outer.limit)} at {outer.id.where}, which refuses it sooner"
        )
        yield Finding(_of(inner), Severity.WARNING, "never_bites", message)


def _only_shape(limit: Limit) -> Iterator[Shape]:
    """The shape of *limit*; nothing where optional entries make several of it."""
    shape, *others = limit.shapes()
    if not others:
        yield shape


def _is_idle_beside(inner: Rule, outer: Rule) -> bool:
    if inner.limit is None or outer.limit is None:
        return False
    return is_strict(inner) and is_strict(outer) and never_bites(inner.limit, outer.limit)


def _ways(domain: Domain, shape: Shape) -> list[tuple[TrieNode, ...]]:
    """The nodes that a descriptor of *shape* may pass, one for each entry."""
    ways: list[tuple[TrieNode, ...]] = [()]
    for key, value in shape:
        ways = [(*way, child) for way in ways for child in children(way[-1] if way else domain.root, key, value)]
    return ways


def _always_replaced(domain: Domain, together: Sequence[Limit]) -> Iterator[Finding]:
    """Limits that never count: each request has another descriptor, too, and whatever it holds, its limit replaces them."""
    for limit in together:
        if not limit.always:
            continue
        names = _replaced_by_all(domain, limit)
        others = {
            rule
            for other in together
            if other is not limit
            for shape in other.shapes()
            for rule in rules_for(domain, shape)
        }
        for rule in sorted(others, key=_of):
            if rule.name in names and rule.limit is not None:
                message = f"`{rule.name}` never counts: every request also has {limit.title}, whose limits replace it"
                yield Finding(_of(rule), Severity.WARNING, "always_replaced", message)


def _replaced_by_all(domain: Domain, limit: Limit) -> frozenset[str]:
    """The names that every rule for *limit* replaces; none where a value of it may have no rule."""
    shape = next(_only_shape(limit), ())
    nodes = [domain.root] if shape else []
    for key, value in shape:
        if value is None and any(key not in node.defaults for node in nodes):
            return frozenset()
        nodes = [child for node in nodes for child in children(node, key, value)]
    if not nodes or any(node.rule is None for node in nodes):
        return frozenset()
    return frozenset.intersection(*(node.rule.replaces for node in nodes if node.rule is not None))


def _of(rule: Rule) -> SourceLocation:
    return rule.place or SourceLocation("", 1, 1)


def _place(domain: Domain) -> SourceLocation:
    return min((node.place for node in domain.root.children() if node.place), default=SourceLocation("", 1, 1))
