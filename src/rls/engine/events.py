"""What happens in a server, told to whoever observes it: metrics, logs, traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rls.core.decide import Decision, Status
from rls.core.plan import Plan
from rls.core.rules import RuleSet
from rls.engine.changes import Changes
from rls.errors import Diagnostic


class Decided(NamedTuple):
    """A request was answered, *seconds* after its plan was ready.

    The *decision* holds the statuses that were not told of before as `Judged`.
    """

    decision: Decision
    seconds: float


class BackendFailed(NamedTuple):
    """What was planned for a request could not be counted, and *seconds* were spent on it.

    Where it is *answered* all the same, by policy, a decision follows.
    """

    plan: Plan
    reason: str
    seconds: float
    answered: bool = False


class RulesLoaded(NamedTuple):
    """New rules are in force.

    Attributes:
        rules: All of them, with their revision.
        files: What they were read from.
        problems: All that keeps rules from being in force as written.
        at: Since when, in Unix seconds.
        changes: What differs from the rules before.
    """

    rules: RuleSet
    files: tuple[str, ...]
    problems: tuple[Diagnostic, ...]
    at: float
    changes: Changes = Changes()


class RulesRejected(NamedTuple):
    """A source has nothing that can be put in force: the rules before stay. *problems* says why, *at* since when."""

    problems: tuple[Diagnostic, ...]
    at: float


class Judged(NamedTuple):
    """A slice of a request of many descriptors was judged. What became of the whole is told when it is decided."""

    plan: Plan
    statuses: Sequence[Status]


class Observer(Protocol):
    """Is told of events, in the loop's thread, at once: it must not block and must not raise."""

    def decided(self, event: Decided) -> None:
        """A request was answered."""

    def judged(self, event: Judged) -> None:
        """A slice of a request was judged."""

    def backend_failed(self, event: BackendFailed) -> None:
        """A request could not be counted."""

    def rules_loaded(self, event: RulesLoaded) -> None:
        """New rules are in force."""

    def rules_rejected(self, event: RulesRejected) -> None:
        """A configuration has mistakes."""
