"""`rls diff`: what new rules change, for limits, for counters that live, and for recorded clients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rls.cli.choices import choice
from rls.cli.output import say
from rls.cli.rules import read_rules
from rls.cli.usage import empty_path
from rls.config.findings import Finding, Severity
from rls.errors import SourceLocation
from rls.printable import json_line, printable

if TYPE_CHECKING:
    from rls.core.rules import RuleSet
    from rls.engine.effects import Comparison, Effect, Refusal

_NAMES = 10
"""Recorded entries that are listed."""


class Format(StrEnum):
    """Formats of differences."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="File, directory, git:REVISION:PATH, or - for stdin.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Rules that are to take its place.")],
    top: Annotated[
        str, typer.Option("--top", metavar="FILE|URL", help="Who would be refused, of this list of /api/v1/top.")
    ] = "",
    form: Annotated[Format, choice(Format, "--format", "Print in this format.")] = Format.TEXT,
    json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
) -> None:
    """Say which limits rise, fall, come and go, and what becomes of live counters.

    Exit codes: 0 no difference, 1 a difference, 2 wrong usage.
    """
    from rls.cli.against import changes_between  # noqa: PLC0415
    from rls.cli.top_list import recorded  # noqa: PLC0415
    from rls.engine.effects import Comparison  # noqa: PLC0415

    _demand_sources(old, new)
    before, after = _rules(old), _rules(new)
    comparison = Comparison(before, after, changes_between(before, after, most=before.size() + after.size()))
    try:
        refusals = recorded(top, comparison) if top else None
    except ValueError as error:
        raise typer.BadParameter(printable(f"--top is '{top}': {error}")) from None
    effects, domains = comparison.effects(), list(comparison.domains())
    if json or form is Format.JSON:
        typer.echo(json_line(_as_json(comparison, effects, domains, refusals), indent=2))
    elif form is Format.GITHUB:
        from rls.cli import findings  # noqa: PLC0415

        for line in findings.lines_of(findings.Format.GITHUB, list(_findings(effects, new))):
            typer.echo(line)
    else:
        for line in (*_as_text(comparison, effects, domains), *_refused_text(refusals)):
            say(line)
    raise typer.Exit(1 if effects or domains else 0)


def _demand_sources(old: str, new: str) -> None:
    from rls.cli.standard_input import demand_one  # noqa: PLC0415

    demand_one([old, new])
    for name, text in (("OLD", old), ("NEW", new)):
        if not text:
            raise typer.BadParameter(empty_path(name))


def _rules(text: str) -> RuleSet:
    """The rules that an argument names. Exits with 2 where they have mistakes."""
    from rls.cli.revisions import PREFIX, GitDisk  # noqa: PLC0415
    from rls.cli.standard_input import DiskWithStandardInput, named  # noqa: PLC0415

    if not text.startswith(PREFIX):
        return read_rules(named([Path(text)]), DiskWithStandardInput())
    try:
        disk = GitDisk(text)
    except ValueError as error:
        raise typer.BadParameter(printable(f"cannot read {text}: {error}")) from None
    return read_rules([Path(disk.root)], disk)


def _as_text(comparison: Comparison, effects: Sequence[Effect], domains: Iterable[str]) -> Iterator[str]:
    yield comparison.changes.counted
    yield from domains
    for effect in effects:
        yield f"{effect.direction}: {_change_text(effect)}"
        yield f"    {effect.says}"


def _change_text(effect: Effect) -> str:
    """As `changed mesh company at rules.yaml:4: 500/minute → 5/minute`."""
    change = effect.change
    text = f"{change.kind} {change.rule}: {effect.before or 'no limit'} → {effect.after or 'no limit'}"
    if effect.rule is not None and effect.rule[:2] != change.rule[:2]:
        text += f", now by {effect.rule}"
    return f"{text}, in place of {effect.moved}" if effect.moved is not None else text


def _refused_text(refusals: Sequence[Refusal] | None) -> Iterator[str]:
    if refusals is None:
        return
    refused = [one for one in refusals if one.after > 0]
    yield f"of {len(refusals)} recorded, at their rates: {len(refused)} would be refused in part"
    for one in refused[:_NAMES]:
        entries = ",".join(f"{key}={value}" for key, value in one.entries)
        hits = f"{one.per_second:.3g} hits/s against {one.limit} of {one.rule}"
        yield f"  {entries}: {hits}: {one.after:.0%} refused, {_before_text(one)}"
    if len(refused) > _NAMES:
        yield f"  and {len(refused) - _NAMES} more"


def _before_text(one: Refusal) -> str:
    return f"{one.before:.0%} before" if one.before else "none before"


def _findings(effects: Iterable[Effect], new: str) -> Iterator[Finding]:
    from rls.engine.changes import Kind  # noqa: PLC0415
    from rls.engine.effects import Direction  # noqa: PLC0415

    for effect in effects:
        is_stricter = effect.direction in {Direction.LOWER, Direction.NEW, Direction.STRICTER}
        severity = Severity.WARNING if is_stricter else Severity.NOTE
        # A rule that is gone stands in no file that is shown.
        place = None if effect.change.kind is Kind.REMOVED else effect.change.rule.place
        message = f"{effect.direction}: {_change_text(effect)}; {effect.says}"
        yield Finding(place or SourceLocation(new, 1, 1), severity, "changed", message)


def _as_json(
    comparison: Comparison, effects: Iterable[Effect], domains: Iterable[str], refusals: Sequence[Refusal] | None
) -> dict[str, Any]:
    changes = comparison.changes
    found: dict[str, Any] = {
        "added": changes.added,
        "changed": changes.changed,
        "removed": changes.removed,
        "domains": list(map(printable, domains)),
        "effects": list(map(_effect_json, effects)),
    }
    if refusals is not None:
        found["recorded"] = list(map(_refusal_json, refusals))
    return found


def _effect_json(effect: Effect) -> dict[str, Any]:
    return {
        "kind": str(effect.change.kind),
        "direction": str(effect.direction),
        **_shown(effect.change.rule.fields),
        "before": None if effect.before is None else str(effect.before),
        "after": None if effect.after is None else str(effect.after),
        "now": None if effect.rule is None else _shown(effect.rule.fields),
        "moved_from": None if effect.moved is None else _shown(effect.moved.fields),
        "counters": str(effect.counters),
        "says": printable(effect.says),
    }


def _refusal_json(one: Refusal) -> dict[str, Any]:
    return {
        **_shown(one.rule.fields),
        "entries": [{"key": printable(key), "value": printable(value)} for key, value in one.entries],
        "per_second": round(one.per_second, 6),
        "limit": str(one.limit),
        "refused_before": round(one.before, 6),
        "refused": round(one.after, 6),
    }


def _shown(fields: dict[str, str]) -> dict[str, str]:
    return {name: printable(text) for name, text in fields.items()}
