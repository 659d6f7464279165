"""What the pages name is there: settings, commands, flags and metrics."""

import ast
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from rls.cli import app
from rls.cli.usage import UsageError, mistake
from rls.settings import RENAMED, old_flag, unknown_variables, variable
from tests.alerts.rules import groups

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
METRICS = (Path(__file__).with_name("surface.txt")).read_text().partition("# metrics")[2].split()
ADAPTER = ROOT / "k8s" / "components" / "autoscaling-by-lateness" / "adapter.yaml"
OF_THE_ADAPTER = {rule["name"]["as"] for rule in yaml.safe_load(ADAPTER.read_text())["rules"]}
"""What the autoscaler asks for."""
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
    known = {name.removesuffix(suffix) for name in METRICS for suffix in ("", "_total")} | OF_THE_ADAPTER
    named = re.findall(r"(?<![\w:])rls_[a-z_]*[a-z]\b(?!:)", page.read_text())
    assert [name for name in named if re.sub(r"_(total|bucket|count|sum)$", "", name) not in known] == []


@pages
def test_every_recorded_series_named_exists(page: Path) -> None:
    recorded = {rule.get("record") for group in groups() for rule in group["rules"]}
    named = re.findall(r"\b[a-z_]+:(?:rls|envoy)_\w+:\w+\b", page.read_text())
    assert [name for name in named if name not in recorded] == []


@pages
def test_every_command_named_exists_with_its_options(page: Path) -> None:
    assert [(command, wrong) for command in _commands(page.read_text()) if (wrong := _wrong(command))] == []


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("rls cal HOST:8081", "no such command"),
        ("rls counter rest", "no such command"),
        ("rls call HOST:8081 --domains mesh", "no such option"),
        ("rls serve --configs rules.yaml &", "no such option"),
        ("rls call HOST:8081 --domain mesh company_id=acme | grep --count OK", ""),
    ],
)
def test_a_command_that_does_not_exist_is_seen(command: str, wrong: str) -> None:
    assert _wrong(command).startswith(wrong)
    assert bool(_wrong(command)) == bool(wrong)


def _commands(page: str) -> Iterator[str]:
    """What a page calls of `rls`, in sessions of a shell and between words."""
    for session in re.findall(r"^```console$(.*?)^```$", page.replace("\\\n", " "), re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^\$ (?!helm )(.*)", session, re.MULTILINE):
            yield from re.findall(r"(?:^|[ /(])(rls [a-z].*)", line)
    yield from re.findall(r"`(rls [a-z][^`\n]*)`", page)


def _wrong(line: str) -> str:
    """What is wrong with the command and the options in a line of a shell; "" where nothing is."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    args = list(takewhile(lambda word: word[0] not in ";|&<>", words))[1:]
    command: Any = get_command(app)
    context = command.context_class(command)
    try:
        while args and hasattr(command, "resolve_command"):
            _, command, args = command.resolve_command(context, args)
            context = command.context_class(command, parent=context)
        command.make_parser(context).parse_args(args)
    except UsageError as error:
        return mistake(error)
    return ""


def test_every_log_event_is_listed_with_what_to_do() -> None:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "src").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    logged = {
        node.args[0].value
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"info", "warning", "error"}
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and re.fullmatch(r"[a-z]+(_[a-z]+)+", str(node.args[0].value))
    }
    section = (ROOT / "docs" / "operations.md").read_text().partition("\n## Logs\n")[2].partition("\n### ")[0]
    named = re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*)", section, re.MULTILINE)
    listed = set(re.findall(r"[a-z_]+", " ".join(named)))
    assert logged - listed == set()
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    assert listed - texts == set()
