"""What a replay came to, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rls.observe.entries import shown
from rls.printable import printable
from rls.tools.replay.order import Lines
from rls.tools.replay.play import Replay, Side
from rls.tools.replay.tallies import Refused, Span
from rls.utc import utc


def report(replay: Replay, lines: Lines, logs: Sequence[str], most: int, notes: Sequence[str] = ()) -> dict[str, Any]:
    """All of it, with the *most* frequent entries of each list; *notes* say what makes it doubtful."""
    found: dict[str, Any] = {
        "logs": [printable(name) for name in logs],
        "requests": replay.requests,
        "first": _time(replay.first) if replay.requests else None,
        "last": _time(replay.last) if replay.requests else None,
        "lines": _lines(lines),
        "notes": [printable(note) for note in notes],
        "recorded": replay.recorded._asdict() if replay.recorded.known else None,
        "rules": [_side(side, most) for side in replay.sides],
    }
    if len(replay.sides) > 1:
        found["newly_refused"] = _refused(replay.newly, most)
        found["no_longer_refused"] = _refused(replay.no_longer, most)
    width = replay.timeline.width
    found["timeline"] = {"seconds": width, "buckets": list(_buckets(replay))}
    return found


def _lines(lines: Lines) -> dict[str, Any]:
    return {
        "read": lines.read,
        "unreadable": lines.unreadable,
        "shown": [{"place": printable(place), "reason": printable(reason)} for place, reason in lines.shown],
        "skipped": lines.skipped,
        "without_descriptor": lines.bare,
        "out_of_order": lines.out_of_order,
        "furthest_seconds": round(lines.furthest, 3),
        "late": lines.late,
        "broken": [{"log": printable(name), "reason": printable(reason)} for name, reason in lines.broken],
    }


def _side(side: Side, most: int) -> dict[str, Any]:
    rules = sorted(side.tallies.values(), key=lambda tally: -(tally.refused.count if tally.refused else 0))
    return {
        "config": printable(side.name),
        **_refused(side.refused, most),
        "unlimited": side.unlimited,
        "no_room": side.no_room,
        "evicted": side.evicted,
        "by_rule": [
            {
                **{name: printable(text) for name, text in tally.rule.fields.items()},
                "limit": tally.limit,
                "refused": _span(tally.refused),
                "shadow": _span(tally.shadow),
            }
            for tally in rules
        ],
    }


def _refused(refused: Refused, most: int) -> dict[str, Any]:
    rows = [
        {
            **{name: printable(text) for name, text in who.rule.fields.items()},
            "entries": shown(who.entries),
            "requests": who.requests,
            "first": _time(who.first),
            "last": _time(who.last),
        }
        for who in refused.top(most)
    ]
    return {
        "refused": refused.total,
        "first": None if refused.first is None else _time(refused.first),
        "last": None if refused.first is None else _time(refused.last),
        "error": refused.error,
        "top": rows,
    }


def _span(span: Span | None) -> dict[str, Any] | None:
    return None if span is None else {"count": span.count, "first": _time(span.first), "last": _time(span.last)}


def _buckets(replay: Replay) -> Iterator[dict[str, Any]]:
    sides = len(replay.sides)
    for at, bucket in replay.timeline.rows():
        yield {"time": utc(at), "requests": bucket.requests, "refused": bucket.refused[:sides]}


def _time(at: float) -> str:
    return utc(at, "milliseconds")
