"""The limiter: plan → hit → decide, under the rules that are in force."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from rls.backends.base import CounterBackend, Hit, counts_of
from rls.core.decide import Decision, Fallback, Modes, decide
from rls.core.model import Request
from rls.core.plan import Counting, Plan, plan
from rls.core.rules import RuleSet
from rls.core.window import window_start
from rls.errors import BackendError, NotLoaded, Problem
from rls.events import BackendFailed, Decided, Observer, RulesLoaded, RulesRejected
from rls.fallback import Policies
from rls.uncharge import Uncharge, unspent

FOREVER = sys.maxsize
NEVER_OVER = sys.maxsize
# A NamedTuple's own constructor is a Python function; this makes the same value at half the cost, for every check.
_new = tuple.__new__


class Limiter:
    """Answers requests under one set of rules at a time.

    Attributes:
        rules: The rules in force. What was prepared belongs to the rules that it was prepared under.
        problems: Mistakes that the last load found; empty when all of it is in force.
        loaded: Whether any rules have been loaded.
        policies: What decides while the backend fails.
        uncharge: What refused requests do not spend.

    Args:
        policies: Those of *backend*; by default no policy answers for a rule that has none of its own.
        uncharge: Gives back to *backend*.
    """

    def __init__(
        self,
        backend: CounterBackend,
        *,
        counting: Counting | None = None,
        modes: Modes | None = None,
        policies: Policies | None = None,
        uncharge: Uncharge | None = None,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules = RuleSet()
        self.problems: tuple[Problem, ...] = ()
        self.loaded = False
        self.counting = counting or Counting()
        self.modes = modes or Modes()
        self.policies = policies or Policies(backend, clock=clock)
        self.uncharge = uncharge or Uncharge(backend)
        self._backend = backend
        self._observers = tuple(observers)
        # Bound once: this one is told for every check.
        self._tell_decided = tuple(observer.decided for observer in observers)
        self._clock = clock

    def load(self, rules: RuleSet, files: tuple[str, ...] = (), problems: tuple[Problem, ...] = ()) -> None:
        """Put *rules* in force, whole; *problems* are the mistakes for which parts of a configuration are missing."""
        self.rules = rules
        self.problems = problems
        self.loaded = True
        for observer in self._observers:
            observer.rules_loaded(RulesLoaded(rules, files, problems, self._clock()))

    def reject(self, problems: tuple[Problem, ...]) -> None:
        """Keep the rules in force, and say why."""
        self.problems = problems
        for observer in self._observers:
            observer.rules_rejected(RulesRejected(problems, self._clock()))

    def prepare(self, request: Request) -> Prepared:
        """Plan *request* under the rules in force.

        Raises:
            NotLoaded: There are none yet.
        """
        if not self.loaded:
            raise NotLoaded("no rate limit configuration loaded")
        return Prepared(plan(request, self.rules, self.counting))

    async def check(self, request: Request) -> Decision:
        """Count and decide *request*.

        Raises:
            NotLoaded: No rules have been loaded yet.
            BackendError: The counters could not be had, and no policy answers in their place.
        """
        return await self.run(self.prepare(request))

    async def run(self, prepared: Prepared) -> Decision:
        """Count and decide what was prepared.

        Raises:
            BackendError: The counters could not be had, and no policy answers in their place.
        """
        clock = self._clock
        began = clock()
        now = int(began)
        counts: Sequence[int] = ()
        hits = prepared.hits if prepared.since <= now < prepared.until else prepared.at(now)
        if hits:
            try:
                counts = await self._backend.hit(hits)
            except BackendError as error:
                fallback = self._fall_back(prepared.plan, hits, error, began)
                if fallback is None:
                    raise
                return fallback
        decision = decide(prepared.plan, counts, now, self.modes)
        if decision[3] is not None and not prepared.plan.charge_refused:
            self._give_back(hits, counts, decision)
        decided = _new(Decided, (decision, clock() - began))
        for tell in self._tell_decided:
            tell(decided)
        return decision

    def _fall_back(self, plan: Plan, hits: Sequence[Hit], error: BackendError, began: float) -> Fallback | None:
        """Decide by policy what could not be counted; None where that is not to be."""
        decision = self.policies.decide(plan, hits, error, int(began), self.modes)
        seconds = self._clock() - began
        failed = BackendFailed(plan, str(error), seconds, answered=decision is not None)
        for observer in self._observers:
            observer.backend_failed(failed)
            if decision is not None:
                observer.decided(Decided(decision, seconds))
        if decision is not None and decision.refused_by is not None and not plan.charge_refused:
            self._give_back(hits, counts_of(error, hits), decision)
        return decision

    def _give_back(self, hits: Sequence[Hit], counts: Sequence[int | None], decision: Decision) -> None:
        given_back = unspent(hits, counts, decision.statuses)
        if given_back:
            self.uncharge.give_back(given_back)


class Prepared:
    """A request planned under one set of rules, to be run any number of times; it keeps the hits of its last window."""

    __slots__ = ("hits", "plan", "since", "until")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hits: Sequence[Hit] = ()
        self.since = self.until = 0

    def at(self, now: int) -> Sequence[Hit]:
        """What to count at the second *now*: a hit for each check that counts, in their order.

        Kept as `hits`, which stay the same from `since` until `until`.
        """
        self.since, self.until = 0, FOREVER
        hits = []
        # A counter that is over its limit may be so only until requests that others refuse get their hits back.
        limit = 0 if self.plan.charge_refused else NEVER_OVER
        for check in self.plan.counted:
            length = check.window_seconds
            start = window_start(now, length)
            end = start + length
            self.since, self.until = max(self.since, start), min(self.until, end)
            hits.append(Hit(b"%b%d" % (check.key, start), check.amount, limit or check.requests_per_unit, end, length))
        self.hits = hits
        return hits
