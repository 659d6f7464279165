"""What a request would be answered, and why; nothing is counted, and no observer hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

from rls.alike import MOST_SHOWN, closest, narrowing, suggestion
from rls.core.algorithms import by_check
from rls.core.check import Check, Status
from rls.core.decide import Decision, Modes, decide, is_quota
from rls.core.explain import End, Walk, walk
from rls.core.model import Code, Descriptor, Request
from rls.core.overrides import Entries, Override
from rls.core.plan import CountingOptions, Plan, Planner
from rls.core.rules import OnBackendError, Rule, RuleSet
from rls.core.update import CounterUpdate
from rls.engine.enforced import Enforced
from rls.engine.limiter import Limiter
from rls.engine.prepared import PreparedRequest
from rls.engine.refunds import refund_of
from rls.errors import BackendError
from rls.slices import Steps, finish, run
from rls.stores.base import counts_of
from rls.utc import utc


class Counter(NamedTuple):
    """A counter of a check.

    Attributes:
        key: Its name in the store, with the start of the window.
        node: Address of the node that has it; "" where that is not known.
        before: Hits so far; None where the store did not say.
    """

    key: bytes
    node: str
    before: int | None


class ExplainedCheck(NamedTuple):
    """One limit that a descriptor is checked against; *status* is None where it is not known."""

    check: Check
    status: Status | None
    counters: Sequence[Counter]
    policy: OnBackendError | None = None


class ExplainedDescriptor(NamedTuple):
    """One descriptor of the request.

    Attributes:
        descriptor: As it was asked.
        walk: What it came by; None where the rules do not know the domain, or where the request brings a limit.
        matched: The rule that it leads to, whether or not it applies.
        checks: One or more.
    """

    descriptor: Descriptor
    walk: Walk | None
    matched: Rule | None
    checks: Sequence[ExplainedCheck]


class Explanation(NamedTuple):
    """What a request would be answered.

    Attributes:
        plan: What it comes to.
        decision: The answer; None where the store does not answer.
        descriptors: One for each of the request.
        now: The Unix second.
        modes: Of the server.
        failed: Why the store does not answer; "" where it does.
        overrides: Those in force for the domain of the request.
        expected: Names as a choice that may be meant: domains where the rules do not know that of the request, keys where
            one of a descriptor is like those that the rules have in its place; "" for none.
    """

    plan: Plan
    decision: Decision | None
    descriptors: Sequence[ExplainedDescriptor]
    now: int
    modes: Modes
    failed: str = ""
    overrides: Mapping[Entries, Override] = {}
    expected: str = ""

    def override(self, descriptor: ExplainedDescriptor, check: Check) -> Override | None:
        """The override whose limit *check* of *descriptor* has, if any."""
        if check.limit is None or check.rule is None or descriptor.descriptor.limit is not None:
            return None
        return self.overrides.get(check.descriptor.entries)


async def explain(limiter: Limiter, request: Request, now: int) -> Explanation:
    """What *limiter* would answer to *request* at the Unix second *now*.

    Raises:
        NotLoaded: No rules have been loaded yet.
    """
    planner = limiter.ready_planner()
    plan = planner.plan(request)
    updates = PreparedRequest(plan).at(now)
    domain = planner.rules.domains.get(request.domain)
    walks = [
        None if domain is None or one.limit is not None else await run(walk(domain, one.entries))
        for one in request.descriptors
    ]
    failed, before = "", tuple[int | None, ...]()
    try:
        before = tuple(await limiter.look(updates))
    except BackendError as error:
        failed, before = str(error) or "no answer", tuple(counts_of(error, updates))
    policies = [limiter.policies.policy(check) for check in plan.checks]
    counted = _Counted(updates, before, limiter.node_of)
    found = _explanation(request, plan, walks, counted, now, limiter.modes, policies, failed)
    expected = await run(_expected(planner.rules, request, walks))
    return found._replace(overrides=planner.rules.overrides.get(request.domain, {}), expected=expected)


def explain_offline(rules: RuleSet, request: Request, now: int, counting: CountingOptions, modes: Modes) -> Explanation:
    """What a server with *rules* would answer to *request* if nothing had been counted yet."""
    plan = Planner(rules, counting).plan(request)
    updates = PreparedRequest(plan).at(now)
    domain = rules.domains.get(request.domain)
    walks = [
        None if domain is None or one.limit is not None else finish(walk(domain, one.entries))
        for one in request.descriptors
    ]
    counted = _Counted(updates, (0,) * len(updates), lambda _: "")
    found = _explanation(request, plan, walks, counted, now, modes, [], "")
    return found._replace(expected=finish(_expected(rules, request, walks)))


def _expected(rules: RuleSet, request: Request, walks: Sequence[Walk | None]) -> Steps[str]:
    """See `Explanation.expected`; in steps."""
    close: list[str] = []
    if request.domain not in rules.domains:
        for close in narrowing(request.domain, rules.domains):  # noqa: B007 - the last one counts
            yield
        return suggestion(close, list(islice(rules.domains, MOST_SHOWN)), len(rules.domains)) if rules.domains else ""
    keys = [closest(*found) for found in map(_last_keys, request.descriptors, walks) if found is not None]
    close = list(dict.fromkeys(chain.from_iterable(keys)))
    return suggestion(close, ()) if close else ""


def _last_keys(descriptor: Descriptor, found: Walk | None) -> tuple[str, set[str]] | None:
    """The key at which a walk ended without a node, and those that were in its place; None where it ended otherwise."""
    if found is None or found.end is not End.NO_NODE:
        return None
    level = max((one.level for one in found.considered), default=1)
    key, keys = descriptor.entries[level - 1].key, {one.key for one in found.considered if one.level == level}
    return None if key in keys else (key, keys)


class _Counted(NamedTuple):
    """Updates of a plan, where their counters stand before them, and which node has a counter."""

    updates: Sequence[CounterUpdate]
    before: Sequence[int | None]
    node_of: Callable[[CounterUpdate], str]

    def after(self) -> list[int]:
        """The counts after each update, as the store would apply them one by one."""
        stand: dict[bytes, int] = {}
        counts = []
        for update, before in zip(self.updates, self.before, strict=True):
            count = max(0, stand.get(update.key, before or 0) + update.amount)
            stand[update.key] = count
            counts.append(count)
        return counts

    def counters(self) -> list[Counter]:
        return [
            Counter(update.key, self.node_of(update), before)
            for update, before in zip(self.updates, self.before, strict=True)
        ]


def _explanation(
    request: Request,
    plan: Plan,
    walks: Sequence[Walk | None],
    counted: _Counted,
    now: int,
    modes: Modes,
    policies: Sequence[OnBackendError],
    failed: str,
) -> Explanation:
    decision = None
    if None not in counted.before:
        counts = counted.after()
        decision = decide(plan, counts, now, modes)
        if decision.limited_by is not None and plan.refund_over_limit:
            refund_of(counted.updates, counts, decision.statuses, now)  # so that statuses show what would remain
    statuses: Sequence[Status | None] = decision.statuses if decision is not None else [None] * len(plan.checks)
    by_descriptor: dict[int, list[ExplainedCheck]] = {}
    apart = by_check(plan.checks, counted.counters())
    for number, (check, status, counters) in enumerate(zip(plan.checks, statuses, apart, strict=True)):
        policy = policies[number] if failed and counters else None
        by_descriptor.setdefault(check.index, []).append(ExplainedCheck(check, status, counters, policy))
    descriptors = [
        ExplainedDescriptor(descriptor, found, _rule_of(found), by_descriptor[index])
        for index, (descriptor, found) in enumerate(zip(request.descriptors, walks, strict=True))
    ]
    return Explanation(plan, decision, descriptors, now, modes, failed)


def _rule_of(found: Walk | None) -> Rule | None:
    if found is None or found.end is not End.RULE:
        return None
    return next(one.rule for one in reversed(found.considered) if one.rule is not None and one.taken)


def reasons(explanation: Explanation, descriptor: ExplainedDescriptor, one: ExplainedCheck) -> Iterator[str]:
    """Sentences on what *one* check of *descriptor* comes to."""
    check = one.check
    if check.replaced:
        yield f"{', '.join(_replacing(explanation, descriptor.matched))} replaces it for this request, so it does not count"
    elif descriptor.descriptor.limit is not None and check.limit is not None:
        yield "the request brings its own limit, which holds instead of a rule's"
    elif check.unlimited:
        yield "the rule is unlimited: nothing is counted"
    elif check.limit is None:
        domain = explanation.plan.domain
        yield "no rule applies" if explanation.plan.known else f"there are no rules for the domain {domain}"
    override = explanation.override(descriptor, check)
    if override is not None and check.rule is not None:
        named = f"the override {override.id} holds in place of {Enforced(check.rule.limit)}"
        yield f"{named}, until {utc(override.until)}, by {override.author}: {override.reason}"
    if one.policy is not None:
        yield f"the backend does not answer, so on_backend_error decides: {one.policy}"
    if one.status is not None and one.status.limit is not None:
        yield from _reasons_of_counts(explanation, one.status)


def _reasons_of_counts(explanation: Explanation, status: Status) -> Iterator[str]:
    check, decision = status.check, explanation.decision
    if check.amount < 0:
        yield "the hits are given back, which is never refused"
    elif check.amount == 0:
        yield "no hit is added: it only looks"
    if status.over_limit and status.code is Code.OK:
        yield "over the limit, but the rule is in shadow mode: it would pass"
    elif status.code is Code.OVER_LIMIT:
        if decision is not None and decision.shadowed:
            yield "over the limit, but the server is in shadow mode: it would pass"
        elif is_quota(check, explanation.modes) and decision is not None and decision.code is Code.OK:
            yield "over the limit, but a quota refuses only together with all others of the request"
        else:
            yield "over the limit"


def _replacing(explanation: Explanation, replaced: Rule | None) -> Iterator[str]:
    """Names of the rules of the request that replace the rule *replaced*."""
    for check in explanation.plan.checks:
        rule = check.rule
        if rule is not None and replaced is not None and replaced.name in rule.replaces:
            yield rule.name or rule.path
