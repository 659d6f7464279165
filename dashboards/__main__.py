"""`python -m dashboards`: write the dashboards' JSON; with --check, say what would change."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.mesh import mesh
from dashboards.overload import overload
from dashboards.overview import overview
from dashboards.redis import redis
from dashboards.rules import rules
from dashboards.usage import usage

FOLDER = Path(__file__).parents[1] / "k8s" / "components" / "dashboards"
DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "overview": overview,
    "rules": rules,
    "redis": redis,
    "overload": overload,
    "mesh": mesh,
    "usage": usage,
}
"""By the name of the file."""


def text(dashboard: Dashboard) -> str:
    """The JSON that Grafana reads."""
    return json.dumps(dashboard, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def all_texts() -> dict[str, str]:
    """Of each dashboard, by the name of its file."""
    return {f"{name}.json": text(make()) for name, make in DASHBOARDS.items()}


def tree(name: str) -> dict[str, Any]:
    """A dashboard as Grafana reads it, by its key in `DASHBOARDS`."""
    found: dict[str, Any] = json.loads(text(DASHBOARDS[name]()))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file would change")
    check = parser.parse_args().check
    wanted = all_texts()
    there = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    stale = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    if check:
        for name in stale:
            print(f"{FOLDER / name} is not what dashboards/ makes: run `make dashboards`", file=sys.stderr)
        return int(bool(stale))
    for name in stale:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name])
        else:
            (FOLDER / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
