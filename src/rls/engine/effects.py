"""What a change of rules does to limits, and to counters that live when it is put in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import count
from typing import NamedTuple

from rls.core.check import Check
from rls.core.model import Descriptor, Entry, Request
from rls.core.plan import CountingOptions, Planner
from rls.core.rules import Rule, RuleId, RuleSet
from rls.engine.changes import Change, Changes, Kind
from rls.engine.enforced import Enforced, differing, fields_that_differ, said_otherwise


class Direction(StrEnum):
    """What became of the limit of the requests that a changed rule is about."""

    LOWER = "lower"
    NEW = "new limit"
    STRICTER = "same limit, but stricter"
    HIGHER = "higher"
    NONE = "no limit"
    SAME = "same limit"


class Counters(StrEnum):
    """What becomes of counters that live when the new rules are put in force."""

    STAY = "stay"
    BEGIN = "begin at zero"
    END = "end"
    UNCOUNTED = "none"


class Effect(NamedTuple):
    """What one changed rule comes to, for a request that it is about.

    Attributes:
        change: The change.
        direction: Of the limit that holds for such a request, whichever rule it comes from.
        before: The limit that held; None where none did.
        after: The limit that holds now.
        rule: The rule that has it; None where no rule matches any more.
        counters: What becomes of counters.
        says: The same in words.
        moved: Of an added rule, the removed one with the same name.
    """

    change: Change
    direction: Direction
    before: Enforced | None
    after: Enforced | None
    rule: RuleId | None
    counters: Counters
    says: str
    moved: RuleId | None = None


class Refusal(NamedTuple):
    """Entries of a recorded list, and what the rules make of their rate.

    Attributes:
        domain: Domain.
        entries: The entries.
        rule: The rule that limits them under the new rules.
        per_second: Hits a second.
        limit: Its limit.
        before: Share of the hits that the old rules refuse, 0 to 1, if the rate stays.
        after: Share that the new ones refuse.
    """

    domain: str
    entries: Sequence[Entry]
    rule: RuleId
    per_second: float
    limit: Enforced
    before: float
    after: float


class Comparison:
    """Two rule sets, and what it means that the second takes the place of the first.

    Args:
        old: In force now.
        new: To be put in force.
        changes: What differs between them, all listed.
    """

    def __init__(self, old: RuleSet, new: RuleSet, changes: Changes) -> None:
        self.old, self.new, self.changes = old, new, changes
        self._before, self._after = Planner(old, CountingOptions()), Planner(new, CountingOptions())

    def effects(self) -> list[Effect]:
        """Of each change, those that refuse more first."""
        removed = {
            (change.rule.domain, change.rule.name): change.rule
            for change in self.changes.listed
            if change.kind is Kind.REMOVED and change.rule.name
        }
        found = []
        for change in self.changes.listed:
            moved = removed.get((change.rule.domain, change.rule.name)) if change.kind is Kind.ADDED else None
            found.append(self._effect(change)._replace(moved=moved))
        order = list(Direction)
        return sorted(found, key=lambda effect: order.index(effect.direction))

    def domains(self) -> Iterator[str]:
        """What differs between domains themselves, a sentence each."""
        for name, new in self.new.domains.items():
            old = self.old.domains.get(name)
            if old is not None and old.refund_over_limit is not new.refund_over_limit:
                words = {None: "the server's default", True: "true", False: "false"}
                before, after = words[old.refund_over_limit], words[new.refund_over_limit]
                yield f"domain {name}: refund_over_limit is {after}, and was {before}; counters stay"

    def refusal(
        self, domain: str, entries: Sequence[Entry], per_second: float, *, refused_only: bool
    ) -> Refusal | None:
        """What becomes of *entries* that hit so many times a second; None where no limit holds for them.

        Args:
            domain: Their domain.
            entries: Of the descriptor.
            per_second: Hits, on average.
            refused_only: Whether these are the hits that the old rules refused, so that those that passed come on top.
        """
        before, after = (planned(planner, domain, entries) for planner in (self._before, self._after))
        if after.limit is None or after.rule is None:
            return None
        rate = per_second + (_allowed(before) if refused_only else 0.0)
        return Refusal(
            domain, entries, after.rule.id, rate, Enforced.by(after.rule), _refused(before, rate), _refused(after, rate)
        )

    def _effect(self, change: Change) -> Effect:
        entries = self._example(change)
        before, after = (planned(planner, change.rule.domain, entries) for planner in (self._before, self._after))
        held, holds = _enforced(before), _enforced(after)
        direction = _direction(held, holds)
        if held is not None and holds is not None:
            held, holds = differing(held, holds)
        counters, says = _counters(before, after)
        rule = None if after.rule is None else after.rule.id
        return Effect(change, direction, held, holds, rule, counters, says)

    def _example(self, change: Change) -> list[Entry]:
        """Entries that the changed rule matches, and where it can be no more specific one."""
        domains = [one.domains[change.rule.domain] for one in (self.old, self.new) if change.rule.domain in one.domains]
        nodes = [domain.root for domain in domains]
        found = []
        for key, value in change.entries:
            chosen = (
                value.replace("*", "any")
                if value
                else next(
                    text
                    for text in (f"any{number or ''}" for number in count())
                    if not any((key, text) in node.exact for node in nodes)
                    and not any(wildcard.matches(text) for node in nodes for wildcard, _ in node.wildcards.get(key, ()))
                )
            )
            found.append(Entry(key, chosen))
            below = [node.exact.get((key, value)) if value else node.defaults.get(key) for node in nodes]
            nodes = [node for node in below if node is not None]
        return found


def planned(planner: Planner, domain: str, entries: Sequence[Entry]) -> Check:
    """What a descriptor comes to that has *entries*."""
    return planner.plan(Request(domain, (Descriptor(tuple(entries)),))).checks[0]


def _enforced(check: Check) -> Enforced | None:
    return None if check.rule is None else Enforced.by(check.rule)


def _direction(before: Enforced | None, after: Enforced | None) -> Direction:
    held, holds = (one is not None and one.limit is not None and not one.shadow_mode for one in (before, after))
    if held != holds:
        return Direction.NEW if holds else Direction.NONE
    if before is None or after is None:
        return Direction.SAME
    if before.strictness == after.strictness:
        return Direction.STRICTER if after.is_stricter_than(before) else Direction.SAME
    return Direction.LOWER if after.strictness < before.strictness else Direction.HIGHER


def _counters(before: Check, after: Check) -> tuple[Counters, str]:
    if before.limit is None and after.limit is None:
        return Counters.UNCOUNTED, "nothing was counted, and nothing is"
    if after.limit is None:
        return Counters.END, "nothing is counted any more; counters end with their windows"
    if before.limit is None:
        return Counters.BEGIN, "nothing was counted before: counters begin at zero"
    if before.key == after.key:
        return Counters.STAY, f"counters stay{_meaning(before, after)}{_other_fields(before.rule, after.rule)}"
    if before.window_seconds != after.window_seconds:
        old, new = _window(before), _window(after)
        return Counters.BEGIN, f"counters begin at zero, since windows last {new}, and lasted {old}"
    return (
        Counters.BEGIN,
        "counters begin at zero, since their keys differ: all values of a wildcard share one, or no longer do",
    )


def _meaning(before: Check, after: Check) -> str:
    old, new = before.requests_per_unit, after.requests_per_unit
    if new < old:
        return f": who has more than {new} hits in this window is refused at once"
    return f": who was refused has {new - old} hits more in this window" if new > old else ""


def _other_fields(before: Rule | None, after: Rule | None) -> str:
    """What else differs between two rules."""
    if before is None or after is None:
        return ""
    names = fields_that_differ(before, after)
    return f"; {said_otherwise(names)}" if names else ""


def _window(check: Check) -> str:
    assert check.limit is not None, "it counts"
    unit, several = check.limit.unit.name.lower(), check.limit.unit_multiplier
    return f"a {unit}".replace("a hour", "an hour") if several == 1 else f"{several} {unit}s"


def _allowed(check: Check) -> float:
    return 0.0 if check.limit is None else check.requests_per_unit / check.window_seconds


def _refused(check: Check, rate: float) -> float:
    """The share of hits that is refused if *rate* of them come a second."""
    if check.limit is None or rate <= 0 or check.rule is None or check.rule.shadow_mode:
        return 0.0
    return max(0.0, 1 - _allowed(check) / rate)


def by_direction(effects: Sequence[Effect]) -> Mapping[Direction, int]:
    """How many there are of each."""
    return {kind: sum(effect.direction is kind for effect in effects) for kind in Direction}
