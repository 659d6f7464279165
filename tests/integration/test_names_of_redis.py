"""A name of Redis as a real DNS server resolves it, to addresses of which not all are of use."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.http import ask_on
from examples.mesh.processes import Process
from tests.dns import Network, UnixConnection
from tests.redis_server import redis_binary
from tests.rls_process import RULES

SILENT, REFUSING, GOOD = "10.9.9.9", "127.0.0.2", "127.0.0.3"
# Behind a route that leads back, packets are dropped.
_BESIDE_REDIS = """\
ip route add 10.9.9.0/24 dev lo
"$0" --bind 127.0.0.3 --port 6379 --save '' --dir "$1" --logfile redis.log &
echo $! >"$1/redis.pid"
shift
exec "$@"
"""


class Server:
    """`rls serve` and its Redis, in a network of their own."""

    def __init__(self, network: Network, folder: Path, sockets: Path, *, silent: bool = False) -> None:
        rules = folder / "rules.yaml"
        rules.write_text(RULES)
        self._http = sockets / "http"
        serve: list[str | Path] = [sys.executable, "-m", "rls", "serve", "--config", rules, "--drain-timeout", "0"]
        serve += ["--backend", "redis://redis.test.", "--http", f"unix:{self._http}", "--admin", "off"]
        command: list[str | Path] = ["sh", "-c", _BESIDE_REDIS, redis_binary(), folder, *serve]
        self.process: Process = network.start([*command, "--grpc", f"unix:{sockets}/grpc"], silent=silent)
        self.process.wait_until(lambda: " server_started " in self.process.output(), "it listens")

    def readiness(self) -> Any:
        with closing(UnixConnection(self._http)) as connection:
            return ask_on(connection, "/readyz").json()

    def wait_until_enforced(self) -> None:
        """Whether or not the tests run under a CPU limit."""

        def reasons() -> set[str]:
            return {reason["reason"] for reason in self.readiness()["reasons"]}

        self.process.wait_until(lambda: reasons() <= {"cpu_throttled"}, "Redis is found")


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder whose path is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    started = Network(tmp_path)
    yield started
    started.close()
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((tmp_path / "redis.pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("useless", [[SILENT], [REFUSING], [SILENT, REFUSING, "10.9.9.8", "2001:db8::1"]])
def test_the_address_that_is_of_use_is_found(
    network: Network, tmp_path: Path, sockets: Path, useless: list[str]
) -> None:
    network.name("redis", [*useless, GOOD])
    Server(network, tmp_path, sockets).wait_until_enforced()


def test_a_dns_server_that_is_silent_holds_nothing_up(network: Network, tmp_path: Path, sockets: Path) -> None:
    """Probes are answered meanwhile, and Redis is found as soon as its name is."""
    network.name("redis", [GOOD])
    server = Server(network, tmp_path, sockets, silent=True)
    for _ in range(20):
        assert [reason["reason"] for reason in server.readiness()["reasons"]] == ["backend_unavailable"]
    network.send(signal.SIGCONT)
    server.wait_until_enforced()
