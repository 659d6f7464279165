"""What a revision of a rule lets pass, and what another one says otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple, Self

from rls.core.model import RateLimit
from rls.core.rules import OnBackendError, Rule


class Enforced(NamedTuple):
    """What one revision of a rule lets pass.

    Attributes:
        limit: The rate limit; None where the rule is unlimited.
        shadow_mode: Whether the rule only counts.
        quota_mode: Whether it refuses only what other quotas refuse, too.
        shared: Whether all values of its wildcard share a counter.
        replaces: See `Rule.replaces`.
        on_backend_error: See `Rule.on_backend_error`.
    """

    limit: RateLimit | None
    shadow_mode: bool = False
    quota_mode: bool = False
    shared: bool = False
    replaces: frozenset[str] = frozenset()
    on_backend_error: OnBackendError | None = None

    @classmethod
    def by(cls, rule: Rule, *, shared: bool = False) -> Self:
        """What *rule* lets pass."""
        return cls(rule.limit, rule.shadow_mode, rule.quota_mode, shared, rule.replaces, rule.on_backend_error)

    @property
    def blocks(self) -> bool:
        """Whether nothing passes."""
        return self.limit is not None and not self.limit.requests_per_unit and not self.shadow_mode

    @property
    def strictness(self) -> tuple[float, int]:
        """Of two revisions of a rule, the smaller one lets less pass: over time first, then at once."""
        if self.limit is None or self.shadow_mode:
            return math.inf, 0
        return self.limit.requests_per_unit / self.limit.window_seconds, self.limit.requests_per_unit

    def is_stricter_than(self, before: Enforced) -> bool:
        """Whether it lets less pass in any respect; a rule that it no longer replaces may refuse in its place."""
        if self.strictness < before.strictness or before.replaces - self.replaces:
            return True
        if self.limit is None or self.shadow_mode:
            return False
        return self.shared > before.shared or before.quota_mode > self.quota_mode

    def begins_to_block(self, before: Enforced) -> bool:
        """Whether nothing passes, and something did *before*."""
        return self.blocks and not before.blocks

    def __str__(self) -> str:
        """The limit and what else holds for it, as `500/minute in shadow mode, replaces ip`."""
        text = "unlimited" if self.limit is None else self.limit.text
        for holds, mode in ((self.shadow_mode, "shadow mode"), (self.quota_mode, "quota mode")):
            text += f" in {mode}" if holds and self.limit is not None else ""
        text += ", one counter for all values" if self.shared else ""
        text += f", replaces {' and '.join(sorted(self.replaces))}" if self.replaces else ""
        return f"{text}, {self.on_backend_error} on a backend error" if self.on_backend_error else text


def differing(before: Enforced, after: Enforced) -> tuple[Enforced, Enforced]:
    """Two revisions with limits and modes, and of the rest only what differs: it is said beside the limits."""
    rest: dict[str, Any] = {"shared": False, "replaces": frozenset(), "on_backend_error": None}
    same = {name: none for name, none in rest.items() if getattr(before, name) == getattr(after, name)}
    return before._replace(**same), after._replace(**same)


def fields_that_differ(before: Rule, after: Rule) -> tuple[str, ...]:
    """Names of all that two revisions of a rule say otherwise, but for their limits and places."""
    return tuple(
        field.name
        for field in fields(Rule)
        if field.name not in {"domain", "path", "limit", "place"}
        and getattr(before, field.name) != getattr(after, field.name)
    )


def said_otherwise(names: Sequence[str]) -> str:
    """As `name and metadata differ`."""
    return f"{' and '.join(names)} {'differs' if len(names) == 1 else 'differ'}"
