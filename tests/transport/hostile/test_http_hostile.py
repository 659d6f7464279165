"""Probes and gRPC are served whatever clients do on the HTTP addresses, and memory stays bounded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.processes import wait_for
from tests.memory import memory
from tests.rls_process import RlsProcess
from tests.transport.hostile.http_attacks import ADMIN_ATTACKS, ATTACKS
from tests.transport.hostile.test_hostile import LONGEST_GAP, RULES, Probe
from tests.transport.hostile.waiting import waited

# So many that what lists them does not fit into the buffers of sockets.
MANY_RULES = RULES + "".join(
    f"  - key: k{n}\n    detailed_metric: true\n    rate_limit: {{unit: day, requests_per_unit: {n + 1}}}\n"
    for n in range(3_000)
)
MOST_MEMORY = 100 << 20

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")


MOST_KEPT = 1.25
"""Times the memory that a server had before all attacks, a minute after the last of them."""
BEFORE: dict[int, int] = {}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process = RlsProcess(tmp_path_factory.mktemp("hostile"), "--drain-timeout", "0s", rules=MANY_RULES)
    with HttpProbe(process.addresses["http"]), Probe(process.addresses["grpc"]):
        assert process.get("/metrics").status == 200
    BEFORE[process.pid] = memory(process.pid)
    yield process
    process.kill()


class HttpProbe:
    """As kubelet's, in a process of its own, while the body of `with` runs."""

    def __init__(self, address: str) -> None:
        self._port = address.rpartition(":")[2]

    def __enter__(self):
        command = [sys.executable, "-m", "tests.transport.hostile.http_probe", self._port]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        output: Any = self._process.stdout
        assert output.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        result = json.loads(self._process.communicate(timeout=60)[0])
        self.outcomes: dict[str, int] = result["outcomes"]
        self.longest: float = result["longest"]
        self.waited: float = result["waited"]


@pytest.mark.parametrize(
    ("kind", "name"), [*(("http", name) for name in ATTACKS), *(("admin", name) for name in ADMIN_ATTACKS)]
)
def test_probes_and_calls_are_answered_while_one_client_is_hostile(server, kind, name):
    attack = (ATTACKS if kind == "http" else ADMIN_ATTACKS)[name]
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # the peak counts from here
    before, waited_before = memory(server.pid), waited(server.pid)
    logged = len(server.output())
    with contextlib.ExitStack() as stack:
        http = stack.enter_context(HttpProbe(server.addresses["http"]))
        grpc = stack.enter_context(Probe(server.addresses["grpc"]))
        asyncio.run(attack(server.addresses[kind]))
    for_cpu = waited(server.pid) - waited_before
    grown = memory(server.pid, "VmHWM") - before
    assert server.returncode is None
    # Where others keep the CPU for a second, its loop has stood still, and it says so.
    assert set(http.outcomes) - {"/readyz 503"} == {"/healthz 200", "/readyz 200"}
    assert http.longest <= LONGEST_GAP + for_cpu + http.waited
    assert grpc.is_served(for_cpu + grpc.waited), (grpc.outcomes, for_cpu)
    assert grpc.gap <= LONGEST_GAP + for_cpu + grpc.waited
    assert grown <= MOST_MEMORY
    assert len(server.output()) - logged < 2_000, "clients fill the log"


def test_memory_is_given_back_after_all_of_them(server):
    most = BEFORE[server.pid] * MOST_KEPT
    wait_for(lambda: memory(server.pid) <= most, f"no more than {most / 2**20:.0f} MiB are used", seconds=60)
