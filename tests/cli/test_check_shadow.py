"""Shadow mode that somebody left on: `rls check` asks git since when."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rls.cli import app

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    shadow_mode: true
    rate_limit: {unit: minute, requests_per_unit: 3}
"""
YOUNG = """\
  - key: user
    rate_limit: {unit: minute, requests_per_unit: 3}
    shadow_mode: yes
"""
DAY = 86_400


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(age: int) -> str:
    """Commits all that is here, *age* days ago; returns the date."""
    when = int(time.time()) - age * DAY - 60
    names = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, **names, "GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
    for command in ("init --quiet", "add .", "commit --quiet --message=x"):
        subprocess.run(["git", *command.split()], check=True, env=env)
    return time.strftime("%Y-%m-%d", time.gmtime(when))


def check(*options: str) -> list[str]:
    return CliRunner().invoke(app, ["check", "rules.yaml", *options]).stdout.splitlines()


def test_old_shadow_mode_is_told(folder: Path) -> None:
    rules = folder / "rules.yaml"
    rules.write_text(RULES)
    since = commit(age=40)
    rules.write_text(RULES + YOUNG)
    commit(age=3)
    rules.write_text(RULES + YOUNG + YOUNG.replace("user", "path"))  # not committed
    told = (
        f"rules.yaml:4:1: warning: `shadow_mode` is on since {since}, for 40 days: the rule limits nothing; "
        "remove it, or the rule"
    )
    assert check() == [told]
    assert check("--shadow-days", "40") == []
    lines = [line.partition(" warning: ")[0] for line in check("--shadow-days", "2")]
    assert lines == ["rules.yaml:4:1:", "rules.yaml:8:1:"]
    result = CliRunner().invoke(app, ["check", "rules.yaml", "--strict"])
    assert result.exit_code == 1


@pytest.mark.parametrize("git", ["no repository", "no git"])
def test_without_git_nothing_is_told(folder: Path, git: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "rules.yaml").write_text(RULES)
    if git == "no git":
        commit(age=40)
        monkeypatch.setenv("PATH", str(folder))
    assert check() == []
