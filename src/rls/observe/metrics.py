"""Prometheus metrics."""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric

from rls.core.check import Check, Status
from rls.core.model import Code
from rls.core.plan import Plan
from rls.core.rules import OnBackendError, RuleSet
from rls.engine.events import Judged, Observer, RequestContext, RulesLoaded, RulesRejected, StoreFailed
from rls.histograms import SECONDS, Histogram
from rls.observe.exemplars import Exemplars
from rls.observe.families import END, Number, Reading, as_text, counter, form_for, gauge, histogram, histograms
from rls.observe.loads import Loads
from rls.observe.rule_counters import PAUSE, CountersByRule
from rls.observe.rule_lines import rule_lines
from rls.observe.stores import Store, store_families
from rls.slices import Steps


class Metrics(Observer):
    """Counts the limiter's events; an `Observer`.

    Args:
        version: Version of the server.
        values_per_rule: See `CountersByRule`.
        clock: Unix seconds.
    """

    def __init__(
        self, *, version: str = "", values_per_rule: int = 1_000, clock: Callable[[], float] = time.time
    ) -> None:
        self.rules = CountersByRule(values_per_rule)
        self._version = version
        self._clock = clock
        self._over_limit = self._shadowed = self._unknown_domain = self._backend_errors = 0
        self._unmatched: dict[str, int] = {}
        self._counted, self._uncounted, self._failed = Histogram(), Histogram(), Histogram()
        self._exemplars = Exemplars(len(SECONDS) + 1)
        self._due = self._exemplars.due
        self._loads = Loads()
        self._stores: dict[str, Store] = {}
        self._sources: list[Callable[[], Metric]] = []
        self._process = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)

    @property
    def requests(self) -> int:
        """Requests that were decided so far."""
        return sum(self._counted.counts) + sum(self._uncounted.counts)

    @property
    def refused(self) -> int:
        """Requests over a limit so far."""
        return self._over_limit

    @property
    def backend_errors(self) -> int:
        """Requests that the backend failed to count so far."""
        return self._backend_errors

    @property
    def stores(self) -> Mapping[str, Store]:
        """What `register_store` was given, by name."""
        return self._stores

    @property
    def durations(self) -> Sequence[int]:
        """How many requests took how long, in the ranges of `SECONDS`."""
        parts = self._counted.counts, self._uncounted.counts, self._failed.counts
        return [sum(counts) for counts in zip(*parts, strict=True)]

    def decided(self, request: RequestContext) -> None:
        """A request was answered."""
        decision, began, seconds = request.decision, request.began, request.seconds
        plan = decision.plan
        bucket = bisect_left(SECONDS, seconds)
        durations = self._counted if plan.counted else self._uncounted
        durations.counts[bucket] += 1
        durations.sum += seconds
        if began >= self._due[bucket]:
            self._exemplars.look(bucket, request)
        if decision.well_within:  # what `_count` does, with less to ask
            by_rule = self.rules.by_rule
            for status in decision.statuses:
                check = status.check
                counters = by_rule.get(check.rule)  # type: ignore[arg-type]  # a simple plan has a rule for each
                if counters is None or began >= counters.until:
                    self._count(plan, (status,), began)
                    continue
                counters.within_limit += check.amount
                if status.limit_remaining < counters.least:  # noqa: PLR1730 - a call of min costs as much as all of this
                    counters.least = status.limit_remaining
            return
        if decision.code is not _OK:
            self._over_limit += 1
        elif decision.shadowed:
            self._shadowed += 1
        if not plan.known:
            self._unknown_domain += 1
        count = self._count_by_policy if decision.policies else self._count
        count(plan, decision.statuses, began)

    def judged(self, event: Judged) -> None:
        """A slice of a request was judged."""
        count = self._count_by_policy if event.policies else self._count
        count(event.plan, event.statuses, event.request.began)

    def _count(self, plan: Plan, statuses: Sequence[Status], began: float) -> None:
        """Count *statuses*, none of which a policy decided."""
        by_rule = self.rules.by_rule
        for status in statuses:
            check = status.check
            rule, amount = check.rule, check.amount
            if rule is None or amount <= 0 or (counters := by_rule.get(rule)) is None:
                self._count_other(plan, status, began)
                continue
            hits = self.rules.find(plan.domain, check) if check.value else counters
            if began >= counters.until:
                counters.begin_period(began, status)
            if status.within_limit:
                hits.within_limit += amount
                if status.limit_remaining < counters.least:  # noqa: PLR1730 - a call of min costs as much as all of this
                    counters.least = status.limit_remaining
            else:
                hits.other_hits += amount
                if over := status.over_limit:
                    hits.over_limit += over
                    if rule.shadow_mode:
                        hits.shadow_mode += over
                    if status.count > counters.most:  # noqa: PLR1730
                        counters.most = status.count
                    if began - counters.last_over > PAUSE:
                        counters.since = began
                    counters.last_over = began
            if status.near_limit:
                hits.near_limit += status.near_limit

    def _count_by_policy(self, plan: Plan, statuses: Sequence[Status], began: float) -> None:
        """Count *statuses*, some of which a policy decided."""
        for status in statuses:
            self._count_other(plan, status, began, known=False)

    def _count_other(self, plan: Plan, status: Status, began: float, *, known: bool = True) -> None:
        """Count what is not simply hits on a rule in force; *known*: whether the count is that of the store."""
        check = status.check
        rule = check.rule
        if not plan.known:
            return
        if rule is None and check.limit is None:
            self._unmatched[plan.domain] = self._unmatched.get(plan.domain, 0) + 1
            return
        hits = self.rules.find(plan.domain, check)
        if rule is not None and rule.limit is None:
            addend = check.descriptor.hits_addend
            hits.unlimited += (plan.hits_addend or 1) if addend is None else addend
        elif check.amount < 0:
            hits.negative_hits -= check.amount
        else:
            hits.other_hits += check.amount - status.within_limit
            hits.within_limit += status.within_limit
            hits.over_limit += status.over_limit
            hits.near_limit += status.near_limit
            if rule is not None and rule.shadow_mode:
                hits.shadow_mode += status.over_limit
            if check.amount and rule is not None:
                self.rules.of_rule(plan.domain, check).reach(status, began, known=known)

    def by_policy(self, domain: str, check: Check, policy: OnBackendError) -> None:
        """A *check* was decided by *policy*, since it could not be counted."""
        counters = self.rules.of_rule(domain, check)
        found = counters.fallback
        if found is None:
            found = counters.fallback = {}
        found[policy] = found.get(policy, 0) + 1

    def store_failed(self, event: StoreFailed) -> None:
        """A request could not be counted; its hits are, as in the reference."""
        self._backend_errors += 1
        if event.answered:
            return  # its decision counts the rest
        self._failed.add(event.request.seconds)
        for check in event.plan.counted:
            if check.amount > 0:
                self.rules.find(event.plan.domain, check).other_hits += check.amount

    def prepare_rules(self, rules: RuleSet) -> Steps[None]:
        """See `Observer`."""
        return self.rules.prepare(rules)

    def rules_loaded(self, event: RulesLoaded) -> None:
        """New rules are in force."""
        self.rules.load(event.rules)
        self._unmatched = {domain: self._unmatched.get(domain, 0) for domain in event.rules.domains}
        self._loads.loaded(event)

    def rules_rejected(self, event: RulesRejected) -> None:
        """A configuration has mistakes."""
        self._loads.rejected(event)

    def register_counter(self, name: str, documentation: str, read: Callable[[], Reading], *labels: str) -> None:
        """Show what *read* returns as the counter *name*: a number, or numbers by the values of *labels*."""
        self._sources.append(lambda: counter(name, documentation, read(), *labels))

    def register_gauge(self, name: str, documentation: str, read: Callable[[], Reading], *labels: str) -> None:
        """Show what *read* returns as the gauge *name*."""
        self._sources.append(lambda: gauge(name, documentation, read(), *labels))

    def register_store(
        self, name: str, limit: int, count: Callable[[], int], evicted: Callable[[], int] | None = None
    ) -> None:
        """Show how many counters the store *name* holds, of at most *limit*, and how many it has *evicted*."""
        self._stores[name] = Store(limit, count, evicted)

    def register_histogram(self, name: str, documentation: str, values: Histogram) -> None:
        """Show *values* as the histogram *name*."""
        self._sources.append(lambda: histogram(name, documentation, [values]))

    def register_histograms(
        self, name: str, documentation: str, read: Callable[[], Mapping[str, Histogram]], label: str
    ) -> None:
        """Show what *read* returns as the histogram *name*, by the values of *label*."""
        self._sources.append(lambda: histograms(name, documentation, read(), label))

    def page(self, accept: str = "") -> tuple[str, Iterator[bytes]]:
        """All metrics for a scraper with this `Accept` header.

        Returns:
            The content type, and the page in pieces that each take less than a millisecond or so.
        """
        form = form_for(accept)

        def pieces() -> Iterator[bytes]:
            for family in self._collect():
                yield as_text(family, form)
            yield from rule_lines(self.rules, self._clock(), is_openmetrics=form.is_openmetrics)
            if form.is_openmetrics:
                yield END

        return form.content_type, pieces()

    def _collect(self) -> Iterator[Metric]:
        """All metrics but those of rules."""
        yield from self._process.collect()
        build: dict[tuple[str, ...], Number] = {(self._version, platform.python_version()): 1}
        yield gauge("rls_build_info", "Version of rls and of Python; always 1.", build, "version", "python")
        codes = {"OK": self.requests - self._over_limit, "OVER_LIMIT": self._over_limit}
        yield counter("rls_requests_total", "Requests decided, by overall code.", codes, "code")
        yield histogram(
            "rls_check_duration_seconds",
            "Time to count and decide a request, in seconds.",
            (self._counted, self._uncounted, self._failed),
            self._exemplars.found,
        )
        backend = (self._counted, self._failed)
        yield histogram("rls_backend_duration_seconds", "Time to count a request in the backend, in seconds.", backend)
        yield counter("rls_backend_errors_total", "Requests that the backend failed to count.", self._backend_errors)
        yield counter("rls_domain_not_found_total", "Requests for a domain without rules.", self._unknown_domain)
        yield counter(
            "rls_unmatched_descriptors_total",
            "Descriptors that no rule matches, or whose rule another rule replaces.",
            self._unmatched,
            "domain",
        )
        yield counter(
            "rls_global_shadow_mode_total", "Requests over a limit that --shadow-mode let pass.", self._shadowed
        )
        yield from store_families(self._stores)
        yield from self._loads.collect()
        for source in self._sources:
            yield source()


_OK = Code.OK
