"""The limiter: plan → update → decide, under the rules that are in force."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rls.core.check import Status
from rls.core.decide import Decision, Modes, decide
from rls.core.model import Request
from rls.core.plan import CountingOptions, Plan, Planner
from rls.core.rules import RuleSet
from rls.core.update import CounterUpdate
from rls.engine.events import Judged, Observer, RequestContext, StoreFailed, methods_of
from rls.engine.failure_policies import FailurePolicies
from rls.engine.prepared import PreparedRequest
from rls.engine.refunds import Refunds, refund_of
from rls.engine.sliced_decision import SlicedDecision
from rls.errors import BackendError, NotLoaded
from rls.stores.base import Awaited, CounterStore, counts_of

if TYPE_CHECKING:
    from rls.engine.pending_check import PendingCheck


class Limiter:
    """Answers requests under one set of rules at a time.

    Attributes:
        rules: The rules in force. What was prepared belongs to the rules that it was prepared under.
        loaded: Whether any rules have been loaded.
        planner: Plans under *rules*.
        policies: What decides while the backend fails.
        refunds: Refunds of over-limit requests.

    Args:
        store: Where counters are.
        policies: Those of *store*; by default no policy answers for a rule that has none of its own.
        refunds: Refunds hits to *store*.
    """

    def __init__(
        self,
        store: CounterStore,
        *,
        counting: CountingOptions | None = None,
        modes: Modes | None = None,
        policies: FailurePolicies | None = None,
        refunds: Refunds | None = None,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules = RuleSet()
        self.loaded = False
        self.counting = counting or CountingOptions()
        self.planner = Planner(self.rules, self.counting)
        self.modes = modes or Modes()
        self.policies = policies or FailurePolicies(store, clock=clock)
        self.refunds = refunds or Refunds(store)
        self._store = store
        self._submit = store.submit  # bound once, for every check
        self._on_decided = methods_of(observers, "decided")
        self._on_judged = methods_of(observers, "judged")
        self._on_store_failed = methods_of(observers, "store_failed")
        self._clock = clock

    def load(self, rules: RuleSet) -> None:
        """Put *rules* in force, whole. In a server only the rulebook calls this."""
        self.rules = rules
        self.planner = Planner(rules, self.counting)
        self.loaded = True

    def prepare(self, request: Request) -> PreparedRequest:
        """Plan *request* under the rules in force.

        Raises:
            NotLoaded: There are none yet.
        """
        return PreparedRequest(self.ready_planner().plan(request))

    def ready_planner(self) -> Planner:
        """What plans under the rules in force.

        Raises:
            NotLoaded: There are none yet.
        """
        if not self.loaded:
            raise NotLoaded("no rate limit configuration loaded")
        return self.planner

    async def check(self, request: Request) -> Decision:
        """Count and decide *request*.

        Raises:
            NotLoaded: No rules have been loaded yet.
            BackendError: The counters could not be had, and no policy answers in their place.
        """
        return await self.run(self.prepare(request))

    async def run(self, prepared: PreparedRequest, request: RequestContext | None = None) -> Decision:
        """Count and decide what was prepared; observers know it by *request*.

        Raises:
            BackendError: The counters could not be had, and no policy answers in their place.
        """
        request = request or RequestContext()
        began = request.began = self._clock()
        request.at_once = True
        counts: Sequence[int] = ()
        updates = prepared.updates if prepared.since <= began < prepared.until else prepared.at(int(began))
        if updates:
            try:
                counts = await self._count(updates, request)
            except BackendError as error:
                fallback = self.fall_back(request, prepared.plan, updates, error)
                if fallback is None:
                    raise
                return fallback
        return self.conclude(request, prepared, updates, counts)

    def conclude(
        self,
        request: RequestContext,
        prepared: PreparedRequest,
        updates: Sequence[CounterUpdate],
        counts: Sequence[int],
    ) -> Decision:
        """The decision on *request* by *counts*, which came for *updates*; observers hear it."""
        began = request.began
        decision = request.decision = decide(prepared.plan, counts, int(began), self.modes)
        if decision.limited_by is not None and prepared.plan.refund_over_limit:
            self._refund(updates, counts, decision.statuses, int(began))
        request.seconds = self._clock() - began
        for on_decided in self._on_decided:
            on_decided(request)
        return decision

    async def look(self, updates: Sequence[CounterUpdate]) -> Sequence[int]:
        """Where the counters of *updates* stand. Nothing is counted, and no observer hears of it.

        Raises:
            BackendError: As `CounterStore.submit`.
        """
        return await self._store.update([update.with_amount(0) for update in updates]) if updates else ()

    def node_of(self, update: CounterUpdate) -> str:
        """See `CounterStore.node_of`."""
        return self._store.node_of(update)

    def start(self, check: PendingCheck) -> None:
        """Count and decide without a task: `PendingCheck.decided` or `undecided` is called, at once or later."""
        prepared = check.prepared
        began = check.began = self._clock()
        updates = prepared.updates if prepared.since <= began < prepared.until else prepared.at(int(began))
        check.updates = updates
        if not updates:
            check.counted(())
            return
        try:
            counts = self._submit(updates, check)
        except BackendError as error:
            check.failed(error)
        except Exception as bug:  # noqa: BLE001 - of a store: it ends this check, and no other
            check.undecided(bug)
        else:
            if counts is not None:
                check.at_once = True
                check.counted(counts)

    async def run_slices(
        self,
        slices: Callable[[], Iterable[Request]],
        take: Callable[[Judged], None],
        request: RequestContext | None = None,
    ) -> Decision:
        """Count and decide a request of many descriptors, each slice of it in a turn of the loop of its own.

        Args:
            slices: Makes the slices, which have one domain and one addend; called twice, since `replaces` holds for the
                whole request.
            take: Called with each slice when it is judged.
            request: What observers know it by.

        Returns:
            The decision, with plan and statuses of the first slice only.

        Raises:
            NotLoaded: No rules have been loaded yet.
            BackendError: As `run`; slices before the one that failed have been counted.
        """
        request = request or RequestContext()
        began, planner = self._clock(), self.ready_planner()
        request.began = began
        request.at_once = True
        replaced: set[str] = set()
        for one in slices():
            replaced |= planner.replaced_by(one)
            await asyncio.sleep(0)
        whole = SlicedDecision(self.modes)
        first = 0
        for one in slices():
            planned = planner.plan(one, replaced, first)
            first += len(one.descriptors)
            updates = PreparedRequest(planned).at(int(began))
            counts, decision = await self._judge(request, planned, updates)
            whole.add(updates, counts, decision)
            judged = Judged(request, planned, decision.statuses, decision.policies)
            take(judged)
            for on_judged in self._on_judged:
                on_judged(judged)
            await asyncio.sleep(0)
        decided = whole.decision()
        if decided.limited_by is not None and decided.plan.refund_over_limit:
            self._refund(whole.updates, whole.counts, whole.statuses, int(began))
        self._report(request, replace(decided, statuses=()))
        return decided

    async def _count(self, updates: Sequence[CounterUpdate], request: RequestContext) -> Sequence[int]:
        """The count after each of *updates*."""
        done = Awaited(request)
        counts = self._submit(updates, done)
        if counts is None:
            request.at_once = False
            counts = await done.counts
        return counts

    async def _judge(
        self, request: RequestContext, planned: Plan, updates: Sequence[CounterUpdate]
    ) -> tuple[Sequence[int | None], Decision]:
        """The counts of one slice, and the decision that it comes to by itself."""
        try:
            counts = await self._count(updates, request) if updates else ()
        except BackendError as error:
            fallback = self._decide_without(request, planned, updates, error)
            if fallback is None:
                raise
            return counts_of(error, updates), fallback
        return counts, decide(planned, counts, int(request.began), self.modes)

    def fall_back(
        self, request: RequestContext, plan: Plan, updates: Sequence[CounterUpdate], error: BackendError
    ) -> Decision | None:
        """Decide by policy what could not be counted; None where the policy is not to answer."""
        decision = self._decide_without(request, plan, updates, error)
        if decision is None:
            return None
        if not decision.policies:
            request.at_once = True  # the store failed, and all counts are known: those that are over their limit
        self._report(request, decision)
        if decision.limited_by is not None and plan.refund_over_limit:
            self._refund(updates, counts_of(error, updates), decision.statuses, int(request.began))
        return decision

    def _report(self, request: RequestContext, decision: Decision) -> None:
        """Tell observers of the *decision* on *request*."""
        request.decision = decision
        request.seconds = self._clock() - request.began
        for on_decided in self._on_decided:
            on_decided(request)

    def _decide_without(
        self, request: RequestContext, plan: Plan, updates: Sequence[CounterUpdate], error: BackendError
    ) -> Decision | None:
        decision = self.policies.decide(plan, updates, error, int(request.began), self.modes)
        request.seconds = self._clock() - request.began
        failed = StoreFailed(request, plan, str(error), answered=decision is not None)
        for on_store_failed in self._on_store_failed:
            on_store_failed(failed)
        return decision

    def _refund(
        self, updates: Sequence[CounterUpdate], counts: Sequence[int | None], statuses: Sequence[Status], now: int
    ) -> None:
        refund = refund_of(updates, counts, statuses, now)
        if refund:
            self.refunds.refund(refund)
