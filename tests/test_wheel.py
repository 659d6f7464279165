"""What is built is what is in the repository, and works where it is installed: nothing of the tree is needed."""

import signal
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.redis_server import missing
from tests.rls_process import RULES, RlsProcess

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def tracked(*patterns: str) -> set[str]:
    done = run("git", "ls-files", *patterns, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


def build(tree: Path, into: Path, *targets: str) -> None:
    flags = [word for target in targets for word in ("-t", target)]
    done = run(sys.executable, "-m", "hatchling", "build", "-d", into, *flags, cwd=tree)
    assert done.returncode == 0, done.stderr


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the sdist."""
    folder: Path = tmp_path_factory.mktemp("built")
    build(ROOT, folder, "wheel", "sdist")
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The programs of an environment that has the wheel and the pinned requirements, and nothing else."""
    folder: Path = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python", "--quiet")
    done = run(*pip, "install", "--require-hashes", "-r", ROOT / "requirements/runtime.txt", cwd=folder)
    if done.returncode:
        missing(f"needs the packages of requirements/runtime.txt: {done.stderr.strip()[-500:]}")
    done = run(*pip, "install", "--no-deps", "--no-index", built / f"{NAME}-py3-none-any.whl", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = run(*pip, "check", cwd=folder)
    assert done.returncode == 0, done.stdout
    return folder / "bin"


@pytest.fixture
def program(installed, tmp_path) -> Sequence[str | Path]:
    """`rls` as it was installed, in a folder that is not the repository's."""
    return ("env", "-u", "PYTHONPATH", "-C", str(tmp_path), installed / "rls")


def test_the_wheel_holds_the_package_and_nothing_else(built):
    held = names(built / f"{NAME}-py3-none-any.whl")
    about = {name for name in held if name.startswith(f"{NAME}.dist-info/")}
    assert held - about == {name.removeprefix("src/") for name in tracked("src/rls")}
    assert "rls/py.typed" in held
    assert {name.partition("/")[2] for name in about} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"),
    }


def test_the_sdist_is_enough_to_build_the_same_wheel(built, tmp_path):
    assert run("tar", "-xzf", built / f"{NAME}.tar.gz", cwd=tmp_path).returncode == 0
    tree = tmp_path / NAME
    held = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    ours = tracked("src", "protos", "config", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", ".gitignore")
    assert held == ours | {"PKG-INFO"}
    build(tree, tmp_path, "wheel")
    wheel = f"{NAME}-py3-none-any.whl"
    assert (tmp_path / wheel).read_bytes() == (built / wheel).read_bytes()


def test_the_installed_package_says_its_version_and_where_it_is(installed, program, tmp_path):
    version = run(*program, "version", cwd=tmp_path)
    assert version.stdout.startswith(f"rls {PROJECT['version']} "), version
    code = "import rls, pathlib, sys; sys.exit(pathlib.Path(sys.prefix) not in pathlib.Path(rls.__file__).parents)"
    assert run(installed / "python", "-I", "-c", code, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(("rules", "status"), [(RULES, 0), (RULES.replace("unit:", "units:"), 1)])
def test_the_installed_program_checks_rules(program, tmp_path, rules, status):
    (tmp_path / "rules.yaml").write_text(rules)
    done = run(*program, "check", "rules.yaml", cwd=tmp_path)
    assert done.returncode == status, done
    assert ("1 rule in 1 domain" in done.stdout + done.stderr) == (status == 0)


def test_the_installed_program_serves_and_calls(installed, program, tmp_path):
    python = ("env", "-u", "PYTHONPATH", "-C", tmp_path, installed / "python")
    with RlsProcess(tmp_path, python=python, program=(installed / "rls",)) as server:
        call = (*program, "call", server.addresses["grpc"], "--domain", "mesh", "company_id=acme")
        answers = [run(*call, cwd=tmp_path).stdout for _ in range(3)]
        assert ["OVER_LIMIT" in answer for answer in answers] == [False, False, True], answers
        server.send(signal.SIGTERM)
        assert server.wait() == 0
