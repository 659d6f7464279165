"""scripts/image.sh: what it runs of the engines, what it sets in an overlay, and what it says where it cannot.

No engine builds here: each is a program that writes down what it was told, and gives digests as the real ones do.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import rendered
from tests.k8s.nodes import ROOT

DIGEST = "sha256:" + 64 * "7"
TOOLS = ("bash", "dirname", "env", "grep", "mktemp", "rm", "sed")
PROGRAM = f"""\
#!/usr/bin/env bash
[[ $* != info ]] || exit "${{DAEMON:-0}}"
echo "${{0##*/}} $*" >>"$CALLS"
case "$*" in
  "image inspect"*) printf '%s\\n' other.example/rls@sha256:1 "registry.you.example:5000/rls@{DIGEST}" ;;
  push\\ --digestfile*) printf '%s' '{DIGEST}' >"$3" ;;
esac
"""
IMAGE = "registry.you.example:5000/rls:0.1.0"


class Machine:
    """With some programs, and a copy of an overlay."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in TOOLS:
            found = shutil.which(name)
            assert found is not None
            (self.programs / name).symlink_to(found)
        for part in ("k8s", "config", "examples/user-service"):
            shutil.copytree(ROOT / part, folder / part)
        self.overlay = folder / "k8s" / "overlays" / "staging"

    def has(self, *names: str) -> None:
        for name in names:
            (self.programs / name).write_text(PROGRAM)
            (self.programs / name).chmod(0o755)

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": str(self.programs),
            "CALLS": str(self.calls),
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            **environment,
        }
        command = [ROOT / "scripts" / "image.sh", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def images(self) -> set[str]:
        """Of rls, in the overlay as kustomize renders it."""
        text = yaml.safe_dump_all(rendered(self.overlay))
        lines = {
            line.strip().removeprefix("- ") for line in text.splitlines() if line.strip(" -").startswith("image: ")
        }
        return {line.removeprefix("image: ") for line in lines if "rls" in line or "rate-limiter" in line}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("engine", ["docker", "podman", "buildah"])
def test_the_overlay_names_what_the_registry_has(engine: str, machine: Machine) -> None:
    machine.has(engine)
    ran = machine.run(IMAGE, machine.overlay)

    assert ran.returncode == 0, ran.stderr
    build, push, *_ = machine.called()
    assert build == f"{engine} build --file Dockerfile --tag {IMAGE} ."
    assert push.startswith(f"{engine} push ")
    assert push.endswith(f" {IMAGE}")
    assert machine.images() == {f"registry.you.example:5000/rls@{DIGEST}"}
    assert f"--set image.repository=registry.you.example:5000/rls --set image.digest={DIGEST}" in ran.stdout
    assert f"python -m scripts.apply {machine.overlay}" in ran.stdout


@pytest.mark.parametrize("to", ["kind", "minikube"])
@pytest.mark.parametrize(
    ("engine", "built"),
    [("docker", "rls:dev"), ("podman", "docker.io/library/rls:dev"), ("buildah", "docker.io/library/rls:dev")],
)
def test_a_cluster_on_this_machine_gets_it_by_its_tag(to: str, engine: str, built: str, machine: Machine) -> None:
    machine.has(engine, to)
    ran = machine.run("rls:dev", machine.overlay, TO=to)

    assert ran.returncode == 0, ran.stderr
    build, save, load = machine.called()
    assert build.endswith(f"--tag {built} .")
    assert built in save
    assert load.startswith({"kind": "kind load image-archive ", "minikube": "minikube image load "}[to])
    assert load.rpartition(" ")[2] in save
    assert machine.images() == {"rls:dev"}


def test_the_first_engine_that_works_is_taken(machine: Machine) -> None:
    machine.has("docker", "podman", "buildah")
    assert machine.run(IMAGE, DAEMON="1").returncode == 0
    assert machine.called()[0].startswith("podman build ")
    assert machine.run(IMAGE, ENGINE="buildah", PLATFORM="linux/arm64").returncode == 0
    assert machine.called()[2].startswith("buildah build --platform linux/arm64 ")


@pytest.mark.parametrize(
    ("programs", "arguments", "environment", "text"),
    [
        ((), (IMAGE,), {}, "neither docker nor podman nor buildah is on PATH"),
        (("docker",), (IMAGE,), {"DAEMON": "1"}, "its daemon does not answer"),
        (("docker",), (), {}, "scripts/image.sh IMAGE [OVERLAY]"),
        (("docker",), ("registry.you.example:5000/rls",), {}, "registry.you.example:5000/rls:0.1.0"),
        (("docker",), ("registry.you.example/rls:latest",), {}, "a tag that is never pushed again"),
        (("docker",), ("registry.example.com/istio-rate-limiter:0.1.0",), {}, "is the example"),
        (("docker",), ("rls:dev",), {}, "names no registry"),
        (("docker",), ("rls:dev",), {"TO": "kind"}, "needs kind on PATH"),
        (("docker",), ("rls:dev",), {"TO": "k3d"}, "and not k3d"),
        (("docker",), (IMAGE, "k8s/nowhere"), {}, "k8s/nowhere/kustomization.yaml is missing"),
        (("docker",), (IMAGE, "k8s/base"), {}, "needs one line under images:"),
    ],
)
def test_it_says_what_is_missing_before_it_builds(
    programs: tuple[str, ...], arguments: tuple[str, ...], environment: dict[str, str], text: str, machine: Machine
) -> None:
    machine.has(*programs)
    ran = machine.run(*arguments, **environment)

    assert ran.returncode == 2
    assert text in ran.stderr
    assert machine.called() == []


def test_a_dry_run_runs_nothing(machine: Machine) -> None:
    machine.has("podman")
    before = machine.images()
    ran = machine.run(IMAGE, machine.overlay, DRY_RUN="1")

    assert ran.returncode == 0
    assert f"+ podman build --file Dockerfile --tag {IMAGE} ." in ran.stderr
    assert machine.called() == []
    assert machine.images() == before


@pytest.mark.parametrize("programs", [(), ("docker",)])
def test_a_dry_run_needs_no_engine(programs: tuple[str, ...], machine: Machine) -> None:
    machine.has(*programs)
    ran = machine.run(IMAGE, DRY_RUN="1", DAEMON="1")

    assert ran.returncode == 0, ran.stderr
    assert f"+ docker push {IMAGE}" in ran.stderr
    assert ran.stdout.splitlines()[:3] == [
        "sha256:… stands for the digest, which is not known until the registry gives it at the push",
        f"{IMAGE} would be registry.you.example:5000/rls@sha256:…",
        "Helm: --set image.repository=registry.you.example:5000/rls --set image.digest=sha256:…",
    ]
    assert machine.called() == []


def test_a_registry_that_gives_no_digest_changes_nothing(machine: Machine) -> None:
    machine.has("docker")
    before = machine.images()
    ran = machine.run("elsewhere.example/rls:0.1.0", machine.overlay)

    assert ran.returncode == 2
    assert "gave elsewhere.example/rls:0.1.0 no digest" in ran.stderr
    assert machine.images() == before
