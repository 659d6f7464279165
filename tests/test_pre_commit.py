"""The hook that this repository offers to those that hold rules, run by pre-commit itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.rls_process import RULES

ROOT = Path(__file__).parents[1]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One that holds rules, and uses the hook as it was installed here: pre-commit would install it anew, from the network."""
    hooks = [{**hook, "language": "system", "args": ["rules"]} for hook in HOOKS]
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [{"repo": "local", "hooks": hooks}]}))
    (tmp_path / "rules").mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def committed(repository: Path, hook: str = "rls-check") -> subprocess.CompletedProcess[str]:
    subprocess.run(["git", "add", "."], cwd=repository, check=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PRE_COMMIT_HOME": str(repository / ".git/pre-commit")}
    command = [sys.executable, "-m", "pre_commit", "run", hook]
    return subprocess.run(command, cwd=repository, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        ({"a.yaml": RULES}, 0, "Passed"),
        ({"a.yaml": RULES.replace("unit:", "units:")}, 1, "rules/a.yaml:5:7: unknown key `units`"),
        ({"a.yaml": RULES, "b.yaml": RULES}, 1, "rules/b.yaml"),  # a mistake between the two
    ],
)
def test_rules_with_a_mistake_are_not_committed(repository, files, status, said):
    for name, text in files.items():
        (repository / "rules" / name).write_text(text)
    done = committed(repository)
    assert (done.returncode, said in done.stdout) == (status, True), done.stdout + done.stderr


@pytest.mark.parametrize(("hook", "status"), [("rls-check", 0), ("rls-check-strict", 1)])
def test_rules_with_a_warning_are_committed_unless_strict(repository: Path, hook: str, status: int) -> None:
    text = RULES + "  - {key: remote_address, value: 10.0.0.0/8, rate_limit: {unlimited: true}}\n"
    (repository / "rules" / "a.yaml").write_text(text)
    assert committed(repository, hook).returncode == status
