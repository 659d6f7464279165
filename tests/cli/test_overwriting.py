"""No command writes to a file that it reads, or twice to one file."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rls.cli import app

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: minute, requests_per_unit: 3}
"""
TEST = "about: One request passes.\nconfig: rules.yaml\nsteps: [{ask: {company_id: a}, answer: OK}]\n"
LINE = {"time": 1_796_000_000, "company_id": "acme", "address": "10.0.0.1", "flags": "-"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a log, rules and tests; some of them are linked to."""
    monkeypatch.chdir(tmp_path)
    files = {"rules.yaml": RULES, "t.yaml": TEST, "acc.log": json.dumps(LINE) + "\n", "linked.txt": RULES, "key": "k\n"}
    for name, text in files.items():
        Path(name).write_text(text)
    Path("dir").mkdir()
    Path("dir/a.yaml").symlink_to("../linked.txt")
    Path("link").symlink_to("acc.log")
    os.link("acc.log", "hard")
    Path("nowhere").symlink_to("new")
    return tmp_path


def contents() -> dict[str, str]:
    return {str(path): path.read_text() for path in Path().rglob("*") if path.is_file()}


REPLAY = "replay acc.log --config rules.yaml"
OVERWRITING = {
    f"{REPLAY} --svg acc.log": "--svg is acc.log, the log that is read",
    f"{REPLAY} --svg ./dir/../acc.log": "--svg is dir/../acc.log, the log that is read",
    f"{REPLAY} --svg link": "--svg is link, the log that is read",
    f"{REPLAY} --svg hard": "--svg is hard, the log that is read",
    f"{REPLAY} --html rules.yaml": "--html is rules.yaml, the rules of --config",
    f"{REPLAY} --against linked.txt --html linked.txt": "--html is linked.txt, the rules of --against",
    f"{REPLAY} --against dir --svg dir/new.yaml": "--svg is dir/new.yaml, which would be read with the rules of --against",
    f"{REPLAY} --against dir --svg linked.txt": "--svg is linked.txt, which would be read with the rules of --against",
    f"{REPLAY} --svg o --html dir/../o": "--html is dir/../o, as --svg is",
    f"{REPLAY} --svg nowhere --html new": "--html is new, as --svg is",
    "test t.yaml --junit t.yaml": "--junit is t.yaml, a test that is read",
    "test t.yaml --junit rules.yaml": "--junit is rules.yaml, the rules of a test",
    "test t.yaml --config linked.txt --junit linked.txt": "--junit is linked.txt, the rules of --config",
    "test . --junit new.yaml": "--junit is new.yaml, which would be read with the tests",
    "serve --config rules.yaml --decision-log rules.yaml": "--decision-log is rules.yaml, the rules of --config",
    "serve --config dir --decision-log dir/new.yml": (
        "--decision-log is dir/new.yml, which would be read with the rules of --config"
    ),
    "serve --config rules.yaml --tls-cert cert --tls-key key --decision-log key": (
        "--decision-log is key, the file of --tls-key"
    ),
    "serve --config rules.yaml --admin-token-file key --decision-log key": (
        "--decision-log is key, the file of --admin-token-file"
    ),
    "serve --config rules.yaml --backend redis://h?password_file=key --decision-log key": (
        "--decision-log is key, a file of --backend"
    ),
}  # fmt: skip
"""Commands that would write over a file, and what is wrong."""


@pytest.mark.parametrize("arguments", OVERWRITING)
def test_nothing_that_is_read_is_written_over(arguments: str) -> None:
    before = contents()
    result = CliRunner().invoke(app, shlex.split(arguments))
    message = f"rls: {OVERWRITING[arguments]}: expected another file\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)
    assert contents() == before


def test_variables_are_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLS_CONFIG", "rules.yaml")
    monkeypatch.setenv("RLS_DECISION_LOG", "rules.yaml")
    result = CliRunner().invoke(app, ["serve"])
    message = "rls: RLS_DECISION_LOG is rules.yaml, the rules of RLS_CONFIG: expected another file\n"
    assert (result.exit_code, result.stderr) == (2, message)


def test_standard_input_may_be_the_file() -> None:
    """As in `rls replay - --svg acc.log < acc.log`."""
    command = [sys.executable, "-m", "rls", "replay", "-", "--config", "rules.yaml", "--svg", "acc.log"]
    with Path("acc.log").open("rb") as log:
        done = subprocess.run(command, stdin=log, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "rls: --svg is acc.log, the log that is read: expected another file\n"
    assert json.loads(Path("acc.log").read_text()) == LINE


@pytest.mark.parametrize(
    "arguments",
    [
        f"{REPLAY} --svg /dev/null --html /dev/null",
        f"{REPLAY} --against dir --svg dir/new.svg --html dir/new.html",
        "test t.yaml --junit dir/new.xml",
    ],
)
def test_other_files_are_written(arguments: str) -> None:
    """And devices, which hold nothing that could be lost."""
    assert CliRunner().invoke(app, shlex.split(arguments)).exit_code == 0
    assert len(list(Path("dir").glob("new.*"))) == arguments.count("dir/new")
