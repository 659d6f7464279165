"""A check that waits for its counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from rls.core.decide import Decision
from rls.core.update import CounterUpdate
from rls.engine.events import RequestContext
from rls.engine.limiter import Limiter
from rls.engine.prepared import PreparedRequest
from rls.errors import BackendError


class PendingCheck(RequestContext, ABC):
    """A check that waits for its counts, in place of a task; whoever starts one says what becomes of its decision.

    Attributes:
        updates: What is counted for it.
    """

    __slots__ = ("limiter", "prepared", "updates")

    def __init__(self, limiter: Limiter, prepared: PreparedRequest) -> None:
        self.limiter = limiter
        self.prepared = prepared
        self.updates: Sequence[CounterUpdate] = ()
        self.at_once = False

    @abstractmethod
    def decided(self, decision: Decision) -> None:
        """It was decided."""

    @abstractmethod
    def undecided(self, error: Exception) -> None:
        """It was not: a BackendError where no policy answers, or a bug."""

    @property
    def origin(self) -> RequestContext:
        """See `StoreBatch`."""
        return self

    def counted(self, counts: Sequence[int]) -> None:
        """See `Done`."""
        try:
            decision = self.limiter.conclude(self, self.prepared, self.updates, counts)
        except Exception as error:  # noqa: BLE001 - it ends this check, and no other of its batch
            self.undecided(error)
        else:
            self.decided(decision)

    def failed(self, error: BackendError) -> None:
        """See `Done`."""
        try:
            decision = self.limiter.fall_back(self, self.prepared.plan, self.updates, error)
        except Exception as bug:  # noqa: BLE001 - as above
            self.undecided(bug)
        else:
            if decision is None:
                self.undecided(error)
            else:
                self.decided(decision)
