"""Why no limit applies to a descriptor: one wording for all commands and routes."""

from __future__ import annotations

UNLIMITED = "its rule is `unlimited`"


def no_domain(domain: str) -> tuple[str, str]:
    """There are no rules for *domain*; and what was expected."""
    return f"the server has no rules for the domain {domain}", "the `domain` of a rules file"


def no_match(domain: str) -> str:
    """The rules of *domain* have none."""
    return f"no rule of the domain {domain} matches these keys in this order"
