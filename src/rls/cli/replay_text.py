"""A replay for people: numbers, bars over time, and lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import typer

from rls.cli.rows import rule_text
from rls.observe.entries import entries_text
from rls.utc import utc

STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    2_592_000, 7_776_000,
)  # fmt: skip
"""Seconds between two times of an axis."""
_ROWS = 20
_BAR = 40
_ALLOWED, _REFUSED = "░", "█"


def lines_of(found: Mapping[str, Any], *, colours: bool) -> Iterator[str]:
    """Lines for *found*, a report of `rls.tools.replay.report`."""
    yield from _head(found)
    if not found["requests"]:
        return
    yield from _sums(found)
    yield ""
    yield from _bars(found, colours=colours)
    first = found["rules"][0]
    for side in found["rules"]:
        yield from _by_rule(side)
    yield from _who(f"Most refused by {first['config']}", first)
    if "newly_refused" in found:
        new, old = (side["config"] for side in found["rules"])
        yield from _who(f"Newly refused: by {new}, not by {old}", found["newly_refused"])
        yield from _who(f"No longer refused: by {old}, not by {new}", found["no_longer_refused"])


def counted(number: int, noun: str) -> str:
    """*number* and *noun*, as `1 line` or `2,000 lines`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def share(part: int, whole: int) -> str:
    """*part* of *whole* in percent."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.1f} %" if percent >= 1 or not part else f"{max(percent, 0.001):.3f} %"


def span_text(first: str, last: str) -> str:
    """Two times in UTC, as `2026-11-29 05:00:00 to 06:00:00 UTC`."""
    begin, end = moment(first), moment(last)
    return f"{begin} to {end[11:] if begin[:10] == end[:10] else end} UTC"


def moment(time: str) -> str:
    """A time in UTC, to the second."""
    return time[:19].replace("T", " ")


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    when = f", {span_text(found['first'], found['last'])}" if found["requests"] else ""
    yield f"{counted(found['requests'], 'request')} in {', '.join(found['logs'])}{when}"
    lines = found["lines"]
    said = [
        (lines["unreadable"], "could not be read"),
        (lines["skipped"], "left out by --only"),
        (lines["without_descriptor"], "without a descriptor"),
        (lines["late"], "more than 10 s out of order"),
    ]
    if any(number for number, _ in said):
        yield "lines: " + ", ".join(f"{number:,} {text}" for number, text in said if number)
    for shown in lines["shown"]:
        yield f"  {shown['place']}: {shown['reason']}"
    for broken in lines["broken"]:
        yield f"  {broken['log']} ends early: {broken['reason']}"


def _sums(found: Mapping[str, Any]) -> Iterator[str]:
    total, sides = found["requests"], found["rules"]
    rows = [["rules", "refused", "", "in shadow mode", "no limit"]]
    for side in sides:
        shadow = sum(rule["shadow"]["count"] for rule in side["by_rule"] if rule["shadow"])
        numbers = [f"{side['refused']:,}", share(side["refused"], total), f"{shadow:,}", f"{side['unlimited']:,}"]
        rows.append([side["config"], *numbers])
    yield ""
    yield from _table(rows)
    if "newly_refused" in found:
        new, old = found["newly_refused"]["refused"], found["no_longer_refused"]["refused"]
        yield f"newly refused {new:,}, no longer refused {old:,}"
    if recorded := found["recorded"]:
        both = f"; {sides[0]['config']} refuses {recorded['both']:,} of these" if recorded["refused"] else ""
        yield f"refused at the time, as the log says: {recorded['refused']:,} of {recorded['known']:,}{both}"


def _bars(found: Mapping[str, Any], *, colours: bool) -> Iterator[str]:
    width, rows = found["timeline"]["seconds"], found["timeline"]["buckets"]
    begin = bucket_time(rows[0]["time"])
    fits = (step for step in STEPS if step % width == 0 and (begin % step + width * len(rows)) / step <= _ROWS)
    seconds = next(fits, width)
    sums: dict[float, list[int]] = {}
    for number, row in enumerate(rows):
        group = sums.setdefault((begin + number * width) // seconds * seconds, [0, 0])
        group[0] += row["requests"]
        group[1] += row["refused"][0]
    largest = max(requests for requests, _ in sums.values()) or 1
    day = rows[0]["time"][:10] != rows[-1]["time"][:10]
    name = found["rules"][0]["config"]
    yield f"Each {every(seconds)}, UTC: {_REFUSED} refused by {name}, {_ALLOWED} allowed"
    table = [["time", "", "requests", "refused"]]
    for at, (requests, refused) in sums.items():
        red = min(_BAR, max(round(_BAR * refused / largest), 1 if refused else 0))
        grey = max(round(_BAR * requests / largest) - red, 0)
        bar = f"{_REFUSED * red}{_ALLOWED * grey}".ljust(_BAR)
        time = utc(at)
        shown = (time[5:10] + " " if day else "") + (time[11:16] if seconds >= 60 else time[11:19])
        table.append([shown, bar, f"{requests:,}", f"{refused:,}"])
    for line in _table(table):
        yield line.replace(_REFUSED, typer.style(_REFUSED, fg="red")) if colours else line


def every(seconds: int) -> str:
    """*seconds* as `minute` or `5 minutes`."""
    for length, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds % length == 0:
            number = seconds // length
            return unit if number == 1 else f"{number} {unit}s"
    raise AssertionError(seconds)


def _by_rule(side: Mapping[str, Any]) -> Iterator[str]:
    if not side["by_rule"]:
        return
    rows = [["requests", "in shadow mode", "rule", "limit", "first", "last"]]
    for row in side["by_rule"]:
        spans = [span for span in (row["refused"], row["shadow"]) if span]
        first, last = min(span["first"] for span in spans), max(span["last"] for span in spans)
        numbers = [f"{span['count'] if span else 0:,}" for span in (row["refused"], row["shadow"])]
        rows.append([*numbers, rule_text(row), row["limit"], moment(first), moment(last)])
    yield from ("", f"Rules of {side['config']} that refused")
    yield from _table(rows)


def _who(title: str, refused: Mapping[str, Any]) -> Iterator[str]:
    if not refused["top"]:
        return
    lacks = f"; each may have up to {refused['error']:,} more" if refused["error"] else ""
    yield from ("", f"{title}{lacks}")
    rows = [["requests", "entries", "rule", "first", "last"]]
    for row in refused["top"]:
        times = [moment(row["first"]), moment(row["last"])]
        rows.append([f"{row['requests']:,}", entries_text(row["entries"]), rule_text(row), *times])
    yield from _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = [
        all(cell[:1].isdigit() and "-" not in cell and ":" not in cell for cell in column[1:])
        for column in zip(*rows, strict=True)
    ]
    for row in rows:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def bucket_time(text: str) -> float:
    """Unix seconds of a bucket's time."""
    return datetime.fromisoformat(text).timestamp()
