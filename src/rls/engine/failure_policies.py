"""What answers while counters are unavailable: the policy of each rule, and local counts that the store gets afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from rls.core.algorithms import algorithm_of, by_check
from rls.core.check import Check, Status
from rls.core.decide import Decision, Modes, decide_without, uncounted
from rls.core.model import Code
from rls.core.plan import Plan
from rls.core.rules import OnBackendError
from rls.core.update import CounterUpdate
from rls.engine.local_counts import LocalCounts
from rls.errors import BackendError, CounterRefused, NoRoom, TimedOut
from rls.stores.base import CounterStore, counts_of

LOCAL, ALLOW, DENY, ERROR = OnBackendError
RETRY_SECONDS = 1
"""When to ask again that was denied: nobody knows whether anything is used up, nor when the store is back."""
_SENT_AT_ONCE = 500
_STEADY, _STEADY_AGAIN = 5, 100
"""Attempts in a row without a failure after which the store is back; more of them where it was lost soon after it was back."""
_SOON_SECONDS = 10.0
_RETELL_SECONDS = 5.0
"""Between two causes of one failure that are reported."""


class FailurePolicies:
    """Decides by policy the checks whose counts a store failed to give, until it is back.

    Belongs to the loop in which it is first used. While the store fails, it is asked again in the background; when it
    answers, it gets what was counted here in windows that are still open, once.

    Args:
        store: What fails.
        default: The policy of rules that have none, and of limits that a request brings itself.
        replicas: How many processes share the limits, 0 while it is not known: each takes its part of a limit while it
            counts alone.
        capacity: Counters of this process.
        probe_seconds: Between two attempts to reach the store.
        on_change: Called with the reason when the store begins to fail, and with "" when it is back.
        on_no_room: Called with a text for each request with a counter for which there is no room.
        on_refused: Called with a text for each request with a counter that the store refuses, although it counts others.
        on_decided: Called for each check that a policy decides, with its domain and the policy.

    Attributes:
        default: See above.
        reason: Why the store fails; "" while it does not. Where `ping` finds another cause, the reason changes.
        no_room: Times that there was no room for a new counter.
        refused: Times that the store refused a counter, but not others.
    """

    def __init__(
        self,
        store: CounterStore,
        *,
        default: OnBackendError = ERROR,
        replicas: Callable[[], int] = lambda: 1,
        capacity: int = 100_000,
        probe_seconds: float = 0.1,
        on_change: Callable[[str], None] = lambda _: None,
        on_no_room: Callable[[str], None] = lambda _: None,
        on_refused: Callable[[str], None] = lambda _: None,
        on_decided: Callable[[str, Check, OnBackendError], None] = lambda *_: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.default = default
        self.reason = ""
        self._sent = self._lost = 0
        self.no_room = 0
        self.refused = 0
        self.local = LocalCounts(capacity, replicas)
        self._store = store
        self._probe_seconds = probe_seconds
        self._on_change = on_change
        self._on_no_room = on_no_room
        self._on_refused = on_refused
        self._on_decided = on_decided
        self._clock = clock
        self._failures = 0
        self._timed_out = False
        self._retell_at = 0.0
        self._back_at = float("-inf")
        self._recovery: asyncio.Task[None] | None = None

    @property
    def caught_up(self) -> Mapping[str, int]:
        """Hits counted here so far: `sent` are those that the store got afterwards, `lost` may have been on their way to it.

        `in_doubt` it may have counted itself, so they are not sent.
        """
        return {"sent": self._sent, "lost": self._lost, "in_doubt": self.local.in_doubt}

    def decide(
        self, plan: Plan, updates: Sequence[CounterUpdate], error: BackendError, now: int, modes: Modes
    ) -> Decision | None:
        """Judge by the counts that *error* has, and by policy where it has none; None where a policy is ERROR.

        *updates* are those of *plan.counted*, as the store was given them.
        """
        no_room = isinstance(error, NoRoom)
        if no_room:
            self._report_no_room(str(error))
        elif isinstance(error, CounterRefused):
            self.refused += 1
            self._on_refused(f"{error}: on_backend_error decides")
        else:
            self.failed(error)
        checks = plan.checks
        apart = list(zip(by_check(checks, updates), by_check(checks, counts_of(error, updates)), strict=True))
        policies = [
            self.policy(check, no_room=no_room) if None in counts else None
            for check, (_, counts) in zip(checks, apart, strict=True)
        ]
        if ERROR in policies:
            for check, policy in zip(checks, policies, strict=True):
                if policy is ERROR:
                    self._on_decided(plan.domain, check, ERROR)
            return None
        statuses = []
        for i, (check, (_, counts)) in enumerate(zip(checks, apart, strict=True)):
            policy = policies[i]
            if policy is not None:
                status, decided_by = self._by_policy(policy, check, counts, now, in_doubt=error.in_doubt)
                statuses.append(status)
                policies[i] = decided_by
                self._on_decided(plan.domain, check, decided_by)
            elif counts:
                known = [count for count in counts if count is not None]  # all of them, or a policy would decide
                statuses.append(algorithm_of(check).judge(check, known, now))
            else:
                statuses.append(uncounted(check))
        decision = decide_without(plan, statuses, policies, modes)
        if decision.limited_by is not None and plan.refund_over_limit:
            for check, (own, counts), status, policy in zip(checks, apart, statuses, policies, strict=True):
                if policy is LOCAL and not status.over_limit:
                    here = self.local.refund(check, own, counts, now, in_doubt=error.in_doubt)
                    status.limit_remaining = self.local.remaining(check, here, now)
        return decision

    def policy(self, check: Check, *, no_room: bool = False) -> OnBackendError:
        """What decides *check*. A rule in shadow mode refuses nothing, so it fails nothing either.

        Where a bounded store has *no_room* for a counter, this process has none either: LOCAL denies.
        """
        rule = check.rule
        policy = self.default if rule is None else rule.on_backend_error or self.default
        if policy is ERROR and rule is not None and rule.shadow_mode:
            return ALLOW
        return DENY if no_room and policy is LOCAL else policy

    def _by_policy(
        self, policy: OnBackendError, check: Check, counts: Sequence[int | None], now: int, *, in_doubt: bool
    ) -> tuple[Status, OnBackendError]:
        """The status by *policy*, and the policy that decided: DENY where LOCAL has no room for the counter."""
        status = None
        if policy is LOCAL:
            status = self.local.count(check, counts, now, in_doubt=in_doubt)
            if status is None:
                capacity = self.local.counters.capacity
                self._report_no_room(f"no room for more than {capacity} counters while the backend fails")
        elif policy is ALLOW:
            status = _allow(check, now)
        decided_by = DENY if status is None else policy
        return status or _deny(check, now), decided_by

    def _report_no_room(self, text: str) -> None:
        self.no_room += 1
        self._on_no_room(f"{text}: new keys are decided by on_backend_error, of which `local` denies")

    def failed(self, error: BackendError) -> None:
        """The store has failed: ask it again in the background, until it is back."""
        self._failures += 1
        if not self.reason:
            self.reason, self._timed_out, self._retell_at = str(error), isinstance(error, TimedOut), 0.0
            self._on_change(self.reason)
        if self._recovery is None or self._recovery.done():
            self._recovery = asyncio.get_running_loop().create_task(self._recover())

    async def ping(self) -> None:
        """Ask the store whether it can be reached, and take note where it cannot.

        Raises:
            BackendError: It cannot.
        """
        try:
            await self._store.ping()
        except BackendError as error:
            self.failed(error)
            self._find_cause(error)
            raise

    def _find_cause(self, error: BackendError) -> None:
        """The store goes on to fail, now with *error*. A time-out tells nothing new after another one."""
        now, timed_out = asyncio.get_running_loop().time(), isinstance(error, TimedOut)
        if str(error) != self.reason and not (timed_out and self._timed_out) and now >= self._retell_at:
            self.reason, self._timed_out = str(error), timed_out
            # The first cause is mostly that calls were not answered in time: what is behind it is reported at once.
            self._retell_at = now + _RETELL_SECONDS

    async def aclose(self) -> None:
        """Ask no more. What was counted here and is not in the store yet is lost."""
        if self._recovery is not None:
            self._recovery.cancel()
            with suppress(asyncio.CancelledError):
                await self._recovery

    async def _recover(self) -> None:
        """Until there has been no failure for some attempts."""
        loop = asyncio.get_running_loop()
        needed = _STEADY_AGAIN if loop.time() - self._back_at < _SOON_SECONDS else _STEADY
        steady = 0
        while steady < needed:
            failures = self._failures
            self.local.note_replicas()
            await asyncio.sleep(self._probe_seconds)
            steady = steady + 1 if await self._is_reached() and failures == self._failures else 0
        self.local.clear()
        self.reason = ""
        self._back_at = loop.time()
        self._on_change("")

    async def _is_reached(self) -> bool:
        """Whether all nodes of the store can count. Those that can get the hits that they have missed."""
        all_can_count = True
        try:
            await self._store.ping()
        except BackendError as error:
            if not error.counts:
                return False
            all_can_count = False
        try:
            await self._catch_up()
        except BackendError:
            return False
        return all_can_count

    async def _catch_up(self) -> None:
        """Let the store have what was counted here.

        Raises:
            BackendError: It is away again. What it surely has not got is kept; of what it may have got nothing is, nor of
                counters that it refuses.
        """
        for updates in self.local.counters.drain(int(self._clock()), _SENT_AT_ONCE):
            unsent: Sequence[CounterUpdate] = ()
            try:
                await self._store.update(updates)
            except BackendError as error:
                missing = [
                    update for update, count in zip(updates, counts_of(error, updates), strict=True) if count is None
                ]
                refused = isinstance(error, CounterRefused)
                if error.in_doubt or refused:
                    self._lost += _size(missing)
                else:
                    unsent = missing
                self._sent += _size(updates) - _size(missing)
                self.local.counters.acknowledge(updates, unsent)
                if not refused:
                    raise
            else:
                self._sent += _size(updates)
                self.local.counters.acknowledge(updates)


def _allow(check: Check, now: int) -> Status:
    """It passes; but a limit of 0 is exceeded whatever has been counted."""
    reset = algorithm_of(check).plan(check, now).until - now
    over = max(0, check.amount) if not check.requests_per_unit else 0
    return Status(_code(check, over), check, check.limit, check.requests_per_unit, reset, over)


def _deny(check: Check, now: int) -> Status:
    """A hit is refused; giving hits back never is."""
    if check.amount < 0:
        return Status(Code.OK, check, check.limit, 0, algorithm_of(check).plan(check, now).until - now)
    return Status(_code(check, 1), check, check.limit, 0, RETRY_SECONDS, over_limit=check.amount)


def _code(check: Check, over: int) -> Code:
    shadow = check.rule is not None and check.rule.shadow_mode
    return Code.OVER_LIMIT if over and not shadow else Code.OK


def _size(updates: Sequence[CounterUpdate]) -> int:
    return sum(abs(update.amount) for update in updates)
