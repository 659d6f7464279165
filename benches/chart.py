"""The picture of a run: checks per second and CPU of a check, each server a bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from benches.report import Row

_COLORS = {
    "rls": "#1f6feb",
    "rls on grpcio": "#84b6f4",
    "ratelimit (Go)": "#c98a1b",
    "Limitador": "#8f6bb3",
    "grpc.aio echo": "#9aa0a6",
}


def draw(path: Path, rows: Sequence[Row], about: Mapping[str, str]) -> None:
    """Write *path* from the loads with 64 in flight."""
    panels = []
    for backend in ("memory", "Redis"):
        for descriptors in (1, 4):
            chosen = [
                row
                for row in rows
                if row.backend in {backend, ""}
                and (row.case.in_flight, row.case.descriptors, row.case.keys) == (64, descriptors, 1)
            ]
            panels.append((f"{backend}, {descriptors} descriptor{'s' * (descriptors > 1)}", chosen))
    figure, axes = plt.subplots(2, len(panels), figsize=(13, 6), sharey="row", layout="constrained")
    for column, (title, chosen) in enumerate(panels):
        _bars(axes[0][column], chosen, [row.cost.rate / 1000 for row in chosen], "{:.1f}")
        _bars(axes[1][column], chosen, [row.cost.cpu_us for row in chosen], "{:.0f}")
        axes[0][column].set_title(title, fontsize=10)
    axes[0][0].set_ylabel("thousand checks a second")
    axes[1][0].set_ylabel("CPU of a check, µs")
    figure.suptitle(
        f"64 in flight, one hot key, one core for the server  ·  {about['interpreter']}  ·  {about['date']}",
        fontsize=10,
    )
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _bars(axis: Any, rows: Sequence[Row], values: Sequence[float], label: str) -> None:
    names = [row.server for row in rows]
    bars = axis.bar(range(len(rows)), values, color=[_COLORS[name] for name in names])
    axis.bar_label(bars, [label.format(value) for value in values], fontsize=8)
    axis.set_xticks(range(len(rows)), [name.replace(" (", "\n(").replace(" ", "\n", 1) for name in names], fontsize=7)
    axis.spines[["top", "right"]].set_visible(False)
