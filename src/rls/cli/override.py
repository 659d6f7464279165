"""`rls override`: another limit for certain entries, for a time, on all servers that share a store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from rls.cli.admin import ADMIN, NOT_DONE, Admin, Domain, Json, TokenFile, ask_admin, entries_of, needed, needed_domain
from rls.cli.filters import OnlyDomain, not_in_force
from rls.cli.help import Command, Group
from rls.cli.output import console, pass_on
from rls.cli.pods import Pod
from rls.observe.entries import entries_text
from rls.printable import json_line, printable_again

override = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode="rich")

SomeDomain = Annotated[str, typer.Option("--domain", "-d", metavar="NAME", help="Domain of the rules.")]


@override.command(
    "set",
    cls=Command,
    no_args_is_help=True,
    epilog="Example: rls override set -d mesh company_id=acme 9/minute --for 2h --reason T",
)
def set_(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE... LIMIT", help="Entries of the descriptor, in order; then the limit."),
    ] = None,
    domain: Domain = "",
    length: Annotated[str, typer.Option("--for", metavar="TIME", help="Such as 30m, 2h or 3d.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Instead: 2026-01-31T12:00:00Z.")] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; required.")] = "",
    admin: Admin = ADMIN,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Replace the limit of a descriptor for a time, on all servers within two seconds.
    Exit codes: 0 done, 1 not done, 2 wrong usage, 3 no answer.
    """
    *entries, limit = words or [""]
    if not entries or "=" in limit:
        raise typer.BadParameter("expected KEY=VALUE and then a limit, such as company_id=acme 5000/minute")
    _check(limit, length, until)
    body = {
        "domain": needed_domain(domain),
        "entries": entries_of(entries),
        "limit": limit,
        "reason": needed(
            "--reason", reason, "--reason TEXT, with the ticket or the cause, for the log and for rls override list"
        ),
        **({"for": length} if length else {}),
        **({"until": until} if until else {}),
    }
    found = ask_admin(admin, "/overrides", body=body, token_file=token_file)
    row = found["override"]
    if row.get("requests_per_unit") == 0:
        blocks = "every request that it matches is refused"
        pass_on(f"rls: warning: the limit of {entries_text(row['entries'])} is {row['limit']}: {blocks}", err=True)
    if json:
        typer.echo(json_line(found))
        return
    pass_on(f"{entries_text(row['entries'])}: {row['limit']} until {row['until']}, was {found['before']}")
    pass_on(f"  override {row['id']} of the rule {row['domain']} {row['rule']}")


def _check(limit: str, length: str, until: str) -> None:
    """Check what the server checks as well, to name it as it is given on the command line.

    Raises:
        typer.BadParameter: One of them is wrong.
    """
    from rls.api.admin.query import WrongRequest, end_of  # noqa: PLC0415
    from rls.core.overrides import parse_limit  # noqa: PLC0415

    try:
        parse_limit(limit)
    except ValueError as error:
        raise typer.BadParameter(f"LIMIT is '{limit}': expected {error}") from None
    try:
        end_of(length, until, time.time(), ("--for ", "--until "))
    except WrongRequest as error:
        raise typer.BadParameter(f"{error}: expected {error.expected}") from None


@override.command("list", cls=Command, epilog="Example: rls override list --domain mesh")
def list_(domain: OnlyDomain = "", admin: Admin = ADMIN, token_file: TokenFile = None, json: Json = False) -> None:
    """Print the overrides in force.
    Exit codes: 0 well, 1 the server cannot read them, 2 wrong usage, 3 no answer.
    """
    found = ask_admin(admin, "/overrides", {"domain": domain} if domain else {}, token_file=token_file)
    if not found["overrides"] and (wrong := not_in_force([Pod(admin, admin)], domain, "", token_file)):
        raise typer.BadParameter(wrong)
    if json:
        typer.echo(json_line(found))
    else:
        _print(found["overrides"])
    if found["error"]:
        pass_on(f"rls: last read {found['read'] or 'never'}: {found['error']}", err=True)
        raise typer.Exit(NOT_DONE)


@override.command(cls=Command, no_args_is_help=True, epilog="Example: rls override end 1f6a09c2 --reason T-1")
def end(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Of the override; or its entries KEY=VALUE, with --domain."),
    ] = None,
    domain: SomeDomain = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the log of the server.")] = "",
    admin: Admin = ADMIN,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """End an override now: the rule's limit holds again.
    Exit codes: 0 done, 1 not done, 2 wrong usage, 3 no answer.
    """
    given = words or []
    if any("=" in word for word in given):
        name = _named(given, needed_domain(domain), admin, token_file)
    elif len(given) == 1 and given[0]:
        name = given[0]
    else:
        raise typer.BadParameter("expected one ID, as rls override list shows it, or entries KEY=VALUE")
    parameters = {"reason": reason} if reason else {}
    found = ask_admin(admin, f"/overrides/{quote(name, safe='')}", parameters, method="DELETE", token_file=token_file)
    if json:
        typer.echo(json_line(found))
        return
    row = found["ended"]
    pass_on(f"{entries_text(row['entries'])}: {found['after']} again, was {row['limit']}")


def _named(words: Sequence[str], domain: str, admin: str, token_file: Any) -> str:
    """The id of the override of the entries *words*."""
    entries = entries_of(words)
    # The server shows entries escaped, and values hashed where they are: so it says how it shows these.
    given = [("domain", domain), *(("entry", f"{one['key']}={one['value']}") for one in entries)]
    shown = ask_admin(admin, "/counters", given, token_file=token_file)["entries"]
    found = ask_admin(admin, "/overrides", {"domain": domain}, token_file=token_file)
    for row in found["overrides"]:
        if row["entries"] == shown:
            return str(row["id"])
    pass_on(f"rls: no override of {entries_text(shown)} in {domain} is in force", err=True)
    raise typer.Exit(NOT_DONE)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows:
        pass_on("no overrides")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("id", "domain", "entries", "limit", "until", "by", "reason"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        texts = (
            *(row["id"], row["domain"], entries_text(row["entries"]), row["limit"]),
            *(str(row["until"]), row["author"], row["reason"]),
        )
        table.add_row(*(Text(printable_again(text)) for text in texts))
    console().print(table)
    for row in rows:
        if row.get("applies_to", row["rule"]) is None:
            pass_on(f"rls: {row['id']} has no effect: no rule matches {entries_text(row['entries'])}", err=True)
