"""The pages list the spans, their attributes, and the fields of the decision log as the code has them."""

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest

from rls.observe.decision_log import FIELDS
from rls.observe.spans import ATTRIBUTES, SPANS

DOCS = Path(__file__).parents[2] / "docs"


def table(page: str, heading: str) -> dict[str, str]:
    """The rows of the first table below a *heading* of the page."""
    below = (DOCS / page).read_text().partition(f"\n{heading}\n")[2]
    first = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert first is not None
    rows = (line.strip("|\n").split("|", 1) for line in first[0].splitlines()[2:])
    return {name.strip().strip("`"): text.strip() for name, text in rows}


@pytest.mark.parametrize(
    ("page", "heading", "listed"),
    [
        ("tracing.md", "## Spans", SPANS),
        ("tracing.md", "## Attributes", ATTRIBUTES),
        ("decision-log.md", "## Fields", FIELDS),
    ],
)
def test_the_page_lists_what_the_code_has(page: str, heading: str, listed: Mapping[str, str]) -> None:
    assert list(table(page, heading).items()) == list(listed.items())


def test_attributes_of_our_own_have_our_prefix() -> None:
    others = {name.partition(".")[0] for name in ATTRIBUTES if not name.startswith("rls.")}
    assert others == {"rpc", "network", "server", "db", "error"}


def test_all_other_attributes_are_of_opentelemetrys_conventions() -> None:
    modules = ("rpc", "network", "server", "db", "error")
    known = {
        value
        for name in modules
        for value in vars(import_module(f"opentelemetry.semconv._incubating.attributes.{name}_attributes")).values()
        if isinstance(value, str)
    }
    assert [name for name in ATTRIBUTES if not name.startswith("rls.") and name not in known] == []
