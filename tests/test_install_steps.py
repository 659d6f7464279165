"""The steps of the pages on installing: each is run here as it stands there, or the page says what it was tried with."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rls_process import RlsProcess
from tests.scripts.cluster import WITH_A_PROVIDER, Cluster

ROOT = Path(__file__).parents[1]
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text() for name in ("istio", "kubernetes")}
pages = pytest.mark.parametrize("page", PAGES)


def section(page):
    (found,) = re.findall(r"^## Install\n(.*?)^## ", PAGES[page], re.MULTILINE | re.DOTALL)
    return found


def steps(page):
    """The commands of the section on installing, each with what it must print as far as the page shows it."""
    found = []
    for block in re.findall(r"^ *```console\n(.*?)^ *```$", section(page), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^ *\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.replace("\\\n", " ").splitlines()
            # A pipe at the end of a line goes on in the next.
            while lines[0].endswith("|"):
                lines[:2] = [lines[0] + lines[1]]
            found.append((lines[0], [line.strip() for line in lines[1:] if line.strip()]))
    return found


def tried(page):
    """The rows of the page's table: how a command begins, and what it was tried with."""
    return re.findall(r"^\| `([^`]+)` \| (.*) \|$", section(page).partition("How each step was tried")[2], re.MULTILINE)


def shown(page, start):
    """The command of the page that starts like that, and what the page says that it prints."""
    return next((command, output) for command, output in steps(page) if command.startswith(start))


@pages
def test_the_page_says_of_each_command_what_it_was_tried_with(page):
    commands = [command for command, _ in steps(page)]
    starts = [start for start, _ in tried(page)]

    assert len(commands) > 10
    assert [command for command in commands if not any(command.startswith(start) for start in starts)] == []
    assert [start for start in starts if not any(command.startswith(start) for command in commands)] == []
    assert [
        with_what for _, with_what in tried(page) if not re.search(r"API server|[Tt]ests|\*\*not run\*\*", with_what)
    ] == []


def run(command, folder=ROOT, **environment):
    """As the page says, by a shell, with this Python."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_objects_are_counted_as_shown():
    command, output = shown("kubernetes", "kubectl kustomize")

    ran = run(command)

    assert (ran.returncode, ran.stdout.split()) == (0, output)


def test_secrets_are_made_as_shown(tmp_path):
    command, output = shown("kubernetes", "k8s/secrets.sh")

    ran = run(command.replace("../", f"{tmp_path}/"))

    assert (ran.returncode, ran.stdout.replace(f"{tmp_path}/", "../").splitlines()) == (0, output)
    listed = run(f"kubectl kustomize {tmp_path}/rls-secrets | grep -c '^kind: Secret'")
    assert listed.stdout.split() == ["8"]


def test_versions_are_checked_as_shown(tmp_path):
    command, output = shown("istio", "python -m scripts.mesh_versions")
    proxies = [{"ID": f"sidecar~10.0.0.{n}~users-{n}.users~x", "IstioVersion": "1.31.0"} for n in range(12)]
    told = {"meshVersion": [{"Info": {"version": "1.31.0"}}], "dataPlaneVersion": proxies}
    istioctl = tmp_path / "istioctl"
    istioctl.write_text(f"#!/bin/sh\necho {shlex.quote(json.dumps(told))}\n")
    istioctl.chmod(0o755)

    ran = run(command, ISTIOCTL=str(istioctl))

    assert (ran.returncode, ran.stdout.splitlines()) == (0, output)


def test_the_mesh_configuration_is_changed_as_shown(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.put(WITH_A_PROVIDER)
    kubectl = {"KUBECTL": str(cluster.kubectl)}
    commands = [command for command, _ in steps("istio") if command.startswith("python -m scripts.mesh_config")]
    first, values, last = commands
    _, output = [each for each in steps("istio") if each[0] == last][-1]

    assert run(first, **kubectl).returncode == 1
    assert run(values.replace("mesh.yaml", f"{tmp_path}/mesh.yaml"), **kubectl).returncode == 1
    assert cluster.text() == WITH_A_PROVIDER
    assert "name: ext-authz" in (tmp_path / "mesh.yaml").read_text()
    assert "`python -m scripts.mesh_config --apply`" in section("istio")
    assert run("python -m scripts.mesh_config --apply", **kubectl).returncode == 0
    ran = run(last, **kubectl)
    assert (ran.returncode, ran.stdout.splitlines()) == (0, output)


@pytest.mark.parametrize(
    ("page", "start", "address"),
    [("istio", "kubectl -n rate-limit exec", "127.0.0.1:8081"), ("kubernetes", "rls call", "localhost:8081")],
)
def test_rls_is_asked_as_shown(tmp_path, page, start, address):
    command, _ = shown(page, start)
    call = command.partition("-- ")[2] if command.startswith("kubectl") else command
    with RlsProcess(tmp_path, "--config", str(ROOT / "config")) as rls:
        ran = run(call.replace(address, rls.addresses["grpc"]))
        assert rls.metric("rls_requests_total") == 1

    assert address in call
    assert ran.returncode == 0, ran.stderr
    assert "company_id" in ran.stdout


def test_helm_is_given_a_version_and_never_the_file_that_would_replace_lists_of_others():
    upgrades = [command for page in PAGES for command, _ in steps(page) if command.startswith("helm")]

    assert upgrades
    for command in upgrades:
        assert " --version " in command
        assert "values-istiod.yaml" not in command
