"""`rls status`: whether limits are enforced, since when, and under which rules."""

from __future__ import annotations

import functools
import json as json_module
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rls.cli.admin import ADMIN, NOT_DONE, UNANSWERED, Admin, AdminError, Json, TokenFile, request_admin
from rls.cli.live import is_terminal, show_live
from rls.cli.output import console, pass_on
from rls.cli.pods import PodsOption, Told, ask_all, asked_pods
from rls.cli.times import ago, seconds_between
from rls.printable import printable_again

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_COLOURS = {"enforced": "green", "degraded": "yellow", "off": "red"}
_REFRESH_SECONDS = 2.0


def status(
    admin: Admin = ADMIN,
    pods: PodsOption = "",
    token_file: TokenFile = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw it again every two seconds.")] = False,
    json: Json = False,
) -> None:
    """Show whether limits are enforced, since when, and under which rules.

    Exit codes: 0 if all servers enforce the same rules, 1 if not, 2 for wrong usage, 3 without an answer.
    """
    with asked_pods(admin, pods) as asked:
        ask = functools.partial(ask_all, asked, functools.partial(_ask, token_file=token_file))
        if watch and is_terminal() and not json:
            show_live(lambda: _page(ask()), _REFRESH_SECONDS)
            return
        told = ask()
    if json:
        typer.echo(json_module.dumps([_as_json(one) for one in told] if pods else _as_json(told[0]), indent=2))
    else:
        _print(told)
    raise typer.Exit(_exit_code(told))


def _ask(address: str, token_file: Path | None) -> dict[str, Any]:
    found = request_admin(address, "/status", token_file=token_file)
    if not {"state", "revision", "time"} <= found.keys():
        raise AdminError(f"{address} says nothing that this version of rls understands", UNANSWERED)
    return found


def _as_json(told: Told) -> Mapping[str, Any]:
    return {"address": told.pod.address, "error": told.error} if told.answer is None else told.answer


def _exit_code(told: Sequence[Told]) -> int:
    if all(one.answer is None for one in told):
        return UNANSWERED
    states = {"" if one.answer is None else one.answer["state"] for one in told}
    return 0 if states == {"enforced"} and len(_revisions(told)) == 1 else NOT_DONE


def _revisions(told: Sequence[Told]) -> set[str | None]:
    return {one.answer["revision"] for one in told if one.answer is not None}


def _print(told: Sequence[Told]) -> None:
    if len(told) == 1 and told[0].answer is None:
        pass_on(f"rls: {told[0].error}", err=True)
        return
    console().print(_page(told))


def _page(told: Sequence[Told]) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415

    if len(told) > 1:
        return _table(told)
    answer = told[0].answer
    lines = [Text(printable_again(told[0].error), "red")] if answer is None else list(_lines(answer))
    return Text("\n").join(lines)


def _lines(found: Mapping[str, Any]) -> Iterator[Text]:
    """What one server says, a line for each thing."""
    from rich.text import Text  # noqa: PLC0415

    now, state = found["time"], found["state"]

    def line(name: str, *parts: str | Text) -> Text:
        return Text.assemble(
            (f"{name:<10}", "bold"), *(printable_again(part) if isinstance(part, str) else part for part in parts)
        )

    draining = ", draining" if found.get("draining") else ""
    yield line("state", Text(state, _COLOURS.get(state, "")), f"{draining} since {ago(found.get('since'), now)}")
    for reason in found.get("reasons", ()):
        yield line("", f"{reason['reason']} since {ago(reason['since'], now)}: {reason['text']}")
    rules = f"{_number(found.get('rules', 0), 'rule')} in {_number(found.get('domains', 0), 'domain')}"
    yield line("rules", f"{rules}, revision {found['revision']}, loaded {ago(found.get('loaded'), now)}")
    if found.get("errors"):
        yield line("", f"{_number(found['errors'], 'mistake')} in the rules: rls check names them")
    yield line("backend", f"{found.get('backend', '')}{_nodes(found.get('nodes', ()))}")
    overrides = found.get("overrides")
    if isinstance(overrides, Mapping):
        yield line("overrides", _overrides(overrides))
    started = seconds_between(found.get("started"), now)
    yield line("server", f"rls {found.get('version')}, pod {found.get('pod')}, up {started}")


def _table(told: Sequence[Told]) -> RenderableType:
    """What several servers say, a row for each."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("pod", "state", "for", "reasons", "revision", "rules", "nodes", "version"):
        table.add_column(heading, overflow="fold")
    notes = []
    for one in told:
        found = one.answer
        if found is None:
            table.add_row(Text(printable_again(one.pod.name)), Text("no answer", "red"))
            notes.append(Text(printable_again(one.error), "red"))
            continue
        nodes = found.get("nodes", ())
        cells = (
            seconds_between(found.get("since"), found["time"]),
            ", ".join(reason["reason"] for reason in found.get("reasons", ())),
            found["revision"] or "",
            str(found.get("rules", "")),
            f"{sum(node['up'] for node in nodes)} of {len(nodes)}" if nodes else "",
            str(found.get("version", "")),
        )
        state = Text(found["state"], _COLOURS.get(found["state"], ""))
        name = Text(printable_again(str(found.get("pod") or one.pod.name)))
        table.add_row(name, state, *(Text(printable_again(cell)) for cell in cells))
    if (different := len(_revisions(told))) > 1:
        notes.append(Text(f"The pods have different rules in force: {different} revisions.", "yellow"))
    return Group(table, *notes)


def _nodes(nodes: Sequence[Mapping[str, Any]]) -> str:
    if not nodes:
        return ""
    down = [str(node["address"]) for node in nodes if not node["up"]]
    text = f": {len(nodes) - len(down)} of {_number(len(nodes), 'node')} up"
    return f"{text}; down: {', '.join(down)}" if down else text


def _overrides(overrides: Mapping[str, Any]) -> str:
    error = f"; not read since: {overrides['error']}" if overrides.get("error") else ""
    return f"{overrides.get('in_force', 0)} in force{error}"


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
