"""The script that the deployment runs, with a real rls; of the cluster there is only what kubectl is told to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.mesh.processes import free_port
from tests.k8s.nodes import ROOT
from tests.rls_process import RlsProcess

KUBECTL = """\
#!/bin/sh
echo "$*" >>"$CALLS"
case $* in
  *port-forward*) exec sleep 60 ;;
  *"rollout status"*) [ ! -e "$CALLS.stuck" ] ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    return tmp_path / "calls"


def deployed(calls: Path, port: int) -> tuple[int, list[str]]:
    """The exit code, and what kubectl was told."""
    env = {"PATH": os.environ["PATH"], "CALLS": str(calls), "KUBECTL": str(calls.with_name("kubectl"))}
    env |= {"RLS": str(Path(sys.executable).with_name("rls")), "PORT": str(port), "PAUSE": "0"}
    script = ROOT / "scripts" / "deploy.sh"
    done = subprocess.run([script, "rls@sha256:1"], env=env, capture_output=True, text=True, timeout=60, check=False)
    said = [line.removeprefix("--namespace rate-limit ") for line in calls.read_text().splitlines()]
    return done.returncode, [line for line in said if "status" not in line]


def test_an_image_that_answers_stays(calls: Path, tmp_path: Path) -> None:
    with RlsProcess(tmp_path) as server:
        port = int(server.addresses["grpc"].rpartition(":")[2])
        code, told = deployed(calls, port)

    assert code == 0
    assert told == ["set image deployment/rls rls=rls@sha256:1", f"port-forward deployment/rls {port}:8081"]


def test_an_image_that_does_not_answer_is_rolled_back(calls: Path) -> None:
    code, told = deployed(calls, free_port())

    assert code == 1
    assert told[-1] == "rollout undo deployment/rls"


def test_an_image_that_does_not_get_ready_is_rolled_back_unasked(calls: Path) -> None:
    calls.with_name("calls.stuck").touch()

    code, told = deployed(calls, free_port())

    assert code == 1
    assert told == ["set image deployment/rls rls=rls@sha256:1", "rollout undo deployment/rls"]
