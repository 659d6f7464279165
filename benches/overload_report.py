"""The results of overloads, as a table, a picture, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt

_COLORS = {"rls": "#1f6feb", "rls on grpcio": "#84b6f4", "ratelimit (Go)": "#c98a1b"}
_COLUMNS = (
    *(
        "server",
        "peak/s",
        "offered",
        "in time",
        "worst",
        "of Envoy's",
        "p50 ms",
        "p99 ms",
        "refused",
        "given up",
        "late",
        "lost",
    ),
    *("RSS MiB", "normal after"),
)
_READING = """\
The peak is the best of some numbers of calls in flight. Calls are made at a rate, come what may, on 32 connections; each
is given up after 20 ms. The peak is measured just before and just after. The host of a machine may halve its speed for a
second, so a little piece of work measures the speed of the server's core all the time, and the peak is given as it would
be at the speed of the overload. *In time* is the share of the peak that was answered before that: the median of the rounds, and the worst of
them. *Lost* are connections that ended with calls under way. Each call that was given
up or not answered is in one of *refused*, *given up* and *late* (answered all the same, after it was given up). *Normal
after*: when at half of the peak nearly all calls were answered again; – where that took longer than a second.

The server is on core 0; load, Redis and Envoy (one thread, filter timeout 20 ms) are on core 1. On one core Envoy makes
too few requests for an overload, so it makes a tenth of them: *of Envoy's* is the share of its requests that were answered
in time, and the latencies are those of the calls beside it. *Lost* counts its connections as well."""


class Way(NamedTuple):
    """How it is asked: about how many companies, by requests of how many descriptors, and whether by an Envoy."""

    name: str
    keys: int
    descriptors: int
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of calls at a rate.

    Attributes:
        peak: Calls answered per second by clients that wait for answers, just before and after.
        offered: Calls per second.
        goodput: Answers in time per second.
        through_envoy: Share of the requests through Envoy that were answered in time; None without Envoy.
        refused: Calls that got something else than an answer, by what they got.
        timed_out: Calls that the client gave up.
        late: Calls that were answered after that.
        lost: Calls that ended with their connection; of Envoy's, connections that did.
        connections: Connections that the server ended.
        resident_mib: Of the server, afterwards.
        normal_after: Seconds; None where it was not.
        client_cpu: Share of a core that the client used.
        others: CPU that anything else on the machine used meanwhile, in cores.
    """

    peak: float
    offered: float
    goodput: float
    through_envoy: float | None
    refused: dict[str, int]
    timed_out: int
    late: int
    lost: int
    connections: int
    p50_ms: float
    p99_ms: float
    resident_mib: float
    normal_after: float | None
    client_cpu: float
    others: float

    @property
    def share(self) -> float:
        """Of the peak."""
        return self.goodput / self.peak


class Row(NamedTuple):
    """The median of some rounds, and the least share of the peak in any."""

    server: str
    way: Way
    times: float
    outcome: Outcome
    worst: float


def write(into: Path, name: str, about: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Write *name*.md, .svg and .json; the table is returned as well."""
    table = _markdown(name, about, rows)
    (into / f"{name}.md").write_text(table)
    _draw(into / f"{name}.svg", rows, about)
    plain = [{**row._asdict(), "way": row.way.name, "outcome": asdict(row.outcome)} for row in rows]
    (into / f"{name}.json").write_text(json.dumps({"about": about, "rows": plain}, indent=1) + "\n")
    return table


def _markdown(name: str, about: Mapping[str, str], rows: Sequence[Row]) -> str:
    lines = ["# Overload", "", *(f"- {key}: {value}" for key, value in about.items())]
    lines += [f"- other work on the machine meanwhile: at most {max(row.outcome.others for row in rows):.2f} cores"]
    lines += ["", f"![chart]({name}.svg)", "", _READING]
    for way in dict.fromkeys(row.way for row in rows):
        lines += ["", f"## {way.name[0].upper()}{way.name[1:]}", ""]
        lines += [f"| {' | '.join(_COLUMNS)} |", f"| {' | '.join(map(_rule, _COLUMNS))} |"]
        lines += [_line(row) for row in rows if row.way == way]
    return "\n".join(lines) + "\n"


def _rule(column: str) -> str:
    return "---" if column in {"server", "refused"} else "---:"


def _line(row: Row) -> str:
    one = row.outcome
    refused = ", ".join(f"{count} {what}" for what, count in one.refused.items() if count) or "–"
    proxied = "–" if one.through_envoy is None else f"{one.through_envoy:.0%}"
    normal = "–" if one.normal_after is None else f"{one.normal_after:.1f} s"
    cells = [
        *(row.server, f"{one.peak:,.0f}", f"{one.offered / one.peak:.2f}", f"{one.share:.0%}"),
        *(
            f"{row.worst:.0%}",
            proxied,
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            refused,
            str(one.timed_out),
            str(one.late),
        ),
        *(str(one.connections), f"{one.resident_mib:.0f}", normal),
    ]
    return f"| {' | '.join(cells)} |"


def _draw(path: Path, rows: Sequence[Row], about: Mapping[str, str]) -> None:
    ways = list(dict.fromkeys(row.way for row in rows))
    figure, axes = plt.subplots(
        1, len(ways), figsize=(4 * len(ways), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, way in zip(axes[0], ways, strict=True):
        for server in dict.fromkeys(row.server for row in rows):
            mine = [row for row in rows if (row.server, row.way) == (server, way)]
            offered = [row.times for row in mine]
            shares = [100 * row.outcome.share for row in mine]
            axis.plot(
                offered,
                shares,
                marker="o",
                color=_COLORS[server],
                label=f"{server}, peak {mine[0].outcome.peak:,.0f}/s",
            )
            axis.fill_between(offered, [100 * row.worst for row in mine], shares, color=_COLORS[server], alpha=0.2)
        axis.plot([0, 1, 3], [0, 100, 100], color="#bbbbbb", linestyle=":", linewidth=1)
        axis.set(title=way.name, xlabel="offered, of the peak", ylim=(0, 112), xlim=(0.3, 3.2))
        axis.title.set_fontsize(9)
        axis.legend(fontsize=7, loc="lower right")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("answered in 20 ms, % of the peak")
    figure.suptitle(f"One core for the server  ·  {about['interpreter']}  ·  {about['date']}", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
