"""What an end-to-end test builds from: rls, Envoy and Redis as processes, all stopped in the end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from examples.mesh.envoy import Envoy, EnvoyConfig
from examples.mesh.http import Answer
from examples.mesh.processes import Process, free_port
from examples.mesh.servers import Rls, UserService
from examples.tokens import Claim, Issuer
from tests.redis_server import redis_binary

RULES = """\
domain: users
descriptors:
  - key: company_id
    rate_limit:
      name: company
      unit: year
      requests_per_unit: 5
      replaces: [{name: address}]
  - key: remote_address
    rate_limit:
      name: address
      unit: year
      requests_per_unit: 3
"""
"""By the year, so that no window ends while a test runs."""


P = TypeVar("P", bound=Process)


class Mesh:
    """Processes, their files in *folder*, in front of the user service *users*."""

    def __init__(self, folder: Path, issuer: Issuer, users: UserService) -> None:
        self.folder = folder
        self.issuer = issuer
        self.processes: list[Process] = [users]
        self.users_port = users.port
        self.rules = folder / "rules.yaml"
        self._started: list[Process] = []

    def start_rls(
        self,
        *options: str,
        rules: str = RULES,
        name: str = "rls",
        ports: tuple[int, int] | None = None,
    ) -> Rls:
        """Start a server under *rules*, which ends without a drain, and refuses no call since the machine is busy.

        *options* may say otherwise.
        """
        self.rules.write_text(rules)
        usual = ("--drain-timeout", "0s", "--max-concurrency", "0")
        return self.keep(Rls(self.rules, self.folder, (*usual, *options), name=name, ports=ports))

    def start_envoy(
        self, *rls: Rls, change: Callable[[EnvoyConfig], None] = lambda _: None, users_port: int = 0
    ) -> Envoy:
        """Start an Envoy that asks *rls*, with its configuration changed by *change*.

        It waits for an answer as long as a busy machine may take, so that none is missed but one that is lost.
        """
        folder = self.folder / f"envoy-{len(self.processes)}"
        folder.mkdir()
        config = EnvoyConfig(
            users=users_port or self.users_port,
            rls=[server.port for server in rls],
            jwks=self.issuer.jwks(),
            access_log=folder / "access.log",
        )
        config.ratelimit["timeout"] = "10s"
        change(config)
        return self.keep(Envoy(config, folder))

    def start_redis(self, port: int = 0) -> Redis:
        """Start a Redis, or a Valkey, on *port* if one is given."""
        return self.keep(Redis(redis_binary(), self.folder, port))

    def bearer(self, company_id: Claim, **claims: Claim) -> dict[str, str]:
        """Headers of a request by a company."""
        return {"authorization": f"Bearer {self.issuer.token({'company_id': company_id, **claims})}"}

    def close(self) -> None:
        """Stop all that was started, the last first."""
        for process in reversed(self._started):
            process.stop()

    def keep(self, process: P) -> P:
        """Stop *process*, which runs, in the end."""
        self._started.append(process)
        self.processes.append(process)
        return process


class Redis(Process):
    """A Redis that keeps nothing on disk."""

    def __init__(self, binary: str, folder: Path, port: int = 0) -> None:
        self.port = port or free_port()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        super().__init__("redis", [binary, *options, "--dir", folder], folder / "redis.log")
        self.wait_until(lambda: b"PONG" in self.ask("PING"), "it answers")

    def ask(self, *words: str) -> bytes:
        """Its reply to a command, as far as it comes in one piece."""
        command = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(command.encode())
            return connection.recv(65_536)

    def counters(self) -> list[int]:
        """The counts of all counters, without those by which `rls` tests Redis."""
        keys = [line for line in self.ask("KEYS", "*").decode().split("\r\n")[1:] if line[:1] not in {"", "$"}]
        return [
            int(self.ask("GET", key).split(b"\r\n")[1])
            for key in keys
            if not key.startswith(("r1|ping|", "r1|marker|"))
        ]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"


def statuses(answers: Sequence[Answer]) -> list[int]:
    return [answer.status for answer in answers]


def sidecar(config: EnvoyConfig) -> None:
    """As in Istio: what is out of service is for the control plane to say, not for health checks."""
    del config.clusters["ratelimit"]["health_checks"]


def no_process_in(group: int) -> bool:
    """Whether all processes of the process *group* are gone."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
