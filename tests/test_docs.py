"""What the pages name is there: settings, flags and metrics."""

import re
from pathlib import Path

import pytest

from rls.settings import RENAMED, Settings, flag, old_flag, unknown_variables, variable

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
METRICS = (Path(__file__).with_name("surface.txt")).read_text().partition("# metrics")[2].split()
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pages
def test_every_variable_named_is_a_setting(page: Path) -> None:
    """By its present name."""
    named = dict.fromkeys(re.findall(r"\bRLS_[A-Z_]+[A-Z]\b", page.read_text()), "x")
    assert list(unknown_variables(named)) == []
    assert named.keys() & {variable(old) for old in RENAMED} == set()


@pages
def test_no_flag_has_an_old_name(page: Path) -> None:
    old = "|".join(old_flag(name) for name in RENAMED)
    assert re.findall(rf"(?<![\w-])(?:{old})(?![\w-])", page.read_text()) == []


@pages
def test_every_metric_named_exists(page: Path) -> None:
    known = {name.removesuffix(suffix) for name in METRICS for suffix in ("", "_total")}
    named = re.findall(r"\brls_[a-z_]*[a-z]\b", page.read_text())
    assert [name for name in named if re.sub(r"_(total|bucket|count|sum)$", "", name) not in known] == []


@pages
def test_every_flag_of_serve_named_exists(page: Path) -> None:
    known = {flag(text) for name in Settings.model_fields for text in (name, f"no_{name}")}
    commands = re.findall(r"^\$ rls serve (.*)$", page.read_text(), re.MULTILINE)
    assert [word for command in commands for word in re.findall(r"--[a-z-]+", command) if word not in known] == []
