"""`rls replay`: plays a log through rules, and says who would have been refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from rls.cli.output import say
from rls.cli.rules import read_rules
from rls.cli.urls import refuse_urls
from rls.cli.usage import empty_path
from rls.printable import json_line, printable

if TYPE_CHECKING:
    from rls.core.rules import RuleSet
    from rls.tools.replay.logs import Log
    from rls.tools.replay.records import Line
    from rls.tools.replay.run import Options, Replayed

_T = TypeVar("_T")
_LINES_BETWEEN_UPDATES = 5_000
_DRAWN = 50
"""Rows of each list on a page, at least."""


# Most of its lines are the options of the command: typer reads them from the signature.
def replay(
    logs: Annotated[list[str], typer.Argument(metavar="LOG", help="Access or decision logs, gzip too; - is stdin.")],
    config: Annotated[Path | None, typer.Option("--config", metavar="RULES", help="Rules to play; required.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="RULES", help="Compare with these rules.")
    ] = None,
    descriptors: Annotated[
        list[str] | None,
        typer.Option("--descriptor", metavar="KEY=FIELD,…", help="One of each request. Repeatable."),
    ] = None,
    domain: Annotated[str, typer.Option("--domain", metavar="NAME", help="Of requests in access logs.")] = "",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="FIELD=VALUE", help="Play these lines; !=, * work. Repeatable."),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="json, decisions, istio, envoy or a string.", show_default=False
        ),
    ] = "auto",
    time: Annotated[str, typer.Option("--time", metavar="FIELD", help="Field with the time.")] = "",
    zone: Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Of times that name none.")] = "UTC",
    top: Annotated[int, typer.Option("--top", metavar="COUNT", help="Rows of each list.", min=0)] = 10,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw a picture.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Play a log through rules: who would have been refused, when, by which rule.

    Exit codes: 0 played, 1 some are refused that --against allows, 2 wrong usage.
    """
    from rls.cli.replay_text import lines_of  # noqa: PLC0415
    from rls.tools.replay.logs import Log  # noqa: PLC0415
    from rls.tools.replay.report import report  # noqa: PLC0415
    from rls.tools.replay.run import DomainMissing, run  # noqa: PLC0415

    if config is None:
        raise typer.BadParameter("--config is missing: expected --config RULES, with the rules to play")
    rules = {"--config": config} if against is None else {"--config": config, "--against": against}
    _demand_files(logs, rules, {"--svg": svg, "--html": html})
    options = _options(form, descriptors or [], domain, only or [], time, zone)
    rule_sets = _rule_sets(list(rules.values()))
    opened = [_opened(Log, path) for path in logs]
    names = [log.name for log in opened]
    try:
        came = run(opened, rule_sets, options, watch=_progress(opened))
    except (ValueError, DomainMissing) as error:
        raise typer.BadParameter(printable(str(error))) from None
    notes = list(_notes(came, opened))
    found = report(came.replay, came.lines, names, top, notes)
    _draw(report(came.replay, came.lines, names, max(top, _DRAWN), notes), svg, html)
    for line in [json_line(found, indent=2)] if json else lines_of(found, colours=sys.stdout.isatty()):
        typer.echo(line)
    for note in notes:
        say(f"rls: {note}", err=True)
    if not came.replay.requests:
        raise typer.Exit(2)
    raise typer.Exit(1 if came.replay.newly.total else 0)


def _demand_files(logs: Sequence[str], rules: Mapping[str, Path], written: Mapping[str, Path | None]) -> None:
    """Refuse files that cannot be read or must not be written, before any is opened."""
    from rls.cli.overwriting import Read, demand_apart  # noqa: PLC0415
    from rls.cli.standard_input import demand_one  # noqa: PLC0415

    if "" in logs:
        raise typer.BadParameter(empty_path("LOG"))
    refuse_urls(logs, "a file; curl -s URL | rls replay -")
    demand_one(logs)
    read = [Read(log, "the log that is read") for log in logs]
    demand_apart(written, [*read, *(Read(path, f"the rules of {name}") for name, path in rules.items())])


