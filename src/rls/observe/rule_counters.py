"""What is counted for each rule: plain numbers, found by rule, bounded in number, written as text without any object.

A metrics library costs about 3 µs for each number that it writes: with a thousand rules every scrape would hold up all
checks for longer than a check may take. These numbers are written in pieces, between which checks are answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

from rls.core.check import Check
from rls.core.model import to_bytes
from rls.core.plan import OVERRIDE_LABEL
from rls.core.rules import Rule, RuleSet
from rls.printable import printable
from rls.slices import STEP, Steps, chunks, finish

LONGEST_ZEROS = 10_000
"""With more rules than this, a rule appears with its first hit, not with 0 when it is loaded."""
LONGEST_LABEL = 256
"""Characters of a label that holds values of requests: the page of all labels is held in memory."""
OTHER = "_other"
_LINES_OF_A_PIECE = 100

FAMILIES = {
    "hits": "Hits of matched descriptors, including those that the backend failed to count.",
    "over_limit": "Hits above the limit, including those in shadow mode.",
    "near_limit": "Hits below the limit but above near_limit_ratio of it.",
    "within_limit": "Hits of requests within the limit.",
    "shadow_mode": "Hits above the limit that a rule in shadow mode let pass.",
    "negative_hits": "Hits that callers refunded with is_negative_hits.",
    "unlimited": "Hits of rules that are unlimited; they are not counted in the backend.",
}


_NONE: frozenset[str] = frozenset()
_LIMITED = frozenset({"hits", "over_limit", "near_limit", "within_limit"})
_IN_SHADOW = _LIMITED | {"shadow_mode"}
_UNLIMITED = frozenset({"unlimited"})


class RuleCounters:
    """The numbers of one rule; of several where these share a domain and a label.

    Attributes:
        shown: The families in which it appears with 0 too.
        revision: The last rule set that has its rule; by an object that is no other's.
        holders: Rules for whose values it counts.
    """

    __slots__ = (
        "_labels",
        "domain",
        "hits",
        "holders",
        "label",
        "near_limit",
        "negative_hits",
        "over_limit",
        "revision",
        "shadow_mode",
        "shown",
        "unlimited",
        "within_limit",
    )

    def __init__(self, domain: str, label: str) -> None:
        self.domain = domain
        self.label = label
        self.shown = _NONE
        self.revision: object = None
        self.holders = 0
        self.hits = self.over_limit = self.near_limit = self.within_limit = 0
        self.shadow_mode = self.negative_hits = self.unlimited = 0
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
        # What `by_rule` was before, and will be next: a new one of 100,000 rules would be walked by the collector.
        self._spare: dict[Rule, RuleCounters] = {}
        self._prepared: RuleSet | None = None

    def load(self, rules: RuleSet) -> None:
        """Put *rules* in force: prepares for them where that was not done."""
        if self._prepared is not rules:
            finish(self.prepare(rules))
        self.by_rule, self._spare, self._prepared = self._spare, self.by_rule, None

    def prepare(self, rules: RuleSet) -> Steps[None]:
        """Keep the numbers of rules that stay, whose domain and path are the same; begin at 0 for new ones.

        In steps, between which hits are counted: there is never a second object for one label.
        """
        revision = object()
        self._prepared = None
        yield from self._empty_spare()
        show_zeros = rules.size() <= LONGEST_ZEROS
        for number, rule in enumerate(rules.rules()):
            self._prepare_rule(rule, revision, show_zeros=show_zeros)
            if number % STEP == 0:
                yield
        yield from self._drop_others(rules, revision)
        self._prepared = rules

    def _empty_spare(self) -> Steps[None]:
        while self._spare:
            for _ in range(min(STEP, len(self._spare))):
                self._spare.popitem()
            yield

    def _prepare_rule(self, rule: Rule, revision: object, *, show_zeros: bool) -> None:
        key = rule.domain, rule.path
        counters = self._by_label.get(key)
        if counters is None:
            counters = self._by_label[key] = self._of_values.get(key) or RuleCounters(*key)
        if counters.revision is not revision:
            counters.revision, counters.shown = revision, _NONE
        # Where every request brings its own label, the one without a value would stay at 0 for ever.
        if show_zeros and not rule.detailed_metric:
            families = _UNLIMITED if rule.limit is None else _IN_SHADOW if rule.shadow_mode else _LIMITED
            counters.shown = counters.shown | families if counters.shown else families
        self._spare[rule] = counters

    def _drop_others(self, rules: RuleSet, revision: object) -> Steps[None]:
        """Forget the numbers of rules that are gone, and of their values."""
        labels = list(self._by_label)
        while labels:
            # Not all at the end: many of them are freed with this list.
            some, labels[-STEP:] = labels[-STEP:], []
            for domain, label in some:
                is_override = label == OVERRIDE_LABEL and domain in rules.domains
                if not is_override and self._by_label[domain, label].revision is not revision:
                    del self._by_label[domain, label]
            yield
        for key in list(self._by_value):
            if key in self._by_label:
                continue
            domain, _ = key
            for values in chunks(self._by_value.pop(key).items()):
                for label, counters in values:
                    counters.holders -= 1
                    if not counters.holders:
                        self._of_values.pop((domain, label), None)
                yield

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
            counters = values.get(label)
            if counters is None:
                counters = values[label] = self._labelled(domain, label, self._of_values)
                counters.holders += 1
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
        labelled, of_values = list(self._by_label.values()), list(self._of_values.items())
        for family, documentation in FAMILIES.items():
            name = f"rls_{family}_total"
            yield f"# HELP {name} {documentation}\n# TYPE {name} counter\n".encode()
            for some in chunks(labelled, _LINES_OF_A_PIECE):
                yield _lines(name, family, some)
            for values in chunks(of_values, _LINES_OF_A_PIECE):
                # A value may have made the label of a rule, and shares its numbers, which are written by now.
                yield _lines(name, family, [one for key, one in values if self._by_label.get(key) is not one])


def _lines(name: str, family: str, some: Iterable[RuleCounters]) -> bytes:
    return "".join(
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
