"""The picture of a soak: what a server held over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one time, in *seconds* since the start."""

    seconds: float
    resident_mib: float
    files: int
    series: int


def draw(path: Path, samples: Sequence[Sample], about: Mapping[str, str]) -> None:
    """Write *path*: memory, file descriptors and series over the minutes, each from 0."""
    figure, axes = plt.subplots(3, 1, figsize=(10, 7), sharex=True, layout="constrained")
    minutes = [sample.seconds / 60 for sample in samples]
    for axis, label, values in (
        (axes[0], "resident memory, MiB", [sample.resident_mib for sample in samples]),
        (axes[1], "file descriptors", [sample.files for sample in samples]),
        (axes[2], "series in /metrics", [sample.series for sample in samples]),
    ):
        axis.plot(minutes, values, color="#1f6feb", linewidth=1)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("minutes")
    figure.suptitle(f"mixed traffic  ·  {about['interpreter']}  ·  {about['commit']}", fontsize=10)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
