"""What `rls check` finds: how bad it is, what kind it is of, where, and what is wrong."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from rls.errors import Diagnostic, SourceLocation


class Severity(StrEnum):
    """ERROR: the rules cannot be used, or limit nothing. WARNING: probably not meant. NOTE: worth to know, and often meant."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Finding(NamedTuple):
    """One finding, of the kind *code*; findings sort by place."""

    place: SourceLocation
    severity: Severity
    code: str
    message: str

    def __str__(self) -> str:
        kind = "" if self.severity is Severity.ERROR else f"{self.severity}: "
        return f"{self.place}: {kind}{self.message}"


INVALID, DOUBTFUL = "invalid", "doubtful"
"""The kinds of mistakes and of warnings that a server tells as well when it loads rules."""
KINDS = {
    INVALID: "What the grammar does not allow, or what leaves nothing to limit.",
    DOUBTFUL: "What is accepted, but probably not meant.",
    "impossible_value": "A value that the key never has.",
    "never_reached": "A limit that no client reaches.",
    "never_bites": "A limit that refuses nothing, because another one of the same request refuses it sooner.",
    "replaces_unlimited": "`replaces` that names only what is unlimited.",
    "idle_flag": "A flag that does nothing beside `unlimited`.",
    "duplicate_name": "Several limits with one name that no `replaces` uses.",
    "always_replaced": "A limit that another one of every request replaces.",
    "unknown_domain": "A rate limit filter whose domain has no rules.",
    "unused_domain": "Rules of a domain that no rate limit filter names.",
    "no_rule_for_descriptor": "A descriptor that no rule is for.",
    "unreachable_rule": "A rule that no descriptor of the filters reaches.",
    "old_shadow": "A rule that has been in shadow mode for a long time.",
}
"""All kinds, each with what it means."""


def from_diagnostic(problem: Diagnostic, severity: Severity) -> Finding:
    """A mistake or a warning of a load."""
    return Finding(problem.place, severity, INVALID if severity is Severity.ERROR else DOUBTFUL, problem.message)
