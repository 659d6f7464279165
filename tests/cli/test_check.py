import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rls.cli import app
from tests.terminal import HOSTILE, commands, harm

GOOD = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: minute, requests_per_unit: 3}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch) -> Path:
    """The current folder, in which files are named as they are told."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> None:
    Path(name).write_text(text)


def check(*arguments: str):
    return CliRunner().invoke(app, ["check", *arguments])


def test_nothing_to_find() -> None:
    write("good.yaml", GOOD)
    result = check("good.yaml")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 errors, 0 warnings; 1 rule in 1 domain from 1 file\n"


def test_every_mistake_has_its_line() -> None:
    """Of all files, the good ones among them included in the summary."""
    write("a.yaml", GOOD.replace("unit: minute", "unit: mniute"))
    write("b.yaml", GOOD.replace("domain", "domian"))
    write("c.yaml", GOOD)
    result = check("a.yaml", "b.yaml", "c.yaml")
    assert result.exit_code == 1
    places = [line.split(": ")[0] for line in result.stdout.splitlines()]
    assert places == ["a.yaml:4:18", "b.yaml:1:1", "b.yaml:1:1"]
    assert "did you mean `minute`?" in result.stdout
    assert result.stderr.startswith("3 errors, 0 warnings; 1 rule in 1 domain")


WARNED = GOOD + "    shadow_mode: false\n    shadow_mode: true\n"


def test_a_warning_says_that_it_is_one() -> None:
    write("odd.yaml", WARNED)
    result = check("odd.yaml")
    assert result.exit_code == 0
    assert result.stdout.startswith("odd.yaml:6:5: warning: `shadow_mode` stands here twice")


def test_strict_takes_warnings_for_errors() -> None:
    write("odd.yaml", WARNED)
    assert check("--strict", "odd.yaml").exit_code == 1


def test_annotations_for_github() -> None:
    write("a,b.yaml", "domian: 100%\n")
    write("odd.yaml", WARNED)
    result = check("--format", "github", "a,b.yaml", "odd.yaml")
    assert result.exit_code == 1
    assert "::error file=a%2Cb.yaml,line=1,col=1::unknown key `domian`, did you mean `domain`?" in result.stdout
    assert "::warning file=odd.yaml,line=6,col=5::`shadow_mode` stands here twice" in result.stdout


def test_json() -> None:
    write("odd.yaml", WARNED)
    write("bad.yaml", "domian: x\n")
    result = check("--format", "json", "odd.yaml", "bad.yaml")
    assert result.exit_code == 1
    findings = json.loads(result.stdout)
    assert {finding["severity"] for finding in findings} == {"error", "warning"}
    assert {"severity", "file", "line", "column", "message"} == set(findings[0])


def test_json_of_nothing() -> None:
    write("good.yaml", GOOD)
    assert json.loads(check("--format", "json", "good.yaml").stdout) == []


def test_a_path_that_is_not_there_is_a_wrong_call() -> None:
    result = check("none.yaml", "gone.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "rls: no such file or directory: none.yaml",
        "rls: no such file or directory: gone.yaml",
    ]


def test_no_path_is_a_wrong_call() -> None:
    assert check().exit_code == 2


HOSTILE_NAMES = [
    b"::error::x\x1b[2J.yaml",
    b"##[stop-commands]x.yaml",
    b"latin-\xe9.yaml",
    "two\nlines,a:b%0A\u202e.yaml".encode(),
]
"""Of files, as a pull request may bring them."""


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=["command", "old command", "not UTF-8", "lines"])
@pytest.mark.parametrize("form", ["text", "github", "json"])
def test_neither_names_nor_contents_of_files_reach_the_terminal_raw(form: str, name: bytes) -> None:
    """Nor does a CI take them for commands; what it is given are just the annotations."""
    key = json.dumps(HOSTILE)
    text = f"""domain: mesh
{key}: {key}
descriptors:
  - key: a
    value: {key}
    {key}: !!int {key}
    value_to_metric: {key}
  - key: b
    rate_limit: {{unit: {key}, requests_per_unit: {key}, name: {key}, replaces: [{{name: {key}}}]}}
  - key: b
"""
    Path(os.fsdecode(name)).write_text(text)
    result = check("--format", form, "--", os.fsdecode(name))
    assert result.exit_code == 1
    assert result.stdout.count("\\x1b") >= 5
    assert not harm(result.output)
    annotated = set(commands(result.stdout))
    assert annotated == ({"error", "warning"} if form == "github" else set())
    assert len(commands(result.stdout)) == (len(result.stdout.splitlines()) if form == "github" else 0)
    assert commands(result.stderr) == []


def test_a_hostile_name_that_is_not_there() -> None:
    for name in HOSTILE_NAMES:
        assert not harm(check("--", os.fsdecode(name)).output)


def test_text_of_any_script_stays_readable() -> None:
    write("größe.yaml", GOOD + "    название: 値\n")
    assert check("größe.yaml").stdout.startswith("größe.yaml:5:5: unknown key `название`")
