"""`rls counter`: what counters of a running server stand at, and what people do to them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rls.cli.admin import (
    ADMIN,
    NOT_DONE,
    Admin,
    Domain,
    Json,
    TokenFile,
    ask_admin,
    entries_of,
    needed,
    needed_domain,
)
from rls.cli.help import Command, Group
from rls.cli.output import pass_on
from rls.cli.requests import whole
from rls.cli.rows import rule_text
from rls.core.model import UINT32_MAX
from rls.observe.entries import entries_text
from rls.printable import json_line

counter = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode="rich")

Entries = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Entries of the descriptor, all of them, in order.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the log of the server.")]


@counter.command(cls=Command, no_args_is_help=True, epilog="Example: rls counter get --domain mesh company_id=acme")
def get(
    entries: Entries = None,
    domain: Domain = "",
    admin: Admin = ADMIN,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Print what the counters of a descriptor stand at.
    Exit codes: 0 within the limit, 1 over it or no limit, 2 wrong usage, 3 no answer.
    """
    parameters = [("domain", needed_domain(domain))]
    parameters += [("entry", f"{one['key']}={one['value']}") for one in entries_of(entries or [])]
    found = ask_admin(admin, "/counters", parameters, token_file=token_file)
    _print(found, json=json)
    counters = found["counters"]
    if not counters:
        nothing = f"no rule limits {entries_text(found['entries'])} in {found['domain']}"
        pass_on(f"rls: {found.get('no_limit', nothing)}", err=True)
    raise typer.Exit(0 if counters and all(row["code"] == "OK" for row in counters) else NOT_DONE)


@counter.command(
    cls=Command, no_args_is_help=True, epilog="Example: rls counter reset --domain mesh company_id=acme --reason T-1"
)
def reset(
    entries: Entries = None,
    domain: Domain = "",
    reason: Reason = "",
    admin: Admin = ADMIN,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Let the counters of a descriptor begin at 0 again, on all servers within a second.
    Exit codes: 0 done, 1 not done, 2 wrong usage, 3 no answer.
    """
    body = {"domain": needed_domain(domain), "entries": entries_of(entries or []), "reason": reason}
    _print(ask_admin(admin, "/counters/reset", body=body, token_file=token_file), json=json)


@counter.command(
    cls=Command, no_args_is_help=True, epilog="Example: rls counter give --domain mesh company_id=acme --hits 100"
)
def give(
    entries: Entries = None,
    domain: Domain = "",
    hits: Annotated[str, typer.Option("--hits", metavar="COUNT", help="As many; required.")] = "",
    reason: Reason = "",
    admin: Admin = ADMIN,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Give hits back to a descriptor: its counters go down, to 0 at the least.
    Exit codes: 0 done, 1 not done, 2 wrong usage, 3 no answer.
    """
    try:
        count = whole("--hits", needed("--hits", hits, "--hits COUNT, with the hits to give back"), 1, UINT32_MAX)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    body = {"domain": needed_domain(domain), "entries": entries_of(entries or []), "hits": count, "reason": reason}
    _print(ask_admin(admin, "/counters/give", body=body, token_file=token_file), json=json)


def _print(found: dict[str, Any], *, json: bool) -> None:
    if json:
        typer.echo(json_line(found))
        return
    for row in found["counters"]:
        before = f", was {row['before']}" if "before" in row else ""
        override = f" by override {row['override']}" if row.get("override") else ""
        pass_on(
            f"{entries_text(found['entries'])}: {row['count']} of {row['limit']}{override} used{before}; "
            f"{row['limit_remaining']} left, resets in {row['duration_until_reset']} s: {row['code']}"
        )
        pass_on(f"  rule     {rule_text(row)}")
        pass_on(f"  counter  {row['counter_key']}")
