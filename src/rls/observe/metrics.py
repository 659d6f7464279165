"""Prometheus metrics."""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from rls.core.check import Status
from rls.core.model import Code
from rls.core.plan import Plan
from rls.core.rules import RuleSet
from rls.engine.events import Judged, Observer, RequestContext, RulesLoaded, RulesRejected, StoreFailed
from rls.observe.rule_counters import CountersByRule
from rls.printable import printable
from rls.slices import Steps

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Upper bounds in seconds: from what a check should take to what its caller never waits for."""

Number = int | float
Reading = Number | Mapping[str, Number] | Mapping[tuple[str, ...], Number]


class Durations:
    """A histogram of seconds over `BUCKETS`."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


class Metrics(Observer):
    """Counts the limiter's events; an `Observer`.

    Args:
        version: Version of the server.
        values_per_rule: See `CountersByRule`.
    """

    def __init__(self, *, version: str = "", values_per_rule: int = 1_000) -> None:
        self.rules = CountersByRule(values_per_rule)
        self._version = version
        self._ok = self._over_limit = self._shadowed = self._unknown_domain = self._backend_errors = 0
        self._unmatched: dict[str, int] = {}
        self._counted, self._uncounted, self._failed = Durations(), Durations(), Durations()
        self._loads = {"complete": 0, "partial": 0, "rejected": 0}
        self._problems = 0
        self._loaded_at = 0.0
        self._rules_by_domain: dict[str, int] = {}
        self._stores: dict[str, Callable[[], int]] = {}
        self._sources: list[Callable[[], Metric]] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    @property
    def requests(self) -> int:
        """Requests that were decided so far."""
        return self._ok + self._over_limit

    def decided(self, request: RequestContext) -> None:
        """A request was answered."""
        decision = request.decision
        plan = decision.plan
        if decision.code is Code.OK:
            self._ok += 1
            self._shadowed += decision.shadowed
        else:
            self._over_limit += 1
        if plan.counted:
            durations = self._counted
        else:
            durations = self._uncounted
            self._unknown_domain += not plan.known
        seconds = request.seconds
        durations.counts[bisect_left(BUCKETS, seconds)] += 1
        durations.sum += seconds
        self._count(plan, decision.statuses)

    def judged(self, event: Judged) -> None:
        """A slice of a request was judged."""
        self._count(event.plan, event.statuses)

    def _count(self, plan: Plan, statuses: Sequence[Status]) -> None:
        by_rule = self.rules.by_rule
        for status in statuses:
            check = status.check
            rule, amount = check.rule, check.amount
            if rule is None or check.has_values or (counters := by_rule.get(rule)) is None or amount <= 0:
                self._count_other(plan, status)
                continue
            counters.hits += amount
            if status.within_limit:
                counters.within_limit += status.within_limit
            elif status.over_limit:
                counters.over_limit += status.over_limit
                if rule.shadow_mode:
                    counters.shadow_mode += status.over_limit
            if status.near_limit:
                counters.near_limit += status.near_limit

    def _count_other(self, plan: Plan, status: Status) -> None:
        """Count what is not simply hits on a rule under its own label."""
        check = status.check
        rule = check.rule
        if not plan.known:
            return
        if rule is None and check.limit is None:
            self._unmatched[plan.domain] = self._unmatched.get(plan.domain, 0) + 1
            return
        counters = self.rules.find(plan.domain, check)
        if rule is not None and rule.limit is None:
            addend = check.descriptor.hits_addend
            counters.unlimited += (plan.hits_addend or 1) if addend is None else addend
        elif check.amount < 0:
            counters.negative_hits -= check.amount
        else:
            counters.hits += check.amount
            counters.over_limit += status.over_limit
            counters.near_limit += status.near_limit
            counters.within_limit += status.within_limit
            if rule is not None and rule.shadow_mode:
                counters.shadow_mode += status.over_limit

    def store_failed(self, event: StoreFailed) -> None:
        """A request could not be counted; its hits are, as in the reference."""
        self._backend_errors += 1
        if event.answered:
            return  # its decision counts the rest
        self._failed.add(event.request.seconds)
        for check in event.plan.counted:
            if check.amount > 0:
                self.rules.find(event.plan.domain, check).hits += check.amount

    def prepare_rules(self, rules: RuleSet) -> Steps[None]:
        """See `Observer`."""
        return self.rules.prepare(rules)

    def rules_loaded(self, event: RulesLoaded) -> None:
        """New rules are in force."""
        self.rules.load(event.rules)
        self._unmatched = {domain: self._unmatched.get(domain, 0) for domain in event.rules.domains}
        self._rules_by_domain = {name: event.rules.count(name) for name in sorted(event.rules.domains)}
        self._loads["partial" if event.diagnostics else "complete"] += 1
        self._problems = len(event.diagnostics)
        if not event.diagnostics:
            self._loaded_at = event.at

    def rules_rejected(self, event: RulesRejected) -> None:
        """A configuration has mistakes."""
        self._loads["rejected"] += 1
        self._problems = len(event.diagnostics)

    def register_counter(self, name: str, documentation: str, read: Callable[[], Reading], *labels: str) -> None:
        """Show what *read* returns as the counter *name*: a number, or numbers by the values of *labels*."""
        self._sources.append(lambda: _counter(name, documentation, read(), *labels))

    def register_gauge(self, name: str, documentation: str, read: Callable[[], Reading], *labels: str) -> None:
        """Show what *read* returns as the gauge *name*."""
        self._sources.append(lambda: _gauge(name, documentation, read(), *labels))

    def register_store(self, name: str, count: Callable[[], int]) -> None:
        """Show how many counters the bounded store *name* holds."""
        self._stores[name] = count

    def register_histogram(self, name: str, documentation: str, durations: Durations) -> None:
        """Show *durations* as the histogram *name*."""
        self._sources.append(lambda: _histogram(name, documentation, durations))

    def expose(self) -> Iterator[bytes]:
        """All metrics as Prometheus text, in pieces that each take less than a millisecond or so."""
        yield generate_latest(self._registry)
        yield from self.rules.expose()

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering collects nothing (prometheus_client's protocol)."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All metrics but those of rules (prometheus_client's protocol)."""
        build = {"version": self._version, "python": platform.python_version()}
        info = GaugeMetricFamily("rls_build_info", "Version of rls and of Python; always 1.", labels=list(build))
        info.add_metric(list(build.values()), 1)
        yield info
        codes = {"OK": self._ok, "OVER_LIMIT": self._over_limit}
        yield _counter("rls_requests_total", "Requests decided, by overall code.", codes, "code")
        checks = (self._counted, self._uncounted, self._failed)
        yield _histogram("rls_check_duration_seconds", "Time to count and decide a request, in seconds.", *checks)
        backend = (self._counted, self._failed)
        yield _histogram(
            "rls_backend_duration_seconds", "Time to count a request in the backend, in seconds.", *backend
        )
        yield _counter("rls_backend_errors_total", "Requests that the backend failed to count.", self._backend_errors)
        yield _counter("rls_domain_not_found_total", "Requests for a domain without rules.", self._unknown_domain)
        yield _counter(
            "rls_unmatched_descriptors_total",
            "Descriptors that no rule matches, or whose rule another rule replaces.",
            self._unmatched,
            "domain",
        )
        yield _counter(
            "rls_global_shadow_mode_total", "Requests over a limit that --shadow-mode let pass.", self._shadowed
        )
        counters = {name: count() for name, count in self._stores.items()}
        yield _gauge("rls_store_counters", "Counters that this process holds.", counters, "store")
        yield from self._collect_config()
        for source in self._sources:
            yield source()

    def _collect_config(self) -> Iterator[Metric]:
        successful = any(self._loads.values()) and not self._problems
        yield _gauge(
            "rls_config_last_reload_successful", "1 if the whole configuration is in force, else 0.", int(successful)
        )
        yield _gauge(
            "rls_config_last_reload_success_timestamp_seconds",
            "When the whole configuration was last put in force, in Unix seconds.",
            self._loaded_at,
        )
        yield _counter("rls_config_loads_total", "Configuration loads, by result.", self._loads, "result")
        yield _gauge("rls_config_errors", "Errors in the configuration.", self._problems)
        yield _gauge("rls_config_rules", "Rules in force.", self._rules_by_domain, "domain")


def _counter(name: str, documentation: str, value: Reading, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(name, documentation, labels=labels), value)


def _gauge(name: str, documentation: str, value: Reading, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, documentation, labels=labels), value)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, value: Reading) -> Metric:
    if isinstance(value, Mapping):
        for key, number in value.items():
            values = (key,) if isinstance(key, str) else key
            family.add_metric([printable(value) for value in values], number)
    else:
        family.add_metric([], value)
    return family


def _histogram(name: str, documentation: str, *parts: Durations) -> Metric:
    """The sum of *parts* as one histogram."""
    counts = accumulate(map(sum, zip(*(part.counts for part in parts), strict=True)))
    bounds = [*map(str, BUCKETS), "+Inf"]
    family = HistogramMetricFamily(name, documentation)
    family.add_metric([], list(zip(bounds, counts, strict=True)), sum(part.sum for part in parts))
    return family
