"""The overview's panels as a picture, drawn from what Prometheus has: so that a reader sees what they show."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

from examples.observe.faults import Event
from examples.observe.programs import Prometheus, Tree

OVERVIEW = Path(__file__).parents[2] / "k8s" / "components" / "dashboards" / "overview.json"
PANELS = (
    "Answers by verdict",
    "Refused share",
    "Time of a check",
    "What Envoy saw",
    "Why limits are weaker than written",
    "Revisions over pods",
)
_STEP_SECONDS = 1.0
_RATE_INTERVAL = "8s"
"""Eight scrapes: twice what Grafana takes at least, for calmer lines."""
_COLORS = {"green": "#3f9b5b", "orange": "#e08a2c", "red": "#c93a3a", "dark-red": "#7d1f1f", "yellow": "#d9b52c"}
_CYCLE = ("#1f6feb", "#8f6bb3", "#2ca3a3", "#c98a1b", "#9aa0a6", "#c96aa0")
_UNITS = {"cps": "a second", "percentunit": "%", "s": "ms", "short": ""}


def draw(path: Path, prometheus: Prometheus, start: float, end: float, events: Sequence[Event]) -> None:
    """Write *path*: the panels from *start* to *end*, in Unix seconds, with the names of what happened."""
    panels = {panel["title"]: panel for panel in json.loads(OVERVIEW.read_text())["panels"] if panel["type"] != "row"}
    figure, axes = plt.subplots(3, 2, figsize=(13, 9), sharex=True, layout="constrained")
    for axis, title in zip(axes.flat, PANELS, strict=True):
        panel = panels[title]
        series = [
            (legend, values)
            for target in panel["targets"]
            for legend, values in _series(prometheus, target, start, end)
        ]
        _panel(axis, panel, series, end - start)
        for event in events:
            axis.axvline(event.at - start, color="#555555", linewidth=0.6, linestyle=":")
    for number, event in enumerate(events[:-1], 1):
        for axis in axes[0]:
            axis.annotate(
                str(number),
                (event.at - start, 1),
                xycoords=("data", "axes fraction"),
                fontsize=8,
                va="bottom",
                ha="center",
            )
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    told = "   ".join(f"{number} {event.text}" for number, event in enumerate(events[:-1], 1))
    figure.suptitle(f"RLS / Overview, from a run of `make observe`\n{told}", fontsize=10)
    # Nothing that differs from run to run but the data.
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _series(prometheus: Prometheus, target: Tree, start: float, end: float) -> list[tuple[str, Mapping[float, float]]]:
    """Legend and values by time of each series of a query."""
    expr = target["expr"].replace("$__rate_interval", _RATE_INTERVAL)
    found = list[tuple[str, Mapping[float, float]]]()
    for each in prometheus.query_range(expr, start, end, _STEP_SECONDS):
        legend = target["legendFormat"]
        for label, value in each["metric"].items():
            legend = legend.replace(f"{{{{{label}}}}}", value)
        found.append((legend, {float(at) - start: float(value) for at, value in each["values"]}))
    return found


def _panel(axis: Any, panel: Tree, series: Sequence[tuple[str, Mapping[float, float]]], seconds: float) -> None:
    """Draw a panel as Grafana would: lines, areas that are stacked, or a row for each state."""
    defaults = panel["fieldConfig"]["defaults"]
    unit = defaults["unit"]
    axis.set_title(panel["title"], fontsize=10, loc="left")
    axis.set_xlim(0, seconds)
    axis.spines[["top", "right"]].set_visible(False)
    if panel["type"] == "state-timeline":
        _timeline(axis, series)
        return
    axis.set_ylabel(_UNITS[unit], fontsize=8)
    times = [step * _STEP_SECONDS for step in range(int(seconds / _STEP_SECONDS) + 1)]
    drawn = [(name, [_at(values, time) for time in times]) for name, values in series]
    drawn = [(name, values) for name, values in drawn if any(value > 0 for value in values)]
    colors = [_color(panel, name, number) for number, (name, _) in enumerate(drawn)]
    if defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal":
        lines = [[0 if math.isnan(value) else value for value in values] for _, values in drawn]
        axis.stackplot(times, *lines, labels=[name for name, _ in drawn], colors=colors, alpha=0.75)
    else:
        for (name, values), color in zip(drawn, colors, strict=True):
            axis.plot(times, values, label=name, color=color, linewidth=1)
    if unit == "s":
        axis.set_yscale("log")
        for step in defaults["thresholds"]["steps"][1:]:
            axis.axhline(step["value"], color=_COLORS["red"], linewidth=0.8, linestyle="--")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1000 * value:g}"))
    else:
        axis.set_ylim(bottom=0)
        scale = 100 if unit == "percentunit" else 1
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{scale * value:g}"))
    axis.legend(fontsize=7, loc="upper left", ncols=2, framealpha=0.6)


def _timeline(axis: Any, series: Sequence[tuple[str, Mapping[float, float]]]) -> None:
    for row, (_, values) in enumerate(series):
        axis.broken_barh(_spans(values), (row - 0.35, 0.7), color=_COLORS["red"], linewidth=0)
    axis.set_yticks(range(len(series)), [name for name, _ in series], fontsize=8)
    axis.set_ylim(-0.6, max(len(series) - 0.4, 1))


def _spans(values: Mapping[float, float]) -> list[tuple[float, float]]:
    """Start and length of each time without a gap in which the value is not 0."""
    found: list[tuple[float, float]] = []
    for time in sorted(time for time, value in values.items() if value > 0):
        if found and time - sum(found[-1]) < _STEP_SECONDS / 2:
            found[-1] = (found[-1][0], time + _STEP_SECONDS - found[-1][0])
        else:
            found.append((time, _STEP_SECONDS))
    return found


def _at(values: Mapping[float, float], time: float) -> float:
    """The value at that time; NaN if none."""
    near = min(values, key=lambda each: abs(each - time), default=None)
    return values[near] if near is not None and abs(near - time) < _STEP_SECONDS / 2 else math.nan


def _color(panel: Tree, name: str, number: int) -> str:
    """That of the panel's overrides, or the next of a cycle."""
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == name:
            return _COLORS[override["properties"][0]["value"]["fixedColor"]]
    return _CYCLE[number % len(_CYCLE)]
