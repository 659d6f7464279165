"""Drills take long, and are run by `make drills`; what they find goes into the page for those who are woken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.failures.drill import PATIENT, REAL, Pace, Report

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
TABLE = re.compile(r"(?<=<!-- drills: made by `make drills` -->\n)(?:\|.*\n)*")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--drills", action="store_true", help="run all drills, and write their table into the docs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the option, one drill stands for all, at a pace that any machine keeps."""
    if not config.getoption("--drills", False):
        here = [item for item in items if Path(__file__).parent in item.path.parents]
        left_out = [item for item in here if "kill_a_primary" not in item.name]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def pace(pytestconfig: pytest.Config) -> Pace:
    return REAL if pytestconfig.getoption("--drills", False) else PATIENT


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[Callable[[Report], None]]:
    """Takes the rows of the table, which is written when all drills are done."""
    rows: list[str] = []
    yield lambda one: rows.append(one.row())
    text = f"{Report.head()}\n" + "".join(f"{row}\n" for row in rows)
    if pytestconfig.getoption("--drills", False):
        PAGE.write_text(TABLE.sub(lambda _: text, PAGE.read_text()))
