"""What is counted for each rule: plain numbers, found by rule, bounded in number, written as text without any object.

A metrics library costs about 3 µs for each number that it writes: with a thousand rules every scrape would hold up all
checks for longer than a check may take. These numbers are written in pieces, between which checks are answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice

from rls.core.check import Check
from rls.core.model import to_bytes
from rls.core.plan import OVERRIDE_LABEL
from rls.core.rules import Rule, RuleSet
from rls.printable import printable

LONGEST_ZEROS = 10_000
"""With more rules than this, a rule appears with its first hit, not with 0 when it is loaded."""
LONGEST_LABEL = 256
"""Characters of a label that holds values of requests: the page of all labels is held in memory."""
OTHER = "…other"
_LINES_OF_A_PIECE = 1_000

FAMILIES = {
    "hits": "Hits of matched descriptors, those that could not be counted included.",
    "over_limit": "Hits above the limit, in shadow mode too.",
    "near_limit": "Hits below the limit but above its near-limit share.",
    "within_limit": "Hits of requests that were below the limit.",
    "shadow_mode": "Hits above the limit that a rule in shadow mode let pass.",
    "refunds": "Hits given back.",
    "unlimited": "Hits that an unlimited rule let pass, uncounted.",
}


_NONE: frozenset[str] = frozenset()
_LIMITED = frozenset({"hits", "over_limit", "near_limit", "within_limit"})
_IN_SHADOW = _LIMITED | {"shadow_mode"}
_UNLIMITED = frozenset({"unlimited"})


class RuleCounters:
    """The numbers of one rule; of several where these share a domain and a label.

    Attributes:
        shown: The families in which it appears with 0, too.
    """

    __slots__ = (
        "_labels",
        "domain",
        "hits",
        "label",
        "near_limit",
        "over_limit",
        "refunds",
        "shadow_mode",
        "shown",
        "unlimited",
        "within_limit",
    )

    def __init__(self, domain: str, label: str) -> None:
        self.domain = domain
        self.label = label
        self.shown = _NONE
        self.hits = self.over_limit = self.near_limit = self.within_limit = 0
        self.shadow_mode = self.refunds = self.unlimited = 0
        self._labels = ""

    @property
    def labels(self) -> str:
        """Its labels as text; made when first asked for, not while many rules are loaded."""
        if not self._labels:
            self._labels = f'{{domain="{escaped(self.domain)}",rule="{escaped(self.label)}"}}'
        return self._labels


class CountersByRule:
    """The numbers of all rules in force, and of the labels that hold values of requests.

    Args:
        values_per_rule: Labels with values of requests for each rule; the hits of all others share one label.

    Attributes:
        by_rule: The numbers of each rule whose label is its path.
    """

    def __init__(self, values_per_rule: int = 1_000) -> None:
        self.by_rule: dict[Rule, RuleCounters] = {}
        self._values_per_rule = values_per_rule
        self._by_label: dict[tuple[str, str], RuleCounters] = {}
        self._by_value: dict[tuple[str, str], dict[str, RuleCounters]] = {}
        # All of these by their labels: a value may make a label that another rule has, or its values, and shares its numbers.
        self._of_values: dict[tuple[str, str], RuleCounters] = {}

    def load(self, rules: RuleSet) -> None:
        """Keep the numbers of rules that stay, whose domain and path are the same; begin at 0 for new ones."""
        in_force = [rule for domain in rules.domains.values() for rule in domain.rules()]
        show_zeros = len(in_force) <= LONGEST_ZEROS
        before = self._by_label
        self._by_label = {key: before[key] for domain in rules.domains if (key := (domain, OVERRIDE_LABEL)) in before}
        self.by_rule = {}
        for rule in in_force:
            key = rule.domain, rule.path
            counters = self._by_label.get(key)
            if counters is None:
                counters = self._by_label[key] = before.get(key) or self._of_values.get(key) or RuleCounters(*key)
                counters.shown = _NONE
            # Where every request brings its own label, the one without a value would stay at 0 for ever.
            if show_zeros and not rule.detailed_metric:
                families = _UNLIMITED if rule.limit is None else _IN_SHADOW if rule.shadow_mode else _LIMITED
                counters.shown = counters.shown | families if counters.shown else families
            self.by_rule[rule] = counters
        self._by_value = {key: values for key, values in self._by_value.items() if key in self._by_label}
        self._of_values = {
            (domain, label): counters
            for (domain, _), values in self._by_value.items()
            for label, counters in values.items()
        }

    def find(self, domain: str, check: Check) -> RuleCounters:
        """The numbers for *check*, which is matched or an override."""
        rule = check.rule
        if rule is None or not check.has_values:
            return self._labelled(domain, check.label, self._by_label)
        values = self._by_value.setdefault((domain, rule.path), {})
        own = _shortened(check.label)
        counters = values.get(own)
        if counters is None:
            label = own if len(values) < self._values_per_rule else rule.path + OTHER
            counters = values[label] = self._labelled(domain, label, self._of_values)
        return counters

    def _labelled(self, domain: str, label: str, kept: dict[tuple[str, str], RuleCounters]) -> RuleCounters:
        """The numbers that have this label; *kept* remembers them."""
        key = domain, label
        counters = kept.get(key)
        if counters is None:
            counters = kept[key] = self._by_label.get(key) or self._of_values.get(key) or RuleCounters(domain, label)
        return counters

    def expose(self) -> Iterator[bytes]:
        """All numbers as Prometheus text, in pieces."""
        all_counters = list(dict.fromkeys([*self._by_label.values(), *self._of_values.values()]))
        for family, documentation in FAMILIES.items():
            name = f"rls_{family}_total"
            yield f"# HELP {name} {documentation}\n# TYPE {name} counter\n".encode()
            counters_left = iter(all_counters)
            while some := list(islice(counters_left, _LINES_OF_A_PIECE)):
                yield "".join(
                    [
                        f"{name}{counters.labels} {number}\n"
                        for counters in some
                        if (number := getattr(counters, family)) or family in counters.shown
                    ]
                ).encode()


def _shortened(label: str) -> str:
    """*label*, in 256 characters at most; a longer one ends in its SHA-256, so that it is no other's."""
    if len(label) <= LONGEST_LABEL:
        return label
    digest = sha256(to_bytes(label)).hexdigest()
    return f"{label[: LONGEST_LABEL - len(digest) - 1]}#{digest}"


def escaped(text: str) -> str:
    """*text* as the value of a label: `printable`, so that two texts never share a series, and quoted as Prometheus asks."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
