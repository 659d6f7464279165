"""`rls top`: who is refused most, hits most, or is nearest to a limit."""

from __future__ import annotations

import functools
import json as json_module
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rls.cli.admin import ADMIN, UNANSWERED, Admin, AdminError, Json, TokenFile, request_admin
from rls.cli.choices import choice
from rls.cli.filters import OnlyDomain, OnlyEntries, OnlyRule, filters, not_in_force
from rls.cli.live import is_terminal, show_live
from rls.cli.output import console, pass_on
from rls.cli.pods import PodsOption, Told, ask_all, asked_pods
from rls.cli.rows import rule_text
from rls.observe.entries import entries_text
from rls.printable import printable_again

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST = 100
_REFRESH_SECONDS = 2.0
_ESCAPE, _ENTER, _BACKSPACE = "\x1b", "\n", "\x7f"


class By(StrEnum):
    """What rows are ordered by, as the admin API has it."""

    REFUSED = "refused"
    HITS = "hits"
    NEAR = "near"
    SHADOW = "shadow"


_KEYS = {"r": By.REFUSED, "h": By.HITS, "n": By.NEAR, "s": By.SHADOW}


class View:
    """What is shown, as options and keys choose it.

    Attributes:
        by: What rows are ordered by.
        text: Only rows whose entries or rule have this text.
        typing: Whether keys are added to *text*.
    """

    def __init__(self, by: By) -> None:
        self.by = by
        self.text = ""
        self.typing = False

    def press(self, key: str) -> bool:
        """Do what *key* says; False to end."""
        if self.typing:
            self._type(key)
        elif key in _KEYS:
            self.by = _KEYS[key]
        elif key == "/":
            self.typing, self.text = True, ""
        return self.typing or key != "q"

    def _type(self, key: str) -> None:
        if key in (_ENTER, _ESCAPE):
            self.typing = False
            self.text = "" if key == _ESCAPE else self.text
        elif key == _BACKSPACE:
            self.text = self.text[:-1]
        elif key.isprintable():
            self.text += key

    @property
    def keys(self) -> str:
        """What keys do."""
        if self.typing:
            return f"filter: {self.text}▏  Enter keeps it, Esc drops it"
        chosen = f", only '{self.text}'" if self.text else ""
        return f"by {self.by}{chosen}   [r]efused [h]its [n]ear [s]hadow  [/] filter  [q]uit"


# Two thirds of its lines are the options of the command: typer reads them from the signature.
def top(
    admin: Admin = ADMIN,
    pods: PodsOption = "",
    by: Annotated[By, choice(By, "--by", "refused, hits, near or shadow.", "WHAT")] = By.REFUSED,
    window: Annotated[str, typer.Option("--window", metavar="5m|start", help="Which time counts.")] = "5m",
    domain: OnlyDomain = "",
    rule: OnlyRule = "",
    entry: OnlyEntries = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=_MOST, metavar="ROWS", help="So many rows.")] = 20,
    once: Annotated[bool, typer.Option("--once", help="Print it once, on a terminal too.")] = False,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Show who is refused most; on a terminal again and again, in place.

    Exit codes: 0, 2 for wrong usage, 3 without an answer.
    """
    view = View(by)
    given = {"window": window, **filters(domain, rule, entry), "limit": _MOST}
    with asked_pods(admin, pods) as asked:
        if wrong := not_in_force(asked, domain, rule, token_file):
            raise typer.BadParameter(wrong)

        def ask() -> list[Told]:
            found = {**given, "by": str(view.by)}
            several = len(asked) > 1
            return ask_all(asked, functools.partial(_ask, parameters=found, token_file=token_file, several=several))

        if is_terminal() and not once and not json:
            show_live(_Page(ask, view, limit).draw, _REFRESH_SECONDS, view.press)
            return
        told = ask()
    for one in told:
        if one.error:
            pass_on(f"rls: {one.error}", err=True)
    if all(one.error for one in told):
        raise typer.Exit(UNANSWERED)
    rows = _rows(told, view)[:limit]
    if json:
        typer.echo(json_module.dumps({"by": str(by), "window": window, "rows": rows}, indent=2))
    else:
        console().print(_table(rows, view.by))


def _ask(address: str, parameters: Mapping[str, Any], token_file: Path | None, *, several: bool) -> dict[str, Any]:
    """What a pod answers, one of *several* or the only one: in a roll-out, another may be of another version."""
    from rls.api.admin.pods import OTHER_VERSION, is_top  # noqa: PLC0415

    answer = request_admin(address, "/top", parameters, token_file=token_file)
    if several and not is_top(answer):
        raise AdminError(f"{address}: {OTHER_VERSION}", UNANSWERED)
    return answer


class _Page:
    """What is drawn in place: asked for again unless only the filter has changed."""

    def __init__(self, ask: Any, view: View, limit: int) -> None:
        self._ask = ask
        self._view = view
        self._limit = limit
        self._told: list[Told] = []

    def draw(self) -> RenderableType:
        """The page."""
        from rich.console import Group  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        view = self._view
        if not view.typing:
            self._told = self._ask()
        failed = [Text(printable_again(one.error), "red") for one in self._told if one.error]
        table = _table(_rows(self._told, view)[: self._limit], view.by)
        return Group(*failed, table, Text(printable_again(view.keys), "dim"))


def _rows(told: Sequence[Told], view: View) -> list[dict[str, Any]]:
    """The rows of all pods, those of the same entries of one rule as one, the first ones first."""
    from rls.api.admin.pods import merge_tops  # noqa: PLC0415
    from rls.slices import finish  # noqa: PLC0415

    answers = [one.answer for one in told if one.answer is not None]
    if not answers:
        return []
    order = "share_of_limit" if view.by is By.NEAR else "count"
    rows: list[dict[str, Any]] = answers[0]["rows"]
    if len(answers) > 1:
        rows = finish(merge_tops(answers, order, _MOST))["rows"]
    return [row for row in rows if view.text in f"{entries_text(row['entries'])} {rule_text(row)}"]


def _table(rows: Sequence[Mapping[str, Any]], by: By) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows:
        return Text(_NOBODY[by])
    table = Table(box=None, header_style="bold", pad_edge=False)
    numbers = ("of limit", "used") if by is By.NEAR else (str(by), "per second", "of rule")
    for heading in ("entries", "rule", "limit"):
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right")
    table.add_column("over since" if by is not By.NEAR else "at")
    for row in rows:
        cells = _near(row) if by is By.NEAR else _counted(row)
        texts = (entries_text(row["entries"]), rule_text(row), row.get("limit") or "", *cells)
        table.add_row(*(Text(printable_again(str(text))) for text in texts))
    return table


_NOBODY = {
    By.REFUSED: "Nobody was refused.",
    By.HITS: "No rule was near its limit: who hits is known from then on.",
    By.NEAR: "Nobody was near a limit.",
    By.SHADOW: "No rule in shadow mode would have refused anybody.",
}


def _counted(row: Mapping[str, Any]) -> tuple[str, ...]:
    share = row.get("share_of_rule")
    error = f" (+{row['error']})" if row.get("error") else ""
    return (
        f"{row['count']}{error}",
        f"{row.get('per_second', 0):.1f}",
        "" if share is None else f"{share:.0%}",
        _time(row.get("over_since")),
    )


def _near(row: Mapping[str, Any]) -> tuple[str, ...]:
    return f"{row['share_of_limit']:.0%}", f"{row['used']} of {row['requests_per_window']}", _time(row.get("time"))


def _time(time: str | None) -> str:
    return "" if not time else f"{time[:19].replace('T', ' ')}Z"
