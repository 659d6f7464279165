"""A replay as one page of HTML, with the picture and the lists; it needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from rls.cli.replay_chart import chart
from rls.cli.replay_text import counted, moment, share, span_text
from rls.cli.rows import rule_text
from rls.observe.entries import entries_text

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --line: #dfe5eb; --paper: #ffffff }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa8b6; --line: #2c3742; --paper: #10161c } }
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: var(--paper);
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem } p { margin: .3rem 0; color: var(--soft) }
svg { width: 100%; height: auto; margin: 1rem 0 } .scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .9rem } caption { text-align: left; color: var(--soft) }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600 } td { overflow-wrap: break-word } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.time { white-space: nowrap }
"""


def page(found: Mapping[str, Any]) -> str:
    """The page of *found*, a report of `rls.tools.replay.report`."""
    title = f"Replay of {', '.join(found['logs'])}"
    body = "\n".join(_body(found, title))
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n<main>\n{body}\n</main>\n</html>\n"
    )


def _body(found: Mapping[str, Any], title: str) -> Iterator[str]:
    total = found["requests"]
    yield f"<h1>{escape(title)}</h1>"
    for note in found["notes"]:
        yield f"<p><strong>Note:</strong> {escape(note)}</p>"
    if not total:
        yield "<p>Nothing was played.</p>"
        return
    lines = found["lines"]
    lost = f"; {counted(lines['unreadable'], 'line')} could not be read" if lines["unreadable"] else ""
    yield f"<p>{counted(total, 'request')}, {escape(span_text(found['first'], found['last']))}{lost}.</p>"
    for side in found["rules"]:
        yield f"<p>{escape(side['config'])} refuses {side['refused']:,} of them, {share(side['refused'], total)}.</p>"
    if "newly_refused" in found:
        new, old = found["newly_refused"]["refused"], found["no_longer_refused"]["refused"]
        yield f"<p>Newly refused: {new:,}. No longer refused: {old:,}.</p>"
    yield chart(found)
    for side in found["rules"]:
        yield from _rules(side)
        yield from _who(f"Most refused by {side['config']}", side)
    if "newly_refused" in found:
        yield from _who("Newly refused", found["newly_refused"])
        yield from _who("No longer refused", found["no_longer_refused"])


def _rules(side: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for row in side["by_rule"]:
        numbers = [f"{span['count'] if span else 0:,}" for span in (row["refused"], row["shadow"])]
        spans = [span for span in (row["refused"], row["shadow"]) if span]
        times = [moment(min(span["first"] for span in spans)), moment(max(span["last"] for span in spans))]
        rows.append([*numbers, rule_text(row), row["limit"], *times])
    if rows:
        head = ["Refused", "In shadow mode", "Rule", "Limit", "First (UTC)", "Last (UTC)"]
        yield from _table(f"Rules of {side['config']} that refused", "", head, rows)


def _who(title: str, refused: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        [
            f"{row['requests']:,}",
            entries_text(row["entries"]),
            rule_text(row),
            moment(row["first"]),
            moment(row["last"]),
        ]
        for row in refused["top"]
    ]
    note = f"Each may have up to {refused['error']:,} more." if refused["error"] else ""
    if rows:
        yield from _table(title, note, ["Requests", "Entries", "Rule", "First (UTC)", "Last (UTC)"], rows)


def _table(title: str, note: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    numbers = 2 if head[1] == "In shadow mode" else 1
    kinds = [
        "number" if at < numbers else "time" if at >= len(head) - 2 or head[at] == "Limit" else ""
        for at in range(len(head))
    ]
    yield f"<h2>{escape(title)}</h2>\n<div class=scroll><table>"
    if note:
        yield f"<caption>{escape(note)}</caption>"
    cells = "".join(f'<th scope="col" class="{kind}">{escape(text)}' for kind, text in zip(kinds, head, strict=True))
    yield f"<thead><tr>{cells}</thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(f'<td class="{kind}">{escape(text)}' for kind, text in zip(kinds, row, strict=True))
    yield "</tbody></table></div>"
