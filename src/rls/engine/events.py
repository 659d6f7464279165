"""What happens in a server, told to whoever observes it: metrics, logs, traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rls.core.check import Status
from rls.core.decide import Decision
from rls.core.plan import Plan
from rls.core.rules import RuleSet
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
    """New rules are in force since *at* (Unix seconds).

    *files* names what they were read from; *problems* are the mistakes for which parts of it are not in force.
    """

    rules: RuleSet
    files: tuple[str, ...]
    problems: tuple[Diagnostic, ...]
    at: float


class RulesRejected(NamedTuple):
    """A configuration has mistakes; of the files that hold them, the last good rules stay."""

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
