"""The table of findings in docs/mesh-check.md. `python -m tests.mesh.check_page` writes it."""

from __future__ import annotations

import re
from pathlib import Path

from rls.mesh.catalogue import CATALOGUE, change

PAGE = Path(__file__).parents[2] / "docs" / "mesh-check.md"
_TABLE = re.compile(r"(?<=<!-- findings -->\n).*?(?=<!-- end -->)", re.DOTALL)


def table() -> str:
    """A row for each kind of finding, as it is at a sidecar."""
    rows = ["| code | severity | requests | change | do |", "|---|---|---|---|---|"]
    for code, entry in CATALOGUE.items():
        kind, file, field, how = change(entry, None)
        where = ", ".join(part for part in (kind, file and f"`{file}`", field and f"`{field}`") if part) or "–"
        rows.append(f"| `{code}` | {entry.severity} | {entry.traffic} | {where} | {how} |".replace("||", r"\|\|"))
    return "".join(f"{row}\n" for row in rows)


def shown() -> str:
    """The table that the page has."""
    found = _TABLE.search(PAGE.read_text())
    return found[0] if found else ""


if __name__ == "__main__":
    PAGE.write_text(_TABLE.sub(lambda _: table(), PAGE.read_text()))
