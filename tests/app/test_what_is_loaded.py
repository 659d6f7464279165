"""grpc takes 9 MB: only the transport and the client that need it load it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rls.api.client import Client
from tests.rls_process import RULES, RlsProcess
from tests.tries import descriptor, request

LOADED = "import sys, atexit; from rls.cli import main; atexit.register(lambda: print('grpc' in sys.modules)); main()"


@pytest.mark.parametrize(("transport", "loaded"), [("native", "False"), ("grpcio", "True")])
def test_server_loads_grpc_only_for_its_transport(tmp_path: Path, transport: str, loaded: str) -> None:
    server = RlsProcess(tmp_path, "--transport", transport, program=("-c", LOADED))
    try:
        with Client(server.addresses["grpc"]) as client:
            answer = client.check(request(descriptor(("company_id", "acme")), domain="mesh"), timeout=10)
        assert answer.code == "OK"
        server.get("/metrics")
        server.get("/rlconfig", "admin")
    finally:
        server.stop()
    assert server.output().splitlines()[-1] == loaded


@pytest.mark.parametrize("command", ["check", "schema"])
def test_commands_that_call_nobody_load_no_grpc(tmp_path: Path, command: str) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    arguments = [command, str(rules)] if command == "check" else [command]
    result = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.splitlines()[-1] == "False"
