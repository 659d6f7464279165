"""The nodes of k8s/components/redis-cluster with their exporters, watched by Prometheus: well, with faults, and repaired."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess

from redis.exceptions import MovedError

from tests.alerts.discovered import pod
from tests.alerts.running import Prometheus
from tests.alerts.traffic import Traffic
from tests.k8s.exporter import RedisExporter
from tests.k8s.nodes import COMPONENT, Nodes, make_secrets, program, run
from tests.redis_server import wait_until

PATIENCE = 90
DEAD, HANGS, ALONE, CUT_OFF, BUSY, ITS_REPLICA = 0, 5, 1, 3, 2, 4
"""Nodes, by what becomes of them. 0, 1 and 2 are primaries; the keeper makes 5, 3 and 4 their replicas, in this order."""
ROOM, LITTLE_ROOM = "maxmemory 1280mb", "maxmemory 12mb"
SLOW_SCRIPT = "local n = 0 for i = 1, 6000000 do n = n + i end return n"
"""Keeps Redis busy for some 30 ms. What takes more than 10 ms is in its SLOWLOG."""


class Watched:
    """Six nodes with the configuration, TLS and ACL of k8s/, an exporter beside each, and a Prometheus with our rules."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._traffic = Traffic()
        (folder / "bin").mkdir()
        (folder / "bin" / "valkey-cli").symlink_to(program("redis-cli"))
        # A node that is slow on a busy machine must not lose its place.
        self.nodes = Nodes(folder / "nodes", make_secrets(folder / "secrets"), node_timeout=5_000)
        for number in (BUSY, ITS_REPLICA):
            self._configure(number, ROOM, LITTLE_ROOM)
        stack.callback(self.nodes.stop)
        self.nodes.start()
        self._run_keeper()
        wait_until(self.nodes.is_whole, "the replicas have caught up", PATIENCE)
        exporters = [stack.enter_context(RedisExporter(self.nodes, number, folder)) for number in range(6)]
        found = [
            pod(exporter.address, f"redis-{number}", "rate-limit", "redis", "metrics")
            for number, exporter in enumerate(exporters)
        ]
        self.prometheus = stack.enter_context(Prometheus(folder / "prometheus", {}, pods={"redis": found}))
        stack.callback(self._traffic.stop)

    def _configure(self, number: int, old: str, new: str) -> None:
        file = self.nodes.config(number)
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))

    def _password_of_replicas(self) -> tuple[str, str]:
        """What redis.conf includes with the password, and the same with another one."""
        assert self.nodes.secrets is not None
        known = self.nodes.secrets / "redis-nodes" / "replication.conf"
        other = self._folder / "replication.conf"
        other.write_text("masteruser replica\nmasterauth of-yesterday\n")
        return f"include {known}", f"include {other}"

    def break_(self) -> None:
        """All at once: a shard is lost, a replica has another password, and a shard is full and busy with scripts."""
        self.nodes.servers[DEAD].kill()
        self.nodes.servers[HANGS].suspend()
        self.nodes.servers[CUT_OFF].kill()
        self._configure(CUT_OFF, *self._password_of_replicas())
        self.nodes.servers[CUT_OFF].start()
        self._fill()
        busy = self.nodes.one(BUSY, "rls")
        self._traffic.again(lambda: busy.eval(SLOW_SCRIPT, 0), 0.8)

    def _fill(self) -> None:
        """Counters that are as large as many, until it evicts some."""
        with self.nodes.one(BUSY, "rls") as client:
            for number in itertools.count():
                try:
                    client.set(f"counter-{number}", bytes(200_000), ex=3_600)
                except MovedError:
                    continue
                if int(self.info(BUSY, "stats")["evicted_keys"]) > 3:
                    return

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until Prometheus knows it."""
        self.prometheus.wait_until(condition, "it has scraped that", PATIENCE)

    def alerts(self, *states: str) -> dict[tuple[str, str], str]:
        """The summaries of alerts about Redis, by name and pod."""
        return {
            (one["labels"]["alertname"], one["labels"].get("pod", "")): one["annotations"]["summary"]
            for one in self.prometheus.alerts()
            if one["labels"]["alertname"].startswith("Redis") and one["state"] in states
        }

    def script(self, name: str, number: int, *words: str, seconds: int = 60) -> CompletedProcess[str]:
        """What a script of the component says in the pod of a node, in so many seconds."""
        assert self.nodes.secrets is not None
        env = {
            "PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}",
            "REDIS_PORT": str(self.nodes.servers[number].port),
            "REDIS_TLS": str(self.nodes.secrets / "redis-tls"),
            "REDIS_SECRET": str(self.nodes.secrets / "redis-nodes"),
        }
        return run(["timeout", str(seconds), "sh", str(COMPONENT / name), *words], **env)

    def info(self, number: int, section: str) -> dict[str, str]:
        """INFO of a node, as a person in its pod gets it."""
        said = self.script("probe.sh", number, "info", section)
        assert said.returncode == 0, said.stderr
        return dict(line.split(":", 1) for line in said.stdout.split() if ":" in line)

    def log(self, number: int) -> str:
        """That of a node."""
        (file,) = self.nodes.config(number).parent.glob("redis-*.log")
        return file.read_text(errors="replace")

    def _run_keeper(self) -> None:
        """Until the job's turn comes that repairs the cluster."""
        wait_until(lambda: self.nodes.keep().returncode == 0, "the keeper says that all is well", PATIENCE)

    def repair(self) -> None:
        """What the runbooks say: bring nodes back, one password, no scripts, more memory, node by node."""
        self._traffic.stop()
        self.nodes.servers[DEAD].start()
        self.nodes.servers[HANGS].resume()
        self.nodes.servers[CUT_OFF].kill()
        self._configure(CUT_OFF, *reversed(self._password_of_replicas()))
        self.nodes.servers[CUT_OFF].start()
        self._run_keeper()
        for number in (ITS_REPLICA, BUSY):
            self._give_room(number)

    def _give_room(self, number: int) -> None:
        """As the StatefulSet replaces a pod: it hands over, ends, and comes back with another redis.conf."""
        self.script("leave.sh", number)
        self.nodes.servers[number].stop()
        self._configure(number, LITTLE_ROOM, ROOM)
        self.nodes.servers[number].start()
        wait_until(lambda: self.script("probe.sh", number, "ready").returncode == 0, "it is ready again", PATIENCE)
