"""The Pythons that the classifiers name are those that CI runs, and everything else agrees with them."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = re.findall(r"Python :: (3\.\d+)$", "\n".join(CONFIG["project"]["classifiers"]), re.MULTILINE)
OLDEST, NEWEST = PYTHONS[0], PYTHONS[-1]


def test_the_classifiers_name_each_version_from_the_oldest_to_the_newest():
    minors = [int(version.removeprefix("3.")) for version in PYTHONS]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert len(minors) > 1


def test_ci_runs_on_the_oldest_and_the_newest():
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == [OLDEST, NEWEST]
    setup, run = job["steps"][-2:]
    assert setup["with"]["python-version"] == "${{ matrix.python }}"
    assert run["env"]["PYTHON"] == f"${{{{ steps.{setup['id']}.outputs.python-path }}}}"
    assert run["run"] == "bash .ci/run"


def test_what_is_checked_and_compiled_is_for_the_oldest():
    assert CONFIG["project"]["requires-python"] == f">={OLDEST}"
    assert CONFIG["tool"]["mypy"]["python_version"] == OLDEST
    assert CONFIG["tool"]["ruff"]["target-version"] == f"py{OLDEST.replace('.', '')}"
    assert f"--python-version {OLDEST} " in (ROOT / "Makefile").read_text()


def test_the_image_has_one_of_them():
    (base, *others) = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    named = re.fullmatch(r"docker\.io/library/python:(3\.\d+)\.\d+-slim@sha256:[0-9a-f]{64}", base)
    assert named is not None
    assert named[1] in PYTHONS
    assert set(others) == {"base"}
