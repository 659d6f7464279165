"""Explanations, as trees for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rls.api.no_limit import UNLIMITED, no_match
from rls.observe.entries import entries_text
from rls.printable import printable_again

Row = Mapping[str, Any]
_STYLES = {"OK": "green", "OVER_LIMIT": "red", "✓": "green", "✗": "dim"}
_TAKEN = ("taken", "request goes on")


def print_explanation(row: Row) -> None:
    """Print *row*, what `/api/v1/explain` answers; with `actions` of an EnvoyFilter, these first."""
    not_limited = [("", f"not limited: {row['not_limited']}")] if row.get("not_limited") else []
    descriptors = (line for one in row["descriptors"] for line in _of_descriptor(row, one))
    _print([*not_limited, *_of_actions(row), _answer(row), *descriptors])


def without_limit(row: Row) -> Iterator[str]:
    """Why no limit applies to a descriptor of *row*; once for each to which none does, so nothing where all are limited."""
    if not row["descriptors"] and row["code"] is not None:
        yield f"no limit: {row['not_limited']}"
    for one in row["descriptors"]:
        if one["limit"] is None:
            yield f"no limit for {entries_text(one['entries'])}: {_why(row, one)}"
        elif one["limit"] == "unlimited":
            yield f"no limit for {entries_text(one['entries'])}: {UNLIMITED}"


def _why(row: Row, one: Row) -> str:
    if not row["known"]:
        return str(row.get("not_limited") or f"no rules for the domain {row['domain']}")
    return no_match(row["domain"]) if one["rule"] is None else ", ".join(one["reasons"])


def _print(lines: Sequence[tuple[str, str]]) -> None:
    """Print *lines*, each after a mark or a word that has a colour, in colours where stdout is a terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    for mark, text in lines:
        bare = mark.strip()
        indent = mark[: len(mark) - len(mark.lstrip())]
        shown = printable_again(f"{bare} {text}" if bare else text)
        line = Text(indent + shown)
        if bare in _STYLES:
            line.stylize(_STYLES[bare], len(indent), len(indent) + len(bare))
        console.print(line)


def _answer(row: Row) -> tuple[str, str]:
    code = row["code"]
    if not row["descriptors"]:
        if code is None:
            return "", "unknown: it is not certain what Envoy sends"
        return code, "Envoy sends no descriptor, so it does not ask, and nothing is limited"
    if code is None:
        return "", f"unknown: {row['backend_error']}"
    if code != "OVER_LIMIT":
        return code, "would be answered"
    return code, f"would be answered: limited by {_rule(row)}"


def _rule(row: Row) -> str:
    name = f" ({row['name']})" if row["name"] else ""
    return f"rule {row['domain']} {row['rule']}{name}" + (f" at {row['place']}" if row["place"] else "")


def _of_actions(row: Row) -> Iterator[tuple[str, str]]:
    """What each item of `rate_limits` comes to."""
    if "actions" not in row:
        return
    yield "", f"Envoy, domain {row['domain'] or '?'}:"
    for one in row["actions"]:
        entries = one["entries"]
        if entries is None:
            yield ("  ✗" if one["known"] else "  ?"), f"{one['place']}  {one['why']}"
        else:
            yield "  ✓", f"{one['place']}  {_entries(entries)}"
    for note in row["notes"]:
        yield "", f"  note: {note}"


def _entries(entries: Sequence[Row]) -> str:
    return ",".join(f"{entry['key']}={entry['value']}" for entry in entries) or "(no entries)"


def _of_descriptor(row: Row, one: Row) -> Iterator[tuple[str, str]]:
    yield "", ""
    yield "", _entries(one["entries"])
    level = 0
    widest = max((len(each["entry"]) + 2 * each["level"] for each in one["considered"]), default=0)
    for each in one["considered"]:
        level = each["level"]
        mark = "✓" if each["verdict"] in _TAKEN else "✗"
        indent = "  " * level
        entry = each["entry"].ljust(widest - 2 * level)
        verdict = (
            each["why"] if each["verdict"] in ("taken", "request goes on") else f"{each['verdict']}: {each['why']}"
        )
        place = f"  {each['place']}" if each["place"] else ""
        yield f"{indent}{mark}", f"{entry}  {verdict}{place}"
    if one["unlisted"]:
        yield "", f"{'  ' * max(level, 1)}and {one['unlisted']} more"
    for name, text in _facts(row, one):
        yield "", f"  {name.ljust(8)} {text}"


def _facts(row: Row, one: Row) -> Iterator[tuple[str, str]]:
    """What is known of a descriptor, by name."""
    if one["rule"] is not None:
        yield "rule", _rule(one).removeprefix("rule ")
    elif one["end"] is not None:
        yield "rule", f"none: {one['end']['why']}"
    if one["limit"] is not None:
        yield "limit", one["limit"] + (" in shadow mode" if one["shadow_mode"] else "")
    for counter in one["counters"]:
        yield "counter", counter["counter_key"] + (f" at {counter['node']}" if counter["node"] else "")
    if one["count"] is not None:
        yield "count", _count(one)
    for reason in one["reasons"]:
        yield "note", reason
    yield "status", one["code"] or f"unknown: {row['backend_error']}"


def _count(one: Row) -> str:
    hits = one["hits"]
    added = f"{hits} more with this request" if hits >= 0 else f"{-hits} given back with this request"
    left = "" if one["limit_remaining"] is None else f"; then {one['limit_remaining']} left"
    reset = "" if one["duration_until_reset"] is None else f", resets in {one['duration_until_reset']} s"
    return f"{one['count']} so far, {added}{left}{reset}"
