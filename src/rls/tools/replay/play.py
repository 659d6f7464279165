"""Requests through one rule set or two, on a simulated clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rls.core.check import Check, Status
from rls.core.decide import Decision
from rls.core.model import Code
from rls.core.plan import CountingOptions
from rls.core.rules import RuleSet
from rls.engine.enforced import Enforced
from rls.engine.prepared import PreparedRequest
from rls.engine.simulation import Simulation
from rls.errors import NoRoom
from rls.tools.replay.records import Asked, Line
from rls.tools.replay.tallies import Bucket, Refused, RuleTally, Span, Timeline

COUNTERS = 1_000_000
"""Counters that each rule set holds at most, as a server does by default."""


class Side:
    """One rule set, and what it came to.

    Args:
        name: What it is called.
        rules: The rules.
        counters: Counters that it holds at most.

    Attributes:
        refused: Who was refused.
        tallies: By rule.
        unlimited: Requests that no limit held for.
        no_room: Requests for which there was no room for another counter; they are refused, as a server does it.
    """

    def __init__(self, name: str, rules: RuleSet, *, counters: int = COUNTERS) -> None:
        self.name = name
        self.rules = rules
        self.refused = Refused()
        self.tallies: dict[str, RuleTally] = {}
        self.unlimited = 0
        self.no_room = 0
        self.simulation = Simulation(rules, counting=CountingOptions(), capacity=counters)

    @property
    def evicted(self) -> int:
        """Counters that made room for others."""
        return self.simulation.counters.evicted

    def play(self, prepared: PreparedRequest, at: float) -> Check | None:
        """What refuses a request at the Unix second *at*; None where it passes."""
        simulation = self.simulation
        simulation.now = at
        try:
            decision = simulation.run(prepared)
        except NoRoom:
            self.no_room += 1
            check = prepared.plan.counted[0]
            self._refuse(prepared, check, at)
            return check
        if decision.well_within:
            return None
        return self._note(prepared, decision, at)

    def _note(self, prepared: PreparedRequest, decision: Decision, at: float) -> Check | None:
        if not prepared.plan.counted:
            self.unlimited += 1
            return None
        limited_by = decision.limited_by
        for status in decision.statuses:
            if status.over_limit and status is not limited_by and _passed(status, decision):
                tally = self._tally(prepared.plan.domain, status.check)
                tally.shadow = tally.shadow or Span(at)
                tally.shadow.note(at)
        if limited_by is None:
            return None
        self._refuse(prepared, limited_by.check, at)
        return limited_by.check

    def _refuse(self, prepared: PreparedRequest, check: Check, at: float) -> None:
        domain = prepared.plan.domain
        self.refused.note(domain, check, at)
        tally = self._tally(domain, check)
        tally.refused = tally.refused or Span(at)
        tally.refused.note(at)

    def _tally(self, domain: str, check: Check) -> RuleTally:
        key = check.rule_id
        tally = self.tallies.get(key)
        if tally is None:
            limit = "" if check.limit is None else str(Enforced(check.limit))
            tally = self.tallies[key] = RuleTally(check.id(domain), limit)
        return tally


def _passed(status: Status, decision: Decision) -> bool:
    """Whether hits over the limit of *status* passed: what another limit of the request refused is not its doing."""
    return decision.code is Code.OK or status.code is Code.OK


class Recorded(NamedTuple):
    """What the log itself says.

    Attributes:
        known: Requests of which it says whether they were refused.
        refused: Of these, those that were.
        both: Of the refused ones, those that the first rule set refuses, too.
    """

    known: int = 0
    refused: int = 0
    both: int = 0


class Replay:
    """Plays requests.

    Args:
        sides: One rule set, or two to be compared.

    Attributes:
        first: When the first request was, in Unix seconds; infinity before.
        last: When the last was.
        newly: Who the first rule set refuses, and the second does not.
        no_longer: Who the second refuses, and the first does not.
        timeline: Requests over time.
        recorded: What the log itself says.
    """

    def __init__(self, sides: Sequence[Side]) -> None:
        self.sides = sides
        self.first, self.last = math.inf, -math.inf
        self.newly, self.no_longer = Refused(), Refused()
        self.timeline = Timeline()
        self.recorded = Recorded()

    @property
    def requests(self) -> int:
        """Requests played."""
        return self.timeline.requests

    def play(self, lines: Iterable[Line]) -> None:
        """Play *lines*, in their order."""
        side, other = self.sides[0], self.sides[1] if len(self.sides) > 1 else None
        timeline, bucket = self.timeline, Bucket()
        begins = ends = 0
        known = refused = both = 0
        for at, asked, was_refused in lines:
            if not begins <= at < ends:
                bucket = timeline.at(at)
                begins = int(at) // timeline.width * timeline.width
                ends = begins + timeline.width
                self.first = min(self.first, at)
            if at > self.last:  # noqa: PLR1730 - a call of max costs as much as all of this
                self.last = at
            bucket.requests += 1
            prepared = asked.prepared or self._prepare(asked)
            check = side.play(prepared[0], at)
            if check is not None:
                bucket.refused[0] += 1
            if other is not None:
                before = other.play(prepared[1], at)
                if before is not None:
                    bucket.refused[1] += 1
                if (check is None) is not (before is None):
                    self._differ(prepared, check, before, at)
            if was_refused is not None:
                known += 1
                if was_refused:
                    refused += 1
                    both += check is not None
        self.recorded = Recorded(known, refused, both)

    def _prepare(self, asked: Asked) -> Sequence[PreparedRequest]:
        request = asked.request
        assert request is not None, "a reader passes no line without a request"
        asked.prepared = [side.simulation.prepare(request) for side in self.sides]
        return asked.prepared

    def _differ(
        self, prepared: Sequence[PreparedRequest], check: Check | None, before: Check | None, at: float
    ) -> None:
        if check is not None:
            self.newly.note(prepared[0].plan.domain, check, at)
        elif before is not None:
            self.no_longer.note(prepared[1].plan.domain, before, at)
