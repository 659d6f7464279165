"""Top talkers: who hits the rules most, whom they refuse most, and who is near a limit.

A rule gets a sketch when one of its counters is first near its limit or over it. The sketches of all rules share one budget of
memory. Where it is used up, the rule that refused longest ago loses its sketch; a rule that refused nobody yet goes first.

Everything is fed from decisions, whatever counted: memory, Redis, the over-limit cache or a policy. A check of a rule that is
not near its limit costs one lookup, any other that and one addition.
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
from rls.observe.rule_sketch import EMPTY_BYTES, HALF_SECONDS, LONGEST_KEY, RuleSketch, kept_key
from rls.observe.unknown import Unknown
from rls.slices import Steps

BUDGET_BYTES = 32 << 20
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
        self._hits_sampler, self._refused_sampler, self._near_sampler = (RateSampler(_NEW_A_SECOND) for _ in range(3))
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
            self._count_hits(decision.statuses, request.began)
        if decision.well_within:
            return
        for status in decision.statuses:
            check = status.check
            if status.near_limit or status.over_limit:
                self._limited(decision.plan, status, request, decision.policies, decision)
            elif status.limit is None and check.rule is None:
                sampler = self._unknown_sampler
                if sampler.left and request.began < sampler.until:
                    sampler.left -= 1
                else:
                    self.unknown.note(decision.plan, check, request.began)

    def _count_hits(self, statuses: Sequence[Status], now: float) -> None:
        """Count the hits of *statuses*: as `_add_hits`, without a call where the key is known or is left out."""
        sketches = self.sketches
        for status in statuses:
            check = status.check
            sketch = sketches.get(check.rule_id)
            if sketch is None:
                continue
            hits, key = sketch.hits, check.key
            if now < sketch.until and check.amount > 0:
                before = hits.get(key)
                if before is not None:
                    hits[key] = before + check.amount
                    continue
                sampler = self._hits_sampler
                if sampler.left and now < sampler.until and len(key) <= LONGEST_KEY:
                    sampler.left -= 1
                    sketch.current.hits.left_out += check.amount
                    continue
            self._add_hits(sketch, check, now)

    def judged(self, event: Judged) -> None:
        """A slice of a request was judged."""
        now = event.request.began
        for status in event.statuses:
            check = status.check
            sketch = self.sketches.get(check.rule_id)
            if sketch is not None:
                self._add_hits(sketch, check, now)
            if status.near_limit or status.over_limit:
                self._limited(event.plan, status, event.request, event.policies)
            elif status.limit is None and check.rule is None:
                self.unknown.note(event.plan, check, now)

    def _add_hits(self, sketch: RuleSketch, check: Check, now: float) -> None:
        """Count the hits of *check*: the first ones of its entries, or of a new half."""
        if now >= sketch.until:
            self._rotate(sketch, check, now)
        if check.amount > 0:
            self._add(sketch, sketch.current.hits, self._hits_sampler, check, check.amount, now)

    def _add(
        self,
        sketch: RuleSketch,
        table: HeavyHitters[bytes],
        sampler: RateSampler,
        check: Check,
        amount: int,
        now: float,
    ) -> None:
        """Count *amount* for the entries of *check*; where they are new to *table*, as *sampler* says."""
        counts, key = table.counts, kept_key(check.key)
        if key in counts:
            counts[key] += amount
        elif sampler.left and now < sampler.until:
            sampler.left -= 1
            table.left_out += amount
        else:
            sampler.take(now)
            before = sketch.size
            sketch.add(table, check, amount, now)
            self._resized(check.rule_id, sketch.size - before)

    def _rotate(self, sketch: RuleSketch, check: Check, now: float) -> None:
        before = sketch.size
        sketch.rotate(now)
        self._resized(check.rule_id, sketch.size - before)

    def _limited(
        self,
        plan: Plan,
        status: Status,
        request: RequestContext,
        policies: frozenset[OnBackendError],
        decision: Decision | None = None,
    ) -> None:
        """Hits of *status* are near their limit or over it. *decision* is None of a request that is judged in slices."""
        check, now, over = status.check, request.began, status.over_limit
        sketch = self.sketches.get(check.rule_id)
        if sketch is None:
            if not over and self.size + EMPTY_BYTES > self._budget:
                return  # others have refused somebody
            sketch = self._begin(plan.domain, check, now, last=bool(over))
            for one in (status,) if decision is None else decision.statuses:
                if one.check.rule_id == check.rule_id:
                    self._add_hits(sketch, one.check, now)
        if not over:
            sketch.rule = check.rule
            self._note_near(sketch, check, status, now)
            return
        refused = self._refuses(status, decision)
        refusals = sketch.refusals or self._refuses_last(sketch, plan.domain, check)
        span = refusals.refused if refused else refusals.shadow
        if now - span.last >= _ORDERED_SECONDS or sketch.rule is not check.rule:
            self._refuses_last(sketch, plan.domain, check)
        span.hits += over
        span.last = now
        if not span.first:
            span.first = now
        table = sketch.current.refused if refused else sketch.current.shadow
        self._add(sketch, table, self._refused_sampler, check, over, now)
        if refused:
            sampler = self._ring_sampler
            if sampler.left and now < sampler.until:
                sampler.left -= 1
            else:
                self.refusals.keep(plan.domain, status, request, *self._answered_by(status, request, policies))

    def _note_near(self, sketch: RuleSketch, check: Check, status: Status, now: float) -> None:
        """The counter of *check* is near its limit; where it is new to the table, it is noted as the sampler says."""
        sampler = self._near_sampler
        if kept_key(check.key) not in sketch.current.near:
            if sampler.left and now < sampler.until:
                sampler.left -= 1
                return
            sampler.take(now)
        before = sketch.size
        sketch.note_near(check, status, now)
        self._resized(check.rule_id, sketch.size - before)

    def _begin(self, domain: str, check: Check, now: float, *, last: bool) -> RuleSketch:
        """Give a rule its sketch. *last*: it is the last one to lose its sketch; else the first."""
        sketch = self.sketches[check.rule_id] = RuleSketch(domain, check.rule, now)
        self.sketches.move_to_end(check.rule_id, last=last)
        self._resized(check.rule_id, sketch.size)
        return sketch

    def _refuses_last(self, sketch: RuleSketch, domain: str, check: Check) -> RuleRefusals:
        """The rule of *check* is the last one that refused."""
        self.sketches.move_to_end(check.rule_id)
        sketch.rule = check.rule
        sketch.refusals = self.refusals.of(domain, check)
        return sketch.refusals

    def _refuses(self, status: Status, decision: Decision | None) -> bool:
        """Whether the hits of *status* over its limit were refused. Of slices, the whole request is not decided yet."""
        if status.code is not Code.OVER_LIMIT:
            return False
        if decision is not None:
            return decision.code is Code.OVER_LIMIT
        return not self._modes.shadow_mode and not is_quota(status.check, self._modes)

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
