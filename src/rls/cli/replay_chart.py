"""A replay as a picture: allowed and refused requests over time, in SVG, for light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, NamedTuple

from rls.cli.replay_text import STEPS, bucket_time, counted, every, share, span_text

_WIDTH, _LEFT, _RIGHT = 960, 76, 24
_MOST_TICKS = 8
_STYLE = """
svg { --ink: #1c2733; --soft: #5b6b7b; --grid: #dfe5eb; --paper: #ffffff; --allowed: #8fb3d9; --refused: #c43d1f; --old: #6b3fa0 }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --soft: #9aa8b6; --grid: #2c3742; --paper: #10161c; --allowed: #3f6a99; --refused: #ff7a59; --old: #c9a6ff }
}
.paper { fill: var(--paper) } .allowed { fill: var(--allowed) } .refused { fill: var(--refused) }
.old { fill: none; stroke: var(--old); stroke-width: 2 } .grid { stroke: var(--grid) } .axis { stroke: var(--soft) }
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: var(--soft) }
.title { font-size: 17px; font-weight: 600; fill: var(--ink) } .name { fill: var(--ink); font-weight: 600 }
"""


class _Panel(NamedTuple):
    """A part of the picture with a scale of its own: its top and height in pixels, and the value at its top."""

    top: int
    height: int
    most: float

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - value / self.most)


def chart(found: Mapping[str, Any]) -> str:
    """The picture of *found*, a report of `rls.tools.replay.report`: all requests above, the refused ones below."""
    rows, width = found["timeline"]["buckets"], found["timeline"]["seconds"]
    requests = [row["requests"] for row in rows] or [0]
    refused = [[row["refused"][side] for row in rows] or [0] for side in range(len(found["rules"]))]
    begin = bucket_time(rows[0]["time"]) if rows else 0.0
    upper = _Panel(104, 190, _top(max(requests)))
    lower = _Panel(352, 110, _top(max(map(max, refused))))
    edges = [_LEFT + (_WIDTH - _LEFT - _RIGHT) * number / len(requests) for number in range(len(requests) + 1)]
    body = [
        *_scale(upper, f"Requests each {every(width)}"),
        *_scale(lower, f"Refused each {every(width)}"),
        f'<path class="allowed" d="{_area(upper, requests, edges)}"/>',
        f'<path class="refused" d="{_area(upper, refused[0], edges)}"/>',
        f'<path class="refused" d="{_area(lower, refused[0], edges)}"/>',
    ]
    if len(refused) > 1:
        body.append(f'<path class="old" d="{_steps(lower, refused[1], edges)}"/>')
    body += _times(begin, begin + width * len(requests), lower)
    return "\n".join([*_head(found), *body, "</svg>", ""])


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    total, sides = found["requests"], found["rules"]
    title = f"{counted(total, 'request')} replayed"
    when = span_text(found["first"], found["last"]) if total else "nothing was played"
    said = [
        f"{side['refused']:,} ({share(side['refused'], total)}) refused by {_end(side['config'])}" for side in sides
    ]
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} 510" role="img" aria-labelledby="t d">'
    yield f'<title id="t">{escape(title)}</title><desc id="d">{escape("; ".join([when, *said]))}</desc>'
    yield f'<style>{_STYLE}</style><rect class="paper" width="{_WIDTH}" height="510"/>'
    yield f'<text class="title" x="{_LEFT}" y="30">{escape(title)}</text>'
    yield f'<text x="{_WIDTH - _RIGHT}" y="30" text-anchor="end">{escape(when)}</text>'
    x = float(_LEFT)
    kinds = ["allowed", "refused", "old"]
    for kind, text in zip(kinds, [f"{total - sides[0]['refused']:,} allowed", *said], strict=False):
        mark = f'<path class="old" d="M{x:.0f},57h14"/>'
        yield mark if kind == "old" else f'<rect class="{kind}" x="{x:.0f}" y="50" width="14" height="14" rx="2"/>'
        yield f'<text x="{x + 20:.0f}" y="62">{escape(text)}</text>'
        x += 46 + 7.3 * len(text)


def _end(name: str) -> str:
    """The end of *name*, where it is too long to stand beside others."""
    return name if len(name) <= 22 else f"…{name[-21:]}"


def _scale(panel: _Panel, name: str) -> Iterator[str]:
    """Lines across *panel* at round values, and what it shows."""
    yield f'<text class="name" x="{_LEFT}" y="{panel.top - 12}">{escape(name)}</text>'
    for part in range(5 if panel.most >= 4 and panel.most % 4 == 0 else 2):
        value = panel.most * part / (4 if panel.most >= 4 and panel.most % 4 == 0 else 1)
        y = panel.y(value)
        kind = "axis" if part == 0 else "grid"
        yield f'<path class="{kind}" d="M{_LEFT},{y:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 10}" y="{y + 4.5:.1f}" text-anchor="end">{value:,.0f}</text>'


def _times(begin: float, end: float, panel: _Panel) -> Iterator[str]:
    """The axis of time below *panel*."""
    step = next((step for step in STEPS if (end - begin) / step <= _MOST_TICKS), STEPS[-1])
    bottom, across = panel.top + panel.height, _WIDTH - _LEFT - _RIGHT
    day = ""
    at = -(-begin // step) * step
    while at <= end:
        x = _LEFT + across * (at - begin) / (end - begin)
        moment = datetime.fromtimestamp(at, UTC)
        yield f'<path class="axis" d="M{x:.1f},{bottom}v5"/>'
        clock = moment.strftime("%H:%M:%S" if step < 60 else "%H:%M")
        text = f"{moment:%d %b}" if step >= 86_400 else clock
        yield f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{text}</text>'
        if step < 86_400 and f"{moment:%d %b}" != day:
            day = f"{moment:%d %b}"
            yield f'<text x="{x:.1f}" y="{bottom + 37}" text-anchor="middle">{day}</text>'
        at += step
    yield f'<text x="{_WIDTH - _RIGHT}" y="{bottom + 37}" text-anchor="end">UTC</text>'


def _area(panel: _Panel, values: Sequence[float], edges: Sequence[float]) -> str:
    base = panel.top + panel.height
    return f"M{edges[0]:.1f},{base}{_steps(panel, values, edges).replace('M', 'L', 1)}L{edges[-1]:.1f},{base}Z"


def _steps(panel: _Panel, values: Sequence[float], edges: Sequence[float]) -> str:
    path = f"M{edges[0]:.1f},{panel.y(values[0]):.1f}"
    for value, edge in zip(values, edges[1:], strict=True):
        path += f"V{panel.y(value):.1f}H{edge:.1f}"
    return path


def _top(most: float) -> float:
    """A round number that is not below *most*, in which four parts are whole numbers where it is large enough."""
    scale = 1
    while True:
        for number in (1, 2, 4, 8) if scale == 1 else (0.8, 1.2, 1.6, 2, 2.4, 3.2, 4, 6):
            if number * scale >= most:
                return number * scale
        scale *= 10
