"""Results as a table, a picture, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from benches.chart import draw
from benches.load import Case, Cost


class Row(NamedTuple):
    """What a load cost a server that counts in *backend*, "" for none."""

    server: str
    backend: str
    case: Case
    cost: Cost


def load_text(case: Case) -> str:
    keys = "1 key" if case.keys == 1 else f"{case.keys:,} keys"
    return f"{case.in_flight} in flight, {case.descriptors} descriptor{'s' * (case.descriptors > 1)}, {keys}"


def write(into: Path, name: str, about: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Write *name*.md, .svg and .json; the table is returned as well."""
    table = _markdown(name, about, rows)
    (into / f"{name}.md").write_text(table)
    draw(into / f"{name}.svg", rows, about)
    plain = [{"server": row.server, "backend": row.backend, **asdict(row.case), **asdict(row.cost)} for row in rows]
    (into / f"{name}.json").write_text(json.dumps({"about": about, "rows": plain}, indent=1) + "\n")
    return table


def _markdown(name: str, about: Mapping[str, str], rows: Sequence[Row]) -> str:
    loads = list(dict.fromkeys(row.case for row in rows))
    servers = list(dict.fromkeys((row.server, row.backend) for row in rows))
    found = {(row.server, row.backend, row.case): row.cost for row in rows}
    lines = ["# Checks per second, latency and CPU", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += [
        "- load: one hot key by h2load, many keys by `benches.client`",
        f"- other work on the machine meanwhile: at most {max(row.cost.others for row in rows):.2f} cores",
        "",
        f"![chart]({name}.svg)",
        "",
        "Each server is alone at work on core 0; load and Redis are on core 1. Only ratios within this run mean anything.",
    ]
    bases = [
        base for base in ("grpc.aio echo", "ratelimit (Go)", "Limitador") if any(base == row.server for row in rows)
    ]
    for base in bases:
        lines += ["", f"## Beside {base}", "", *_ratios(base, loads, servers, found)]
    lines += ["", "## Figures", "", *_figures(rows)]
    return "\n".join(lines) + "\n"


def _ratios(
    base: str,
    loads: Sequence[Case],
    servers: Sequence[tuple[str, str]],
    found: Mapping[tuple[str, str, Case], Cost],
) -> list[str]:
    """Of each of our servers to *base*: checks per second; CPU of the server; and of Redis, where both use it."""
    ours = [(name, backend) for name, backend in servers if name.startswith("rls")]
    pairs = []
    for name, backend in ours:
        other = next((b for n, b in servers if n == base and b in {"", backend}), None)
        if other is not None:
            pairs.append((name, backend, other))
    head = "".join(f" {name}, {backend} |" for name, backend, _ in pairs)
    lines = [
        "Checks per second, CPU of the server a check" + ", CPU of Redis a check" * bool(pairs and pairs[-1][2]),
        "",
    ]
    lines += [f"| load |{head}", "| --- |" + " ---: |" * len(pairs)]
    for case in loads:
        cells = []
        for name, backend, other in pairs:
            mine, theirs = found.get((name, backend, case)), found.get((base, other, case))
            cells.append(_ratio(mine, theirs) if mine and theirs else "")
        if any(cells):
            lines.append(f"| {load_text(case)} | " + " | ".join(cells) + " |")
    return lines


def _ratio(mine: Cost, theirs: Cost) -> str:
    ratios = [(mine.rate, theirs.rate), (mine.cpu_us, theirs.cpu_us), (mine.redis_us, theirs.redis_us)]
    return ", ".join(f"{a / b:.2f}" for a, b in ratios if b)


def _figures(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| load | server | counts in | checks/s | failed | p50 ms | p99 ms | CPU µs | Redis µs | commands |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for server, backend, case, cost in rows:
        redis = f"{cost.redis_us:.1f} | {cost.commands:.3f}" if backend == "Redis" else "|"
        lines.append(
            f"| {load_text(case)} | {server} | {backend or 'nothing'} | {cost.rate:,.0f} | {cost.failed:.0f} "
            f"| {cost.p50_ms:.2f} | {cost.p99_ms:.2f} | {cost.cpu_us:.1f} | {redis} |"
        )
    return lines
