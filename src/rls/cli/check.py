"""`rls check`: reports every mistake in rules before they are deployed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from rls.cli.choices import choice
from rls.cli.findings import Format, counted, lines_of
from rls.cli.output import say
from rls.cli.urls import refuse_urls
from rls.config.findings import INVALID, Finding, Severity, from_diagnostic
from rls.errors import Diagnostic, SourceLocation

if TYPE_CHECKING:
    from rls.config.envoyfilter import Filters
    from rls.sources.disk import Disk
    from rls.sources.load import LoadResult


class Target(StrEnum):
    """Another server that reads the same files."""

    ENVOYPROXY = "envoyproxy"


class _Asked(NamedTuple):
    """What to look for besides mistakes; see the options of `check`."""

    target: Target | None
    against: Path | None
    shadow_days: int
    envoyfilters: Sequence[Path]


class _Found(NamedTuple):
    """What came of it.

    Attributes:
        loaded: The rules.
        findings: What is found in them.
        compared: Lines that list what differs from the rules of --against.
        filters: Those of EnvoyFilters.
        not_compared: Why there is nothing to compare with; "" where there is.
    """

    loaded: LoadResult
    findings: Sequence[Finding]
    compared: Sequence[str]
    filters: Sequence[Filters]
    not_compared: str = ""


def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files or directories with rules; - is standard input.")
    ],
    form: Annotated[Format, choice(Format, "--format", "Print findings in this format.")] = Format.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False,
    target: Annotated[Target | None, choice(Target, "--for", "Also what envoyproxy/ratelimit rejects.")] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="OLD", help="Also what differs from these rules."),
    ] = None,
    envoyfilters: Annotated[
        list[Path] | None,
        typer.Option("--envoyfilter", metavar="FILE", help="Also what its actions and the rules miss. Repeatable."),
    ] = None,
    shadow_days: Annotated[
        int, typer.Option("--shadow-days", metavar="DAYS", min=0, help="Warn of shadow mode that is older, by git.")
    ] = 14,
    cost: Annotated[bool, typer.Option("--cost", help="List what each rule writes and keeps.")] = False,
) -> None:
    """Report every mistake in rules files, and what is probably not meant.

    Prints one line per finding, FILE:LINE:COLUMN: MESSAGE, and a summary on stderr.
    Exit codes: 0 no mistakes, 1 mistakes, 2 wrong usage, or mistakes in OLD.
    """
    found = _find(paths, _Asked(target, against, shadow_days, envoyfilters or []))
    for line in lines_of(form, found.findings):
        typer.echo(line)
    costs = _costs(found.loaded, found.filters) if cost else ()
    for line in (_summary(found.loaded, found.findings), *found.compared, *costs):
        say(line, err=True)
    if found.not_compared:
        say(f"rls: {found.not_compared}", err=True)
    failing = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    if any(one.severity in failing for one in found.findings):
        raise typer.Exit(1)
    if found.not_compared:
        raise typer.Exit(2)


def _find(paths: Sequence[Path], asked: _Asked) -> _Found:
    from rls.cli.shadow_dates import old_shadows  # noqa: PLC0415
    from rls.cli.standard_input import DiskWithStandardInput, demand_one, named  # noqa: PLC0415
    from rls.config.advice import advice  # noqa: PLC0415
    from rls.sources.load import load  # noqa: PLC0415

    refuse_urls([*paths, *asked.envoyfilters], "a file or directory; curl -s URL | rls check -")
    before = [] if asked.against is None else [asked.against]
    demand_one([*paths, *before])
    paths, old, disk = named(paths), named(before), DiskWithStandardInput()
    _demand([*paths, *old], disk, "rules")
    _demand(asked.envoyfilters, disk, "an EnvoyFilter")
    loaded = load(paths, disk=disk)
    found = [*_of_load(loaded, paths[0]), *advice(loaded.rules)]
    found += old_shadows(loaded.files, disk.read, asked.shadow_days)
    if asked.target is Target.ENVOYPROXY:
        found += _differences(loaded, disk)
    filters, mistakes = _filters(asked.envoyfilters, disk)
    found += mistakes
    if filters and not any(one.severity is Severity.ERROR for one in found):  # what errors leave out would be missing
        found = _with_actions(found, filters, loaded)
    if not old:
        return _Found(loaded, found, [], filters)
    if why := _not_comparable(found, earlier := load(old, disk=disk), str(old[0])):
        return _Found(loaded, found, [], filters, why)
    changed, compared = _compared(loaded, earlier, str(old[0]))
    return _Found(loaded, [*found, *changed], compared, filters)


def _of_load(loaded: LoadResult, path: Path) -> Iterator[Finding]:
    yield from (from_diagnostic(problem, Severity.ERROR) for problem in loaded.diagnostics)
    yield from (from_diagnostic(problem, Severity.WARNING) for problem in loaded.warnings)
    if not loaded.diagnostics and not _rules(loaded):
        nothing = "no rule found, so a server would limit nothing, expected a `rate_limit`"
        yield Finding(SourceLocation(str(path), 1, 1), Severity.ERROR, INVALID, nothing)


def _differences(loaded: LoadResult, disk: Disk) -> Iterator[Finding]:
    """What envoyproxy/ratelimit makes of the files."""
    from rls.config.envoyproxy import differences  # noqa: PLC0415

    refused, otherwise = differences(loaded.files, disk.read)
    yield from (from_diagnostic(problem, Severity.ERROR) for problem in refused)
    yield from (from_diagnostic(problem, Severity.WARNING) for problem in otherwise)


def _filters(files: Sequence[Path], disk: Disk) -> tuple[list[Filters], list[Finding]]:
    """What each of *files* says of rate limits, and what is wrong with the others."""
    from rls.config.envoyfilter import read_filters  # noqa: PLC0415
    from rls.errors import ConfigError  # noqa: PLC0415

    filters: list[Filters] = []
    problems: list[Diagnostic] = []
    for file in map(str, files):
        place = SourceLocation(file, 1, 1)
        try:
            read = read_filters(file, disk.read(file))
        except OSError as error:
            problems.append(Diagnostic(place, f"cannot be read ({error.strerror}), expected an EnvoyFilter"))
        except ConfigError as error:
            problems += error.diagnostics
        else:
            filters.append(read)
            if not read.limits and not read.domains:
                nothing = "neither a rate limit filter nor `rate_limits` found, expected an EnvoyFilter"
                problems.append(Diagnostic(place, nothing))
    return filters, [from_diagnostic(problem, Severity.ERROR) for problem in problems]


def _with_actions(found: Sequence[Finding], filters: Sequence[Filters], loaded: LoadResult) -> list[Finding]:
    """*found*, and what of rules and actions does not go together. Of notes that this makes certain, only the warning."""
    from rls.tools.rules_and_actions import compare  # noqa: PLC0415

    compared = list(compare(filters, loaded.rules))
    certain = {(one.place, one.code) for one in compared}
    return [*(one for one in found if (one.place, one.code) not in certain), *compared]


def _demand(paths: Sequence[Path], disk: Disk, what: str) -> None:
    """Exit with 2 unless there is something at each of *paths*."""
    from rls.sources.paths import missing  # noqa: PLC0415

    absent = missing(paths, disk)
    for path in absent:
        say(f"rls: no such file or directory: {path}, expected {what} in YAML", err=True)
    if absent:
        raise typer.Exit(2)


def _not_comparable(found: Iterable[Finding], old: LoadResult, name: str) -> str:
    """Why the rules, in which *found* was found, are not compared with the rules *old*, called *name*; "" where they are."""
    errors = sorted(one for one in found if one.severity is Severity.ERROR)
    for first, where in ((errors[:1], "the rules"), (old.diagnostics[:1], f"--against {name}")):
        if first:
            return f"not compared with {name}: {where} must have no errors; the first is {first[0]}"
    return ""


def _compared(loaded: LoadResult, old: LoadResult, name: str) -> tuple[list[Finding], list[str]]:
    """Warnings of what differs from the rules *old*, called *name*; and the lines that list it."""
    from rls.cli.against import changes_between, lines_of, warnings_of  # noqa: PLC0415

    changes = changes_between(old.rules, loaded.rules)
    warnings = [from_diagnostic(warning, Severity.WARNING) for warning in warnings_of(changes)]
    return warnings, list(lines_of(changes, name))


def _costs(loaded: LoadResult, filters: Sequence[Filters]) -> Iterable[str]:
    from rls.cli import cost  # noqa: PLC0415
    from rls.tools.rules_and_actions import most_descriptors  # noqa: PLC0415

    return cost.lines_of(loaded.rules, most_descriptors(filters))


def _summary(loaded: LoadResult, found: Sequence[Finding]) -> str:
    numbers = [(severity, sum(one.severity is severity for one in found)) for severity in Severity]
    shown = [counted(number, severity) for severity, number in numbers if number or severity is not Severity.NOTE]
    return (
        f"{', '.join(shown)}; {counted(_rules(loaded), 'rule')} in {counted(len(loaded.rules.domains), 'domain')} "
        f"from {counted(len(loaded.files), 'file')}"
    )


def _rules(loaded: LoadResult) -> int:
    return sum(1 for domain in loaded.rules.domains.values() for _ in domain.rules())
