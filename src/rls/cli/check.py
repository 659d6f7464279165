"""`rls check`: reports every mistake in rules before they are deployed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rls.cli.choices import one_of
from rls.cli.output import say
from rls.errors import Diagnostic, SourceLocation
from rls.printable import json_line, printable, printable_line

if TYPE_CHECKING:
    from rls.sources.disk import Disk
    from rls.sources.load import LoadResult

_MAX_ANNOTATIONS = 10
"""Annotations of one level that GitHub shows for a step. It drops the rest silently."""


class Format(StrEnum):
    """Formats of findings."""

    TEXT = "text"
    GITHUB = "github"
    JSON = "json"


class Target(StrEnum):
    """Another server that reads the same files."""

    ENVOYPROXY = "envoyproxy"


def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files or directories with rules; - is standard input.")
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="text|github|json",
            help="Print findings in this format.",
            parser=lambda text: one_of(Format, "--format", text),
            autocompletion=lambda: list(Format),
        ),
    ] = Format.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False,
    target: Annotated[
        Target | None,
        typer.Option(
            "--for",
            metavar="envoyproxy",
            help="Also what envoyproxy/ratelimit rejects.",
            parser=lambda text: one_of(Target, "--for", text),
            autocompletion=lambda: list(Target),
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="OLD", help="Also what differs from these rules."),
    ] = None,
) -> None:
    """Report every mistake in rules files.

    Prints one line per mistake, FILE:LINE:COLUMN: MESSAGE, and a summary on stderr.
    Exit codes: 0 no mistakes, 1 mistakes, 2 wrong usage.
    """
    loaded, compared = _findings(paths, target, against)
    lines_of = {Format.TEXT: _as_text, Format.GITHUB: _as_github, Format.JSON: _as_json}[form]
    for line in lines_of(loaded.diagnostics, loaded.warnings):
        typer.echo(line)
    for line in (_summary(loaded), *compared):
        say(line, err=True)
    if loaded.diagnostics or (strict and loaded.warnings):
        raise typer.Exit(1)


def _findings(paths: Sequence[Path], target: Target | None, against: Path | None) -> tuple[LoadResult, list[str]]:
    """What is found in *paths*, and the lines that list what differs from *against*."""
    from rls.cli.standard_input import DiskWithStandardInput, named  # noqa: PLC0415
    from rls.config.envoyproxy import differences  # noqa: PLC0415
    from rls.sources.load import load  # noqa: PLC0415

    paths, disk = named(paths), DiskWithStandardInput()
    old = named([] if against is None else [against])
    _demand([*paths, *old], disk)
    loaded = load(paths, disk=disk)
    if not loaded.diagnostics and not _rules(loaded):
        nothing = "no rule found, so a server would limit nothing, expected a `rate_limit`"
        loaded = replace(loaded, diagnostics=(Diagnostic(SourceLocation(str(paths[0]), 1, 1), nothing),))
    if target is Target.ENVOYPROXY:
        loaded = _with(loaded, *differences(loaded.files, disk.read))
    return _compared(loaded, load(old, disk=disk), str(old[0])) if old else (loaded, [])


def _demand(paths: Sequence[Path], disk: Disk) -> None:
    """Exit with 2 unless there is something at each of *paths*."""
    from rls.sources.paths import missing  # noqa: PLC0415

    absent = missing(paths, disk)
    for path in absent:
        say(f"rls: no such file or directory: {path}, expected rules in YAML", err=True)
    if absent:
        raise typer.Exit(2)


def _with(loaded: LoadResult, errors: Iterable[Diagnostic], warnings: Iterable[Diagnostic]) -> LoadResult:
    """*loaded* with more findings."""
    return replace(
        loaded,
        diagnostics=tuple(sorted((*loaded.diagnostics, *errors))),
        warnings=tuple(sorted((*loaded.warnings, *warnings))),
    )


def _compared(loaded: LoadResult, old: LoadResult, name: str) -> tuple[LoadResult, list[str]]:
    """*loaded* with warnings of what differs from the rules *old*, called *name*; and the lines that list it."""
    from rls.cli.against import changes_between, lines_of, warnings_of  # noqa: PLC0415

    for one, where in ((loaded, "the rules"), (old, name)):
        if one.diagnostics:
            return loaded, [f"not compared with {name}: {where} must have no errors; the first is {one.diagnostics[0]}"]
    changes = changes_between(old.rules, loaded.rules)
    return _with(loaded, (), warnings_of(changes)), list(lines_of(changes, name))


def _as_text(errors: Iterable[Diagnostic], warnings: Iterable[Diagnostic]) -> Iterable[str]:
    """In the order of their locations."""
    texts = [(problem.place, str(problem)) for problem in errors]
    texts += [(problem.place, f"{problem.place}: warning: {problem.message}") for problem in warnings]
    return [printable_line(text) for _, text in sorted(texts)]


def _as_github(errors: Sequence[Diagnostic], warnings: Sequence[Diagnostic]) -> Iterable[str]:
    """Workflow commands, which annotate the lines of a pull request. Each is one line, so no text begins another.

    Findings over GitHub's maximum are plain lines of the log.
    """
    for level, problems in (("error", errors), ("warning", warnings)):
        shown = len(problems) if len(problems) <= _MAX_ANNOTATIONS else _MAX_ANNOTATIONS - 1
        for (file, line, column), message in problems[:shown]:
            place = f"file={_escaped(file, ':,')},line={line},col={column}"
            yield f"::{level} {place}::{_escaped(message)}"
        if more := problems[shown:]:
            yield f"::{level}::{_counted(len(more), f'more {level}')}: the log of this step lists all"
            yield from (printable_line(f"{level}: {problem}") for problem in more)


def _escaped(text: str, also: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in "%" + also else char for char in printable(text))


def _as_json(errors: Iterable[Diagnostic], warnings: Iterable[Diagnostic]) -> Iterable[str]:
    """One array, with the same texts as in the other formats."""
    found = [
        {"severity": severity, "file": printable(file), "line": line, "column": column, "message": printable(message)}
        for severity, problems in (("error", errors), ("warning", warnings))
        for (file, line, column), message in problems
    ]
    return [json_line(found, indent=2)]


def _summary(loaded: LoadResult) -> str:
    return (
        f"{_counted(len(loaded.diagnostics), 'error')}, {_counted(len(loaded.warnings), 'warning')}; "
        f"{_counted(_rules(loaded), 'rule')} in {_counted(len(loaded.rules.domains), 'domain')} "
        f"from {_counted(len(loaded.files), 'file')}"
    )


def _rules(loaded: LoadResult) -> int:
    return sum(1 for domain in loaded.rules.domains.values() for _ in domain.rules())


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
