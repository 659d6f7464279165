"""What differs from earlier rules, for `rls check --against`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rls.core.rules import RuleSet
from rls.engine.changes import MAX_LISTED, Changes, compare
from rls.engine.digests import digest_domain
from rls.errors import Diagnostic
from rls.slices import finish


def changes_between(before: RuleSet, after: RuleSet, most: int = MAX_LISTED) -> Changes:
    """What differs between two rule sets that were just loaded; *most* changes are listed."""
    for rules in (before, after):
        for domain in rules.domains.values():
            finish(digest_domain(domain))
    changes, _ = finish(compare(before, after, most))
    return changes


def warnings_of(changes: Changes) -> Sequence[Diagnostic]:
    """Warnings of limits that became 0, at their places."""
    return [Diagnostic(change.rule.place, change.warning) for change in changes.warnings if change.rule.place]


def lines_of(changes: Changes, old: str) -> Iterator[str]:
    """A line with the numbers, compared with *old*, then one for each rule."""
    yield f"compared with {old}: {changes.counted}"
    for change in changes.listed:
        yield f"  {change}"
    if changes.unlisted:
        yield f"  and {changes.unlisted} more"
