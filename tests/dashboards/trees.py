"""The dashboards as Grafana reads them, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from tests.k8s.nodes import ROOT

Tree = dict[str, Any]
FOLDER = ROOT / "k8s" / "components" / "dashboards"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


class Query(NamedTuple):
    """A query of a panel: of which dashboard and panel, which of its queries, and its PromQL with variables.

    *instant*: it shows one time, and not all times.
    """

    dashboard: str
    panel: str
    ref: str
    expr: str
    instant: bool

    @property
    def place(self) -> str:
        return f"{self.dashboard}: {self.panel}: {self.ref}"


@cache
def committed(name: str) -> Tree:
    """What is in the repository; not to be changed."""
    tree: Tree = json.loads((FOLDER / f"{name}.json").read_text())
    return tree


def panels(tree: Tree) -> list[Tree]:
    """All but the headings of rows."""
    return [panel for panel in tree["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Of all panels, annotations and variables."""
    for name in NAMES:
        tree = committed(name)
        for panel in panels(tree):
            for target in panel["targets"]:
                yield Query(name, panel["title"], target["refId"], target["expr"], target["instant"])
        for annotation in tree["annotations"]["list"]:
            yield Query(name, "annotation", annotation["name"], annotation["expr"], instant=False)


def variables(tree: Tree) -> dict[str, str]:
    """The queries of its variables that Prometheus answers, by name."""
    return {each["name"]: each["query"] for each in tree["templating"]["list"] if each["type"] == "query"}
