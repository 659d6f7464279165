"""What is counted for each rule: plain numbers, found by rule, and bounded in number whatever clients send."""

from __future__ import annotations

from rls.core.check import OVERRIDE, Check, Status
from rls.core.model import RateLimit
from rls.core.rules import OnBackendError, Rule, RuleSet
from rls.observe.entries import shortened
from rls.printable import printable
from rls.slices import STEP, Steps, chunks, finish

LONGEST_ZEROS = 10_000
"""With more rules than this, a rule appears with its first hit, not when it is loaded."""
LONGEST_VALUE = 256
"""Characters of a label with values of requests: the page of all labels is held in memory."""
OTHER = "_other"
SHORTEST_PERIOD = 60
"""Seconds: a scrape a minute sees what was reached in each period."""
PAUSE = 300.0
"""Seconds without a hit over the limit after which the next one begins a new run."""
_FULL = 1 << 62

_NONE: frozenset[str] = frozenset()
_LIMITED = frozenset({"hits", "over_limit", "near_limit", "within_limit"})
_IN_SHADOW = _LIMITED | {"shadow_mode"}
_UNLIMITED = frozenset({"unlimited"})


class Hits:
    """Hits on one rule, or on one rule with one combination of values of requests.

    Attributes:
        other_hits: Hits that were not within the limit, or of which that is not known.
        labels: Domain, rule and, where it has one, value, as text.
        shown: The families in which it appears with 0 too.
    """

    __slots__ = (
        "_labels",
        "domain",
        "near_limit",
        "negative_hits",
        "other_hits",
        "over_limit",
        "path",
        "shadow_mode",
        "shown",
        "unlimited",
        "value",
        "within_limit",
    )

    def __init__(self, domain: str, path: str, value: str = "") -> None:
        self.domain = domain
        self.path = path
        self.value = value
        self.shown = _NONE
        self.other_hits = self.over_limit = self.near_limit = self.within_limit = 0
        self.shadow_mode = self.negative_hits = self.unlimited = 0
        self._labels = ""

    @property
    def hits(self) -> int:
        """All hits. Most are within the limit, so that only these are counted for each check."""
        return self.within_limit + self.other_hits

    @property
    def labels(self) -> str:
        """Made when first asked for, not while many rules are loaded."""
        if not self._labels:
            value = f',value="{escaped(self.value)}"' if self.value else ""
            self._labels = f'domain="{escaped(self.domain)}",rule="{escaped(self.path)}"{value}'
        return self._labels


class RuleCounters(Hits):
    """The numbers of one rule; of several where these share a domain and a path.

    Attributes:
        rule: The rule as it is in force; one of several. None for limits that requests bring.
        is_listed: Whether its limit and its names are shown before its first hit.
        revision: The last rule set that has its rule; by an object that is no other's.
        fallback: Checks that were decided by policy, by the policy; None where none was.
        least: Of all counters in this period, the least that was left of the limit.
        most: Of all counters in this period, the highest count over the limit; 0 where none was over it.
        until: When this period ends, in Unix seconds; 0 before the first.
        since: When the present run of hits over the limit began; 0 before the first.
        last_over: When a hit was over the limit last; 0 before the first.
    """

    __slots__ = (
        "_last",
        "_limit",
        "_share",
        "fallback",
        "is_listed",
        "last_over",
        "least",
        "most",
        "revision",
        "rule",
        "since",
        "until",
    )

    def __init__(self, domain: str, path: str) -> None:
        super().__init__(domain, path)
        self.rule: Rule | None = None
        self.is_listed = False
        self.revision: object = None
        self.fallback: dict[OnBackendError, int] | None = None
        self.least = _FULL
        self.most = 0
        self.until = self.since = self.last_over = 0.0
        # The limit that `least` and `most` are about, and the shares that they do not tell of.
        self._limit: RateLimit | None = None
        self._share = self._last = 0.0

    @property
    def is_shown(self) -> bool:
        """Whether the rule's names and its limit are shown."""
        return self.is_listed or bool(self.hits or self.until or self.unlimited or self.negative_hits)

    def take(self, rule: Rule, *, first: bool) -> None:
        """*rule* is in force from now on; *first* if no other with this path is."""
        if not first:
            return
        self.rule = rule
        if rule.limit != self._limit:
            self._share = self._current_share()
            self._limit, self.least, self.most = rule.limit, _FULL, 0

    def reach(self, status: Status, now: float, *, known: bool) -> None:
        """A hit came to *status*, whose count is that of the store where *known*. `Metrics` has this inlined for the usual case."""
        if known and now >= self.until:
            self.begin_period(now, status)
        if status.over_limit:
            if known and status.count > self.most:
                self.most = status.count
            if now - self.last_over > PAUSE:
                self.since = now
            self.last_over = now
        elif known and status.within_limit and status.limit_remaining < self.least:
            self.least = status.limit_remaining

    def begin_period(self, now: float, status: Status) -> None:
        """The period is over, and *status* is the first of the next one."""
        length = self._period()
        self._last = self._current_share() if now < self.until + length else 0.0
        self._share, self.least, self.most = 0.0, _FULL, 0
        second = int(now)
        if length > SHORTEST_PERIOD:
            self.until = float(second + status.seconds_until_reset)
        else:
            self.until = float(second - second % SHORTEST_PERIOD + SHORTEST_PERIOD)

    def utilization(self, now: float) -> tuple[float, float]:
        """The highest share of the limit that a counter reached in the period of the second *now*, and in the one before."""
        if now < self.until:
            return self._current_share(), self._last
        return 0.0, self._current_share() if now < self.until + self._period() else 0.0

    def _period(self) -> int:
        return SHORTEST_PERIOD if self._limit is None else max(SHORTEST_PERIOD, self._limit.window_seconds)

    def _current_share(self) -> float:
        limit = self._limit
        if limit is None:
            return self._share
        whole = limit.requests_per_unit
        share = 0.0 if self.least == _FULL else 1 - self.least / whole if whole else 1.0
        if self.most:
            share = max(share, self.most / whole if whole else 1.0)
        return max(share, self._share)


