"""Filters of what servers list: by domain, rule and entry. One that is wrong would look like nothing to list."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rls.cli.admin import request_admin
from rls.cli.pods import Pod, ask_all
from rls.cli.requests import entry_of

OnlyDomain = Annotated[str, typer.Option("--domain", "-d", metavar="NAME", help="Only this domain.")]
OnlyRule = Annotated[str, typer.Option("--rule", metavar="RULE", help="Only the rule with this path or name.")]
OnlyEntries = Annotated[
    list[str] | None, typer.Option("--entry", metavar="KEY=VALUE", help="Only what has this entry. Repeatable.")
]


def filters(domain: str, rule: str, entries: Sequence[str] | None) -> dict[str, Any]:
    """The parameters of these filters.

    Raises:
        typer.BadParameter: An entry is none.
    """
    for text in entries or ():
        try:
            entry_of(text)
        except ValueError:
            expected = "expected KEY=VALUE, such as company_id=acme"
            raise typer.BadParameter(f"--entry is '{text}': {expected}") from None
    given = {"domain": domain, "rule": rule, "entry": entries or ()}
    return {name: value for name, value in given.items() if value}


def not_in_force(pods: Sequence[Pod], domain: str, rule: str, token_file: Path | None) -> str:
    """Why *domain* and *rule* find nothing on any of *pods*; "" where one has them in force, or had, or where none answers."""
    if not domain and not rule:
        return ""
    asked = {"domain": domain, "name": rule, "limit": "1"}
    parameters = {name: value for name, value in asked.items() if value}
    told = ask_all(pods, functools.partial(_ask, parameters=parameters, token_file=token_file))
    unknown = [one.answer.get("unknown", "") for one in told if one.answer is not None]
    return str(unknown[0]) if unknown and all(unknown) else ""


def _ask(address: str, parameters: dict[str, str], token_file: Path | None) -> dict[str, Any]:
    return request_admin(address, "/rules", parameters, token_file=token_file)
