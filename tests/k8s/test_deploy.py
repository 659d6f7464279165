"""The script that the deployment runs, with a real rls; of the cluster there is only what kubectl is told to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.mesh.processes import free_port
from tests.k8s.nodes import ROOT
from tests.rls_process import RULES, RlsProcess

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


def deployed(calls: Path, port: int, **asked: str) -> tuple[int, list[str], str]:
    """The exit code, what kubectl was told, and stderr; *asked* are DOMAIN and ENTRY."""
    env = {"PATH": os.environ["PATH"], "CALLS": str(calls), "KUBECTL": str(calls.with_name("kubectl"))}
    env |= {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}
    env |= {"RLS": str(Path(sys.executable).with_name("rls")), "PORT": str(port), "PAUSE": "0", "TRIES": "2", **asked}
    script = ROOT / "scripts" / "deploy.sh"
    done = subprocess.run([script, "rls@sha256:1"], env=env, capture_output=True, text=True, timeout=60, check=False)
    said = [line.removeprefix("--namespace rate-limit ") for line in calls.read_text().splitlines()]
    return done.returncode, [line for line in said if "status" not in line], done.stderr


def test_an_image_that_answers_stays(calls: Path, tmp_path: Path) -> None:
    with RlsProcess(tmp_path) as server:
        port = int(server.addresses["grpc"].rpartition(":")[2])
        code, told, _ = deployed(calls, port)

    assert code == 0
    assert told == ["set image deployment/rls rls=rls@sha256:1", f"port-forward deployment/rls {port}:8081"]


def test_an_image_that_refuses_what_is_asked_stays(calls: Path, tmp_path: Path) -> None:
    """OVER_LIMIT is an answer by a limit, too."""
    with RlsProcess(tmp_path, rules=RULES.replace("requests_per_unit: 2", "requests_per_unit: 0")) as server:
        code, told, _ = deployed(calls, grpc_port(server))

    assert code == 0
    assert not any("undo" in words for words in told)


UNLIMITED = RULES + "  - {key: internal, rate_limit: {unlimited: true}}\n"


@pytest.mark.parametrize(
    "asked", [{"DOMAIN": "other"}, {"ENTRY": "user=deployment"}, {"ENTRY": "internal=yes"}], ids=str
)
def test_an_image_that_does_not_limit_is_rolled_back(calls: Path, tmp_path: Path, asked: dict[str, str]) -> None:
    with RlsProcess(tmp_path, rules=UNLIMITED) as server:
        code, told, said = deployed(calls, grpc_port(server), **asked)

    assert code == 1
    assert told[-1] == "rollout undo deployment/rls"
    assert "rls: no limit for " in said


@pytest.mark.parametrize("policy", ["local", "allow", "deny"])
def test_an_image_that_decides_without_its_counters_is_rolled_back(calls: Path, tmp_path: Path, policy: str) -> None:
    options = ["--backend", f"redis://127.0.0.1:{free_port()}", "--on-backend-error", policy]
    with RlsProcess(tmp_path, *options) as server:
        code, told, said = deployed(calls, grpc_port(server))

    assert code == 1
    assert told[-1] == "rollout undo deployment/rls"
    assert "rls: the backend is unavailable" in said


def grpc_port(server: RlsProcess) -> int:
    return int(server.addresses["grpc"].rpartition(":")[2])


def test_an_image_that_does_not_answer_is_rolled_back(calls: Path) -> None:
    code, told, _ = deployed(calls, free_port())

    assert code == 1
    assert told[-1] == "rollout undo deployment/rls"


def test_an_image_that_does_not_get_ready_is_rolled_back_unasked(calls: Path) -> None:
    calls.with_name("calls.stuck").touch()

    code, told, _ = deployed(calls, free_port())

    assert code == 1
    assert told == ["set image deployment/rls rls=rls@sha256:1", "rollout undo deployment/rls"]
