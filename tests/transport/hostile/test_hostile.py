"""Hostile clients do not keep others from being served, and memory stays bounded: on all transports, from outside.

The bounds are generous: the machine is shared, and the attackers take their part of it. Time for which server and client
waited for a CPU comes on top.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.processes import wait_for
from examples.mesh.servers import Rls
from tests.memory import memory
from tests.transport.hostile.attacks import ATTACKS
from tests.transport.hostile.probe import INTERVAL
from tests.transport.hostile.waiting import waited

RULES = """\
domain: probe
descriptors:
  - key: probe
    rate_limit: {unit: day, requests_per_unit: 4000000000}
"""
LONGEST_GAP = 3.0
LEAST_SERVED = 0.5
MOST_MEMORY = 200 << 20
MOST_KEPT = {"native": 1.25, "grpcio": 3.0}
"""Times the memory that a server had before all attacks, a minute after the last of them.

Thousands of half-sent calls leave 5 to 10 MiB in arenas of Python's allocator in which something else lives; it stays at
that, however often they come. grpc's core keeps much more for good.
"""
BEFORE: dict[str, int] = {}

# Known, and one of the reasons why grpcio is not the default.
UNBOUNDED = {("grpcio", "header bombs, unsettled")}

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")


@pytest.fixture(scope="module", params=["native", "grpcio"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    rules = folder / "rules.yaml"
    rules.write_text(RULES)
    with Rls(rules, folder, ["--transport", request.param, "--drain-timeout", "0s"], name=request.param) as server:
        with Probe(f"127.0.0.1:{server.port}"):
            pass
        BEFORE[server.name] = memory(server.pid)
        yield server


class Probe:
    """A client that behaves, in a process of its own, while the body of `with` runs."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self):
        command = [sys.executable, "-m", "tests.transport.hostile.probe", self._address]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        output: Any = self._process.stdout
        assert output.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        result = json.loads(self._process.communicate(timeout=30)[0])
        self.outcomes: dict[str, int] = result["outcomes"]
        self.gap: float = result["gap"]
        self.waited: float = result["waited"]

    def is_served(self, for_cpu: float) -> bool:
        """Whether enough of its calls were answered; a machine that was busy for so many seconds costs a call for each
        that could have been made meanwhile.
        """
        calls = sum(self.outcomes.values())
        return calls - self.outcomes.get("OK", 0) <= calls * (1 - LEAST_SERVED) + for_cpu / INTERVAL


@pytest.mark.parametrize("name", ATTACKS)
def test_others_are_served_while_one_client_is_hostile(server, name):
    if (server.name, name) in UNBOUNDED:
        pytest.skip("grpc takes 16 MiB of headers a call of clients that do not acknowledge its settings")
    address = f"127.0.0.1:{server.port}"
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # the peak counts from here
    before, waited_before = memory(server.pid), waited(server.pid)
    with Probe(address) as probe:
        asyncio.run(ATTACKS[name](address))
    for_cpu = waited(server.pid) - waited_before + probe.waited
    grown = memory(server.pid, "VmHWM") - before
    assert server.returncode is None
    wait_for(lambda: server.get("/readyz").status == 200, "it is ready")  # again, where its loop was late
    assert probe.is_served(for_cpu), (probe.outcomes, for_cpu)
    assert probe.gap <= LONGEST_GAP + for_cpu
    assert grown <= MOST_MEMORY


def test_memory_is_given_back_after_all_of_them(server):
    most = BEFORE[server.name] * MOST_KEPT[server.name]
    wait_for(lambda: memory(server.pid) <= most, f"no more than {most / 2**20:.0f} MiB are used", seconds=60)