def _options(form: str, descriptors: Sequence[str], domain: str, only: Sequence[str], time: str, zone: str) -> Options:
    from rls.tools.replay.descriptors import read_condition, read_descriptor  # noqa: PLC0415
    from rls.tools.replay.formats import FORMATS, TextFormat  # noqa: PLC0415
    from rls.tools.replay.run import Options  # noqa: PLC0415
    from rls.tools.replay.times import zone_of  # noqa: PLC0415

    if form not in FORMATS:
        _parsed("--format", form, TextFormat)
    return Options(
        form,
        [_parsed("--descriptor", text, read_descriptor) for text in descriptors],
        domain,
        [_parsed("--only", text, read_condition) for text in only],
        time,
        _parsed("--timezone", zone, zone_of),
    )


def _parsed(name: str, text: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(printable(f"{name} is '{text}': {error}")) from None


def _rule_sets(paths: Sequence[Path]) -> dict[str, RuleSet]:
    """The rules at *paths*, by these."""
    return {str(path): read_rules([path]) for path in paths}


def _opened(kind: type[Log], path: str) -> Log:
    try:
        return kind(path)
    except OSError as error:
        raise typer.BadParameter(printable(f"cannot read {path}: {error.strerror}")) from None


def _progress(logs: Sequence[Log]) -> Callable[[Iterator[Line]], Iterator[Line]]:
    """Shows how far the logs were read, where stderr is a terminal."""
    if not sys.stderr.isatty():
        return iter
    return lambda lines: _shown(lines, logs)


def _shown(lines: Iterator[Line], logs: Sequence[Log]) -> Iterator[Line]:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns: list[Any] = [BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.fields[played]:,}")]
    columns += [TextColumn("requests"), TimeRemainingColumn()]
    total = sum(log.size for log in logs) or None
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, played=0)
        for number, line in enumerate(lines):
            if number % _LINES_BETWEEN_UPDATES == 0:
                progress.update(task, completed=sum(log.read for log in logs), played=number)
            yield line


def _draw(found: Mapping[str, Any], svg: Path | None, html: Path | None) -> None:
    from rls.cli.replay_chart import chart  # noqa: PLC0415
    from rls.cli.replay_page import page  # noqa: PLC0415

    for path, draw in ((svg, chart), (html, page)):
        if path is None:
            continue
        try:
            path.write_text(draw(found), encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(printable(f"cannot write {path}: {error.strerror}")) from None


def _notes(came: Replayed, logs: Sequence[Log]) -> Iterator[str]:
    """What makes the result doubtful."""
    replay, lines = came.replay, came.lines
    if not replay.requests:
        why = "no line could be read" if lines.unreadable else "the log is empty"
        binary = [f"{log.name} is {log.binary}" for log in logs if log.binary]
        if binary:
            why = f"{', '.join(binary)}, expected lines of JSON or of Envoy's text format"
        if lines.bare:
            why = "no line has a descriptor, since the fields are missing; see --descriptor"
        elif lines.skipped:
            why = "--only leaves every line out"
        yield f"nothing was played: {why}"
        return
    if came.decisions:
        yield (
            "a decision log has one descriptor of each request: if requests have several, counters are too low and too "
            "few requests are refused; replay the access log instead"
        )
    if came.refusals_only:
        yield (
            "this decision log has refusals only, so counters begin too low: "
            "let the server write all requests with --decision-log-share 1"
        )
    for side in replay.sides:
        if side.unlimited == replay.requests:
            yield f"no request met a limit of {side.name}: see --domain and --descriptor"
        if side.no_room or side.evicted:
            yield f"{side.name} needs more counters than fit: {side.evicted:,} were forgotten, {side.no_room:,} refused"
