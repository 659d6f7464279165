"""How many servers share the limits, as a real DNS server says, and what a server makes of it."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.http import ask_on
from examples.mesh.metrics import total
from examples.mesh.processes import Process
from rls.api.client import Client
from rls.core.model import Descriptor, Entry, Request
from tests.dns import Network, UnixConnection
from tests.rls_process import RULES, RlsProcess

TWELVE = RULES.replace("requests_per_unit: 2", "requests_per_unit: 12")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    started = Network(tmp_path)
    yield started
    started.close()


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder whose path is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def watched(network: Network, *, silent: bool = False) -> Process:
    """A program that prints what it finds for `rls.test`."""
    return network.start([sys.executable, "-m", "tests.watch_replicas", "rls.test."], silent=silent)


def until(program: Process, *lines: str) -> None:
    """Wait until the program has printed just these *lines*; of the last, its beginning."""

    def printed() -> bool:
        said = program.output().splitlines()
        return (
            said[: len(lines) - 1] == list(lines[:-1])
            and said[len(lines) - 1 : len(lines)] != []
            and (said[len(lines) - 1].startswith(lines[-1]))
        )

    program.wait_until(printed, f"it says {lines}")


@pytest.mark.parametrize(
    ("addresses", "count"),
    [
        (["10.0.0.1"], 1),
        (["10.0.0.1", "10.0.0.2", "10.0.0.3"], 3),
        (["10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2", "fd00::3"], 3),
        (["fd00::1", "fd00::2"], 2),
        # More than a datagram holds.
        ([f"10.0.{n // 200}.{n % 200}" for n in range(300)], 300),
    ],
    ids=["one", "several", "both families", "IPv6", "many"],
)
def test_addresses_are_counted(network: Network, addresses: list[str], count: int) -> None:
    network.name("rls", addresses)
    until(watched(network), f"count {count}")


def test_changes_are_seen(network: Network) -> None:
    network.name("rls", ["10.0.0.1", "10.0.0.2"])
    program = watched(network)
    until(program, "count 2")
    network.name("rls", ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    until(program, "count 2", "count 3")
    network.name("rls", ["10.0.0.3"])
    until(program, "count 2", "count 3", "count 1")


UNKNOWN = "unknown how many servers share the limits is not known: rls.test.: "
STALE = "unknown 2 servers shared the limits when DNS last answered: rls.test.: "


def test_a_name_that_is_not_there_yet_is_unknown(network: Network) -> None:
    program = watched(network)
    until(program, f"{UNKNOWN}Name or service not known")
    network.name("rls", ["10.0.0.1"])
    program.wait_until(lambda: program.output().splitlines()[-1] == "count 1", "it is known")


def test_a_server_that_is_silent_leaves_it_unknown(network: Network) -> None:
    network.name("rls", ["10.0.0.1"])
    program = watched(network, silent=True)
    until(program, f"{UNKNOWN}DNS does not answer")
    network.send(signal.SIGCONT)
    program.wait_until(lambda: program.output().splitlines()[-1] == "count 1", "it is known")


@pytest.mark.parametrize("silent", [False, True], ids=["no such name", "silent"])
def test_the_last_answer_holds_and_is_told_to_be_old(network: Network, silent: bool) -> None:
    network.name("rls", ["10.0.0.1", "10.0.0.2"])
    program = watched(network)
    until(program, "count 2")
    if silent:
        network.send(signal.SIGSTOP)
    else:
        network.name("rls", [])
    until(program, "count 2", STALE)
    network.send(signal.SIGCONT)
    network.name("rls", ["10.0.0.1"])
    program.wait_until(lambda: program.output().splitlines()[-1] == "count 1", "it is known")
    assert "count 0" not in program.output()


class Server:
    """`rls serve` in a network of its own, whose Redis is away unless it counts in *memory*."""

    def __init__(
        self, network: Network, folder: Path, sockets: Path, *, memory: bool = False, silent: bool = False
    ) -> None:
        rules = folder / "rules.yaml"
        rules.write_text(TWELVE)
        self._sockets = sockets
        command: list[str | Path] = [sys.executable, "-m", "rls", "serve", "--config", rules, "--drain-timeout", "0"]
        command += ["--backend", "memory://" if memory else "redis://127.0.0.1:1", "--replicas", "dns:rls.test."]
        command += ["--grpc", f"unix:{self._sockets}/grpc", "--http", f"unix:{self._sockets}/http", "--admin", "off"]
        self.process = network.start(command, silent=silent)
        self.process.wait_until(lambda: " server_started " in self.process.output(), "it listens")

    def get(self, path: str) -> Any:
        with closing(UnixConnection(self._sockets / "http")) as connection:
            return ask_on(connection, path)

    def reasons(self) -> list[str]:
        """Without `cpu_throttled`: tests may run under a CPU limit."""
        reasons = [reason["reason"] for reason in self.get("/readyz").json()["reasons"]]
        return [reason for reason in reasons if reason != "cpu_throttled"]

    def replicas(self) -> float:
        return total(self.get("/metrics").body.decode(), "rls_replicas")

    def wait_for_replicas(self, count: int) -> None:
        self.process.wait_until(lambda: self.replicas() == count, f"it knows of {count}")

    def passed(self, company: str, calls: int = 14) -> int:
        """Of so many *calls*, how many pass."""
        request = Request("mesh", (Descriptor((Entry("company_id", company),)),), 1)
        with Client(f"unix:{self._sockets}/grpc") as client:
            return [client.check(request, timeout=10).code for _ in range(calls)].count("OK")


def test_while_redis_is_away_a_server_takes_its_part(network: Network, tmp_path: Path, sockets: Path) -> None:
    """Of 12. Its part grows no more before Redis is back: those that are gone may have let theirs pass."""
    network.name("rls", ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    server = Server(network, tmp_path, sockets)
    assert server.passed("a") == 4
    network.name("rls", [f"10.0.0.{n}" for n in range(6)])
    server.wait_for_replicas(6)
    assert (server.passed("a"), server.passed("b")) == (0, 2)
    network.name("rls", ["10.0.0.1"])
    server.wait_for_replicas(1)
    assert (server.passed("a"), server.passed("b"), server.passed("c")) == (0, 0, 2)
    assert "replicas_unknown" not in server.reasons()


def test_while_it_is_not_known_how_many_there_are_the_least_part_is_taken(
    network: Network, tmp_path: Path, sockets: Path
) -> None:
    server = Server(network, tmp_path, sockets)
    assert "replicas_unknown" in server.reasons()
    assert "enforcement_weakened" in server.process.output()
    assert (
        "how many servers share the limits is not known: rls.test.: Name or service not known"
        in server.process.output()
    )
    assert server.passed("a") == 1
    network.name("rls", ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    server.wait_for_replicas(3)
    assert server.passed("b") == 4
    assert "replicas_unknown" not in server.reasons()


def test_a_server_starts_and_ends_while_dns_is_silent(network: Network, tmp_path: Path, sockets: Path) -> None:
    server = Server(network, tmp_path, sockets, silent=True)
    assert "replicas_unknown" in server.reasons()
    assert server.passed("a", 2) == 1
    server.process.send(signal.SIGTERM)
    assert server.process.wait() == 0


def test_servers_that_count_in_memory_each_for_itself_say_so(network: Network, tmp_path: Path, sockets: Path) -> None:
    network.name("rls", ["10.0.0.1", "10.0.0.2"])
    server = Server(network, tmp_path, sockets, memory=True)
    assert server.reasons() == ["memory_not_shared"]
    assert "together they let 2 times the limits pass" in server.process.output()
    assert server.passed("a") == 12
    network.name("rls", ["10.0.0.1"])
    server.wait_for_replicas(1)
    assert server.reasons() == []


@pytest.mark.parametrize(("replicas", "reasons"), [("1", []), ("2", ["memory_not_shared"])])
def test_a_number_that_is_given_needs_no_dns(tmp_path: Path, replicas: str, reasons: list[str]) -> None:
    with RlsProcess(tmp_path, "--replicas", replicas) as server:
        assert server.reasons() == reasons
        assert server.metric("rls_replicas") == int(replicas)
