"""The reference, envoyproxy/ratelimit, run beside `rls`: a binary that is named by a variable and never part of this."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from examples.mesh.http import ask
from examples.mesh.processes import free_port
from tests.redis_server import DEADLINE, wait_for_port
from tests.rls_process import RlsProcess
from tests.scenario import Response, message_of

SERVER = "RATELIMIT_BINARY"
CHECKER = "RATELIMIT_CONFIG_CHECK_BINARY"
MARKER = "domain: marker\n"
METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


def binary(variable: str) -> str:
    """The path in *variable*; without it the test skips, also where `CI=true`: the binary is no part of this project."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} names no binary of envoyproxy/ratelimit; it is no part of this project")
    return path


@dataclass
class Server:
    """A running server, ours or the reference, that reads its rules again when the files of *directory* change."""

    channel: grpc.Channel
    directory: Path
    _generation: int = field(default=0, init=False)

    def load(self, files: Mapping[str, str]) -> None:
        """Put *files* in the place of those before; returns when they are in force."""
        for path in self.directory.iterdir():
            if path.name not in files:
                path.unlink()
        for name, text in files.items():
            self._place(name, text)
        # All files are read again whenever one changes: when the last is known, so are the others.
        self._generation += 1
        entry = f"{{key: generation, value: '{self._generation}', rate_limit: {{unlimited: true}}}}"
        self._place("marker.yaml", f"domain: marker\ndescriptors: [{entry}]\n")
        known = message_of({"domain": "marker", "ask": [{"generation": str(self._generation)}]})
        deadline = time.monotonic() + DEADLINE
        while not Response.FromString(self.ask(known)).statuses[0].limit_remaining:
            assert time.monotonic() < deadline, f"these rules are not taken: {files}"
            time.sleep(0.002)

    def ask(self, message: bytes) -> bytes:
        """Its answer; grpc.RpcError where it gives none."""
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(METHOD)
        return call(message, timeout=DEADLINE)

    def _place(self, name: str, text: str) -> None:
        new = self.directory.parent / "new"
        new.write_bytes(text.encode())
        new.rename(self.directory / name)


@dataclass
class Reference(Server):
    """A running reference server."""

    debug_port: int

    def rules(self) -> list[str]:
        """The rules in force, one a line."""
        lines = ask(self.debug_port, "/rlconfig").body.decode().split("\n")
        return sorted(line for line in lines if line and not line.startswith("marker."))


@contextmanager
def reference_server(directory: Path, redis_port: int, settings: Mapping[str, str]) -> Iterator[Reference]:
    """A server with *settings* that counts in the Redis on *redis_port*, its files in *directory*; stopped in the end."""
    shutil.rmtree(directory, ignore_errors=True)
    rules = directory / "ratelimit" / "config"
    rules.mkdir(parents=True)
    (rules / "marker.yaml").write_text(MARKER)
    port, debug_port = free_port(), free_port()
    environment = {
        "USE_STATSD": "false",
        "DISABLE_STATS": "true",
        "LOG_LEVEL": "error",
        "HOST": "127.0.0.1",
        "GRPC_HOST": "127.0.0.1",
        "DEBUG_HOST": "127.0.0.1",
        "GRPC_PORT": str(port),
        "PORT": str(free_port()),
        "DEBUG_PORT": str(debug_port),
        "RUNTIME_ROOT": str(directory),
        "RUNTIME_SUBDIRECTORY": "ratelimit",
        "RUNTIME_WATCH_ROOT": "false",
        "BACKEND_TYPE": "redis",
        "REDIS_TYPE": "single",
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": f"127.0.0.1:{redis_port}",
        **settings,
    }
    log = directory / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen([binary(SERVER)], env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for_port(port, server, log)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(DEADLINE)
            yield Reference(channel, rules, debug_port)
    finally:
        server.terminate()
        try:
            server.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def rls_server(directory: Path, redis_port: int, settings: Mapping[str, str]) -> Iterator[Server]:
    """`rls serve` with *settings* in the same way."""
    rules = directory / "rules"
    rules.mkdir(parents=True)
    (rules / "marker.yaml").write_text(MARKER)
    variables = {"RLS_BACKEND": f"redis://127.0.0.1:{redis_port}", "RLS_BACKEND_TIMEOUT": "10s", **settings}
    with (
        RlsProcess(directory, "--config", str(rules), env=variables) as process,
        grpc.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        yield Server(channel, rules)


def refusal(directory: Path) -> str:
    """What the reference's checker says is wrong with the files of *directory*, those of one domain merged; "" if nothing."""
    command = [binary(CHECKER), "-config_dir", str(directory), "-merge_domain_configs"]
    checked = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=DEADLINE, check=False)
    if checked.returncode == 0:
        return ""
    said = checked.stdout + checked.stderr
    told = re.search(r"(?:panic|error loading rate limit configs): (.*)", said)
    return told[1] if told else said[-500:]
