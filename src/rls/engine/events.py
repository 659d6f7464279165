"""What happens in a server, for whoever observes it: metrics, logs, traces.

Every event of a request has the same `RequestContext`, which has an id and the caller's trace context. Every event of a
rule has its `RuleId`: the domain, path, name and place that it has everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple, TypeVar

from rls.core.check import Status
from rls.core.decide import Decision
from rls.core.overrides import Override
from rls.core.plan import Plan
from rls.core.rules import OnBackendError, RuleSet
from rls.engine.changes import Changes
from rls.errors import Diagnostic
from rls.slices import Steps
from rls.stores.base import StoreBatch

Event = TypeVar("Event")
OBSERVERS = "rls.observers"
"""The group of entry points; see `Observer`."""
_ids = count(1)


class RequestContext:
    """One request on its way through the engine.

    Attributes:
        began: When its plan was ready, in Unix seconds.
        at_once: Whether all its counts came from memory, not from a store elsewhere. Set when it is decided.
        decision: What it came to; set when `Observer.decided` is called. Of a request that was judged in slices it has the
            plan of the first slice, and no statuses: `Observer.judged` had them.
        seconds: From *began* until it was decided, or failed.
        trace_id: Of the trace that it belongs to, where `Traces` has looked at it.
    """

    __slots__ = ("_id", "at_once", "began", "decision", "seconds", "trace_id")

    _id: int
    at_once: bool
    began: float
    decision: Decision
    seconds: float
    trace_id: int

    @property
    def id(self) -> int:
        """A number that no other request of this process has. It is given when it is asked for."""
        try:
            return self._id
        except AttributeError:
            self._id = next(_ids)
        return self._id

    @property
    def traceparent(self) -> str | None:
        """The caller's trace context (W3C Trace Context), as sent; None without one."""
        return self.metadata("traceparent")

    def metadata(self, name: str) -> str | None:  # noqa: ARG002 - it has no caller
        """The first text that the caller sent as *name*, in lower case, decoded when asked for; None without one."""
        return None

    @property
    def may_be_sampled(self) -> bool:
        """False where the caller surely did not sample its trace. It is much cheaper to know than the trace context."""
        return self.traceparent is not None

    @property
    def arrived(self) -> float | None:
        """When its call came, by `time.monotonic`; None where that is not known."""
        return None

    @property
    def peer(self) -> str:
        """The address of its caller, `host:port`, `[host]:port` or `unix`; "" where that is not known."""
        return ""

    @property
    def expired(self) -> bool:
        """Whether its caller's deadline has passed, so that it gets an error for an answer."""
        return False


class StoreFailed(NamedTuple):
    """What was planned for a request could not be counted.

    Attributes:
        request: The request; its `seconds` are those that were spent.
        plan: What was planned.
        reason: Why.
        answered: Whether a policy answers all the same: a decision follows.
    """

    request: RequestContext
    plan: Plan
    reason: str
    answered: bool = False


class Judged(NamedTuple):
    """A slice of a request of many descriptors was judged. `Observer.decided` says what became of the whole.

    Attributes:
        request: The whole.
        plan: Of the slice.
        statuses: One for each check of *plan*.
        policies: See `Decision`.
    """

    request: RequestContext
    plan: Plan
    statuses: Sequence[Status]
    policies: frozenset[OnBackendError] = frozenset()


class RulesLoaded(NamedTuple):
    """New rules are in force.

    Attributes:
        rules: All of them, with their revision.
        files: What they were read from.
        diagnostics: All that keeps rules from being in force as written.
        at: Since when, in Unix seconds.
        changes: What differs from the rules before.
        began: Overrides that hold since then.
        ended: Overrides that hold no more.
        is_load: Whether a source has loaded rules; else only overrides have changed.
    """

    rules: RuleSet
    files: tuple[str, ...]
    diagnostics: tuple[Diagnostic, ...]
    at: float
    changes: Changes = Changes()
    began: Sequence[Override] = ()
    ended: Sequence[Override] = ()
    is_load: bool = True


class RulesRejected(NamedTuple):
    """A source has nothing that can be put in force: the rules before stay. *diagnostics* says why, *at* since when."""

    diagnostics: tuple[Diagnostic, ...]
    at: float


class Observer:
    """Hears events, in the loop's thread, as they happen. A subclass overrides what it wants to hear.

    A method must neither block nor raise. A method that is not overridden costs nothing.

    A distribution adds an observer by an entry point in the group `rls.observers`. Its name is free. It refers to a callable
    without arguments that returns an `Observer`; it is called once, when the server starts.
    """

    def decided(self, request: RequestContext) -> None:
        """A request was answered."""

    def judged(self, event: Judged) -> None:
        """A slice of a request was judged."""

    def store_failed(self, event: StoreFailed) -> None:
        """A request could not be counted."""

    def batch_done(self, batch: StoreBatch) -> None:
        """A store sent a batch, and its replies came, or it failed. Its `origins` are `RequestContext` objects."""

    def prepare_rules(self, rules: RuleSet) -> Steps[None]:
        """Prepare for rules that are not in force yet, in steps: a generator. Between its steps checks are heard.

        `rules_loaded` follows, unless later rules come first.
        """
        del rules
        yield from ()

    def rules_loaded(self, event: RulesLoaded) -> None:
        """New rules are in force."""

    def rules_rejected(self, event: RulesRejected) -> None:
        """A configuration has mistakes."""


def methods_of(observers: Sequence[Observer], name: str) -> tuple[Callable[..., None], ...]:
    """The methods of that *name* of the observers that override it."""
    return tuple(
        getattr(observer, name)
        for observer in observers
        if getattr(type(observer), name) is not getattr(Observer, name)
    )


def tell_all(methods: Sequence[Callable[[Event], None]]) -> Callable[[Event], None] | None:
    """Calls each of *methods*; None where there are none, so that no event need be made."""
    if not methods:
        return None

    def tell(event: Event) -> None:
        for method in methods:
            method(event)

    return tell
