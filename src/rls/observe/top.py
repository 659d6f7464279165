"""Top talkers: who hits the rules most, whom they refuse most, and who is near a limit.

A rule gets a sketch when one of its counters is first near its limit or over it. The sketches of all rules share one budget of
memory. Where it is used up, the rule that refused longest ago loses its sketch; a rule that refused nobody yet goes first.

Everything is fed from decisions, whatever counted: memory, Redis, the over-limit cache or a policy. Who is refused is counted
for each refusal. Who hits is counted for each check while there are few, and else for one in N, which stands for all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from rls.core.check import Check, Status
from rls.core.decide import Decision, Modes, is_quota
from rls.core.model import Code
from rls.core.plan import Plan
from rls.core.rules import OnBackendError
from rls.engine.events import Judged, Observer, RequestContext
from rls.observe.decisions import POLICY, REDIS, counted_by
from rls.observe.heavy_hitters import HeavyHitters
from rls.observe.rate_sampler import RateSampler
from rls.observe.refusals import Refusals, RuleRefusals
from rls.observe.rule_sketch import EMPTY_BYTES, HALF_SECONDS, RuleSketch, kept_key
from rls.observe.unknown import Unknown
from rls.slices import Steps

BUDGET_BYTES = 32 << 20
_CHECKS_A_SECOND = 500
"""Checks whose hits are counted: above so many a second, one in N, for N. To find the place of a client in a table takes 0.7
µs, as long as all the rest of observing, and most of that is spent on waiting for memory."""
_NEW_A_SECOND = 500
"""Entries that are new to a table, of all rules: above so many a second, all but one in N are left out."""
_ORDERED_SECONDS = 1.0


class TopTalkers(Observer):
    """An `Observer` of who is limited.

    Args:
        modes: Of the server.
        store: What counts: MEMORY, REDIS, or the scheme of a store from elsewhere.
        budget: Bytes for the sketches of all rules, about.
        on_unknown_domain: See `Unknown`.

    Attributes:
        refusals: One by one, and by rule.
        unknown: Names that no rule knows.
        sketches: By `Check.rule_id`; the rule that refused last is the last one.
        dropped: Sketches so far that were lost for lack of room.
        size: Bytes that the sketches take, about.
    """

    def __init__(
        self,
        *,
        modes: Modes | None = None,
        store: str = REDIS,
        budget: int = BUDGET_BYTES,
        on_unknown_domain: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.refusals = Refusals()
        self.unknown = Unknown(on_unknown_domain)
        self._unknown_sampler, self._ring_sampler = self.unknown.sampler, self.refusals.sampler
        self._hits_sampler = RateSampler(_CHECKS_A_SECOND)
        self._refused_sampler, self._near_sampler = RateSampler(_NEW_A_SECOND), RateSampler(_NEW_A_SECOND)
        self.sketches: OrderedDict[str, RuleSketch] = OrderedDict()
        self.dropped = 0
        self.size = 0
        self._modes = modes or Modes()
        self._store = store
        self._budget = budget

    def decided(self, request: RequestContext) -> None:
        """A request was answered."""
        decision = request.decision
        if self.sketches:
            sampler, now = self._hits_sampler, request.began
            if sampler.left and now < sampler.until:
                sampler.left -= 1
            else:
                self._count_hits(decision.statuses, now, sampler.take(now))
        if decision.well_within:
            return
        for status in decision.statuses:
            if status.over_limit:
                self._over(decision.plan, status, request, decision.policies, decision)
            elif status.near_limit:
                self._near(decision.plan, status, request, decision.statuses)
            elif status.limit is None and status.check.rule is None:
                sampler = self._unknown_sampler
                if sampler.left and request.began < sampler.until:
                    sampler.left -= 1
                else:
                    self.unknown.note(decision.plan, status.check, request.began)

    def _count_hits(self, statuses: Sequence[Status], now: float, stands_for: int) -> None:
        """Count the hits of *statuses*, of a check that *stands_for* so many."""
        for status in statuses:
            sketch = self.sketches.get(status.check.rule_id)
            if sketch is not None:
                self._add_hits(sketch, status.check, now, stands_for)

    def judged(self, event: Judged) -> None:
        """A slice of a request was judged."""
        now = event.request.began
        for status in event.statuses:
            check = status.check
            self._count_hits((status,), now, 1)
            if status.over_limit:
                self._over(event.plan, status, event.request, event.policies)
            elif status.near_limit:
                self._near(event.plan, status, event.request, (status,))
            elif status.limit is None and check.rule is None:
                self.unknown.note(event.plan, check, now)

    def _add_hits(self, sketch: RuleSketch, check: Check, now: float, stands_for: int = 1) -> None:
        """Count the hits of *check*, which *stands_for* so many."""
        if now >= sketch.until:
            self._rotate(sketch, check, now)
        if check.amount <= 0:
            return
        hits = sketch.current.hits
        hits.one_in = max(hits.one_in, stands_for)
        amount, key = check.amount * stands_for, kept_key(check.key)
        if key in hits.counts:
            hits.counts[key] += amount
        else:
            self._add_new(sketch, hits, check, amount, now)

    def _add_over(self, sketch: RuleSketch, table: HeavyHitters[bytes], check: Check, amount: int, now: float) -> None:
        """Count *amount* over the limit for the entries of *check*; where they are new to *table*, as the sampler says."""
        counts, key, sampler = table.counts, kept_key(check.key), self._refused_sampler
        if key in counts:
            counts[key] += amount
        elif sampler.left and now < sampler.until:
            sampler.left -= 1
            table.left_out += amount
        else:
            sampler.take(now)
            self._add_new(sketch, table, check, amount, now)

    def _add_new(self, sketch: RuleSketch, table: HeavyHitters[bytes], check: Check, amount: int, now: float) -> None:
        before = sketch.size
        sketch.add(table, check, amount, now)
        self._resized(check.rule_id, sketch.size - before)

    def _rotate(self, sketch: RuleSketch, check: Check, now: float) -> None:
        before = sketch.size
        sketch.rotate(now)
        self._resized(check.rule_id, sketch.size - before)

    def _over(
        self,
        plan: Plan,
        status: Status,
        request: RequestContext,
        policies: frozenset[OnBackendError],
        decision: Decision | None = None,
    ) -> None:
        """Hits of *status* are over their limit. *decision* is None of a request that is judged in slices."""
        check, now, over = status.check, request.began, status.over_limit
        sketch = self.sketches.get(check.rule_id)
        if sketch is None:
            statuses = (status,) if decision is None else decision.statuses
            sketch = self._begin(plan.domain, check, now, statuses, last=True)
        elif now >= sketch.until:
            self._rotate(sketch, check, now)
        if status.code is not _OVER_LIMIT:
            refused = False
        elif decision is not None:
            refused = decision.code is _OVER_LIMIT
        else:  # the whole request is not decided yet
            refused = not self._modes.shadow_mode and not is_quota(check, self._modes)
        refusals, current = sketch.refusals or self._refuses_last(sketch, plan.domain, check), sketch.current
        span, table = (refusals.refused, current.refused) if refused else (refusals.shadow, current.shadow)
        if now - span.last >= _ORDERED_SECONDS or sketch.rule is not check.rule:
            self._refuses_last(sketch, plan.domain, check)
        span.hits += over
        span.last = now
        if not span.first:
            span.first = now
        self._add_over(sketch, table, check, over, now)
        if refused:
            sampler = self._ring_sampler
            if sampler.left and now < sampler.until:
                sampler.left -= 1
            else:
                self.refusals.keep(plan.domain, status, request, *self._answered_by(status, request, policies))

    def _near(self, plan: Plan, status: Status, request: RequestContext, statuses: Sequence[Status]) -> None:
        """The counter of *status*, one of *statuses*, is near its limit. Where it is new to the table, it is noted as the
        sampler says.
        """
        check, now = status.check, request.began
        sketch = self.sketches.get(check.rule_id)
        if sketch is None:
            if self.size + EMPTY_BYTES > self._budget:
                return  # others have refused somebody
            sketch = self._begin(plan.domain, check, now, statuses, last=False)
        elif now >= sketch.until:
            self._rotate(sketch, check, now)
        sketch.rule = check.rule
        sampler = self._near_sampler
        if kept_key(check.key) not in sketch.current.near:
            if sampler.left and now < sampler.until:
                sampler.left -= 1
                return
            sampler.take(now)
        before = sketch.size
        sketch.note_near(check, status, now)
        self._resized(check.rule_id, sketch.size - before)

    def _begin(self, domain: str, check: Check, now: float, statuses: Sequence[Status], *, last: bool) -> RuleSketch:
        """Give the rule of *check* its sketch, and count the hits of *statuses* on it.

        Args:
            last: Whether it is the last one to lose its sketch; else the first.
        """
        sketch = self.sketches[check.rule_id] = RuleSketch(domain, check.rule, now)
        self.sketches.move_to_end(check.rule_id, last=last)
        self._resized(check.rule_id, sketch.size)
        for status in statuses:
            if status.check.rule_id == check.rule_id:
                self._add_hits(sketch, status.check, now)
        return sketch

    def _refuses_last(self, sketch: RuleSketch, domain: str, check: Check) -> RuleRefusals:
        """The rule of *check* is the last one that refused."""
        self.sketches.move_to_end(check.rule_id)
        sketch.rule = check.rule
        sketch.refusals = self.refusals.of(domain, check)
        return sketch.refusals

    def _answered_by(
        self, status: Status, request: RequestContext, policies: frozenset[OnBackendError]
    ) -> tuple[str, str]:
        """What knew the count of *status*, and the policy that decided without it; "" where none did."""
        if policies and not status.count:
            return POLICY, str(OnBackendError.DENY)
        if OnBackendError.LOCAL in policies:
            return POLICY, str(OnBackendError.LOCAL)
        return counted_by(request, self._store), ""

    def _resized(self, rule_id: str, by: int) -> None:
        """The sketch of a rule takes *by* bytes more, unless the rule has lost it."""
        if not by or rule_id not in self.sketches:
            return
        self.size += by
        while self.size > self._budget and len(self.sketches) > 1:
            _, lost = self.sketches.popitem(last=False)
            self.size -= lost.size
            self.dropped += 1

    def rotate(self, now: float) -> Steps[list[RuleSketch]]:
        """Begin new halves where those before are over, at the Unix second *now*; returns all sketches."""
        found = list(self.sketches.items())
        for rule_id, sketch in found:
            if now >= sketch.until:
                self.rotated(rule_id, now)
                yield
        return [sketch for _, sketch in found]

    def rotated(self, rule_id: str, now: float) -> RuleSketch | None:
        """The sketch of a rule, with the half of the Unix second *now*; None where it has none."""
        sketch = self.sketches.get(rule_id)
        if sketch is not None and now >= sketch.until:
            before = sketch.size
            sketch.rotate(now)
            self._resized(rule_id, sketch.size - before)
        return sketch

    def refused_shares(self, most: int, now: float) -> Iterator[tuple[RuleSketch, float]]:
        """Of the *most* rules that refused last, those that did in the last minutes: the share that the entries which were
        refused most have of all refusals, in this half and the one before.
        """
        for sketch, _ in zip(reversed(self.sketches.values()), range(most), strict=False):
            if now >= sketch.until + HALF_SECONDS:
                continue
            periods = sketch.periods(recent=True) if now < sketch.until else [sketch.current]
            tables = [period.refused for period in periods if period.refused.counts]
            if tables:
                first = {max(table.counts, key=table.counts.__getitem__) for table in tables}
                most_refused = max(sum(table.counts.get(key, 0) for table in tables) for key in first)
                yield sketch, most_refused / sum(table.total for table in tables)


_OVER_LIMIT = Code.OVER_LIMIT