class CountersByRule:
    """The numbers of all rules in force, and of values of requests.

    Args:
        values_per_rule: Values of each rule that have numbers of their own; all others share one value.

    Attributes:
        by_rule: The numbers of each rule; of more than `LONGEST_ZEROS` rules, of those that were hit.
        by_path: The same by domain and path, and those of overrides.
        by_value: By domain and path, the numbers of each value.
    """

    def __init__(self, values_per_rule: int = 1_000) -> None:
        self.by_rule: dict[Rule, RuleCounters] = {}
        self.by_path: dict[tuple[str, str], RuleCounters] = {}
        self.by_value: dict[tuple[str, str], dict[str, Hits]] = {}
        self._values_per_rule = values_per_rule
        # What `by_rule` was before, and will be next: a new one of 100,000 rules would be walked by the collector.
        self._spare: dict[Rule, RuleCounters] = {}
        self._prepared: RuleSet | None = None
        # Whether a rule gets numbers with its first hit: mappings of 100,000 rules take milliseconds to grow and to be walked.
        self._adds_with_hits = False

    def load(self, rules: RuleSet) -> None:
        """Put *rules* in force: prepares for them where that was not done."""
        if self._prepared is not rules:
            finish(self.prepare(rules))
        self.by_rule, self._spare, self._prepared = self._spare, self.by_rule, None
        self._adds_with_hits = rules.size() > LONGEST_ZEROS

    def prepare(self, rules: RuleSet) -> Steps[None]:
        """Keep the numbers of rules that stay, whose domain and path are the same; begin at 0 for new ones.

        In steps, between which hits are counted: there is never a second object for one rule or value.
        """
        revision = object()
        self._prepared = None
        yield from self._empty_spare()
        is_listed = rules.size() <= LONGEST_ZEROS
        for number, rule in enumerate(rules.rules()):
            self._prepare_rule(rule, revision, is_listed=is_listed)
            if number % STEP == 0:
                yield
        yield from self._drop_others(rules, revision)
        self._prepared = rules

    def _empty_spare(self) -> Steps[None]:
        while self._spare:
            for _ in range(min(STEP, len(self._spare))):
                self._spare.popitem()
            yield

    def _prepare_rule(self, rule: Rule, revision: object, *, is_listed: bool) -> None:
        key = rule.domain, rule.path
        counters = self.by_path.get(key)
        if counters is None:
            if not is_listed:
                return
            counters = self.by_path[key] = RuleCounters(*key)
        is_first = counters.revision is not revision
        if is_first:
            counters.revision, counters.shown, counters.is_listed = revision, _NONE, is_listed
        counters.take(rule, first=is_first)
        # Where every request brings its own label, the one without a value would stay at 0 for ever.
        if is_listed and not rule.detailed_metric:
            families = _UNLIMITED if rule.limit is None else _IN_SHADOW if rule.shadow_mode else _LIMITED
            counters.shown = counters.shown | families if counters.shown else families
        self._spare[rule] = counters

    def _drop_others(self, rules: RuleSet, revision: object) -> Steps[None]:
        """Forget the numbers of rules that are gone, and of their values."""
        paths = list(self.by_path)
        while paths:
            # Not all at the end: many of them are freed with this list.
            some, paths[-STEP:] = paths[-STEP:], []
            for domain, path in some:
                is_override = path == OVERRIDE and domain in rules.domains
                if not is_override and self.by_path[domain, path].revision is not revision:
                    del self.by_path[domain, path]
            yield
        for key in [key for key in self.by_value if key not in self.by_path]:
            values = self.by_value.pop(key)
            for some_values in chunks(list(values)):
                for value in some_values:
                    del values[value]
                yield

    def of_rule(self, domain: str, check: Check) -> RuleCounters:
        """The numbers of the rule of *check*, or of overrides, whatever its values."""
        if check.rule is not None and (known := self.by_rule.get(check.rule)) is not None:
            return known
        key = domain, check.path
        counters = self.by_path.get(key)
        if counters is None:
            counters = self.by_path[key] = RuleCounters(*key)
        if self._adds_with_hits and check.rule is not None:
            counters.take(check.rule, first=counters.rule is not check.rule)
            self.by_rule[check.rule] = counters
        return counters

    def find(self, domain: str, check: Check) -> Hits:
        """The hits that *check* counts among: it is matched, or an override."""
        if not check.value:
            return self.of_rule(domain, check)
        values = self.by_value.setdefault((domain, check.path), {})
        value = shortened(check.value, LONGEST_VALUE)
        found = values.get(value)
        if found is None:
            value = value if len(values) < self._values_per_rule else OTHER
            found = values.get(value)
            if found is None:
                found = values[value] = Hits(domain, check.path, value)
        return found


def escaped(text: str) -> str:
    """*text* as the value of a label: `printable`, so that two texts never share a series, and quoted as Prometheus asks."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
