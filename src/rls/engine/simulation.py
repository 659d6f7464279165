"""Rules on a simulated clock: what a server with these rules would have answered, and when.

No loop, no I/O and no waiting: counters are in memory, and the caller moves the clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from rls.core.check import Check
from rls.core.decide import Decision, Modes, decide
from rls.core.model import Descriptor, Request
from rls.core.plan import CountingOptions, Planner
from rls.core.rules import RuleSet
from rls.core.update import CounterUpdate
from rls.engine.prepared import PreparedCheck, PreparedRequest
from rls.engine.refunds import refund_of
from rls.errors import BackendError
from rls.stores.memory import MemoryStore

_REMEMBERED = 30_000
"""Descriptors that are remembered with the rule that matches, so that this is found out once."""


class Simulation:
    """Answers requests at the times that its caller sets.

    Args:
        rules: In force from the beginning.
        counting: How hits are counted, as a server has it.
        modes: What holds for all decisions, as a server has it.
        capacity: Counters that it holds at most; see `MemoryStore`.
        start: `now` at the beginning.

    Attributes:
        now: Unix seconds. It may step back, as a server's clock may; counters whose window has ended are forgotten.
        counters: Where hits are counted.
    """

    def __init__(
        self,
        rules: RuleSet,
        *,
        counting: CountingOptions | None = None,
        modes: Modes | None = None,
        capacity: int = 1_000_000,
        start: float = 0.0,
    ) -> None:
        self.now = start
        self.counters = MemoryStore(capacity=capacity, clock=lambda: self.now)
        self._counting = counting or CountingOptions()
        self._modes = modes or Modes()
        self.load(rules)

    @property
    def rules(self) -> RuleSet:
        """Those in force."""
        return self._planner.rules

    def load(self, rules: RuleSet) -> None:
        """Put *rules* in force, in place of those before. Counters stay, as at a reload."""
        self._planner = Planner(rules, self._counting)
        self._known: dict[tuple[str, int, int, Descriptor], tuple[Check, PreparedCheck]] = {}

    def prepare(self, request: Request) -> PreparedRequest:
        """Match *request* under the rules in force. What this returns may be kept and run any number of times, until `load`."""
        planner, name, addend = self._planner, request.domain, request.hits_addend
        domain = planner.domain(name)
        if domain is None:
            return PreparedRequest(planner.plan(request))
        known = self._known
        if len(known) > _REMEMBERED:
            known.clear()
        parts = []
        for index, descriptor in enumerate(request.descriptors):
            key = name, addend, index, descriptor
            part = known.get(key)
            if part is None:
                check = domain.check(descriptor, addend, index)
                part = known[key] = check, PreparedCheck(check)
            parts.append(part)
        plan = planner.join(name, [check for check, _ in parts], addend)
        # A check that another rule replaces has no limit any more; all others are those that were given.
        both = zip(plan.checks, parts, strict=True)
        return PreparedRequest(plan, [prepared for check, (_, prepared) in both if check.limit is not None])

    def run(self, prepared: PreparedRequest) -> Decision:
        """Count and decide what was prepared, at `now`.

        Raises:
            NoRoom: A counter is new, and none of those held may be forgotten for it.
        """
        now = int(self.now)
        updates = prepared.updates if prepared.since <= now < prepared.until else prepared.at(now)
        counts = self.counters.submit(updates, _NOBODY) if updates else ()
        decision = decide(prepared.plan, counts, now, self._modes)
        if decision.limited_by is not None and prepared.plan.refund_over_limit:
            self._refund(refund_of(updates, counts, decision.statuses, now))
        return decision

    def check(self, request: Request) -> Decision:
        """Count and decide *request*, at `now`; see `run`."""
        return self.run(self.prepare(request))

    def _refund(self, updates: list[CounterUpdate]) -> None:
        if updates:
            self.counters.submit(updates, _NOBODY)


class _Nobody:
    """Memory answers at once, so it tells nobody later."""

    def counted(self, counts: Sequence[int]) -> None:
        raise AssertionError(counts)

    def failed(self, error: BackendError) -> None:
        raise AssertionError from error


_NOBODY = _Nobody()
