"""A real cluster for tests: three primaries, and a replica of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from examples.mesh.processes import free_port
from tests.redis_server import RedisServer, wait_until

SLOTS = 16_384
PRIMARIES = 3
# A primary is dead after a second without an answer, so that failovers take little time.
_OPTIONS = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
    *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0", "--loglevel", "notice"),
)


class RedisCluster:
    """Nodes on free ports of 127.0.0.1; not started yet.

    Args:
        directory: For their files.
        binary: Path of the server.
        options: More of its options, as `--name`, `value`.
        replicas: Of each primary.
        password: What the options make it ask for.

    Attributes:
        servers: The first three are the primaries to begin with, then come their replicas in the same order.
    """

    def __init__(
        self, directory: Path, binary: str, options: Sequence[str] = (), *, replicas: int = 1, password: str = ""
    ) -> None:
        self.password = password
        self.servers = []
        self._replicas = replicas
        for number in range(PRIMARIES * (1 + replicas)):
            own = directory / f"node-{number}"
            own.mkdir()
            bus = ("--cluster-port", str(free_port()))
            self.servers.append(RedisServer(own, binary, [*_OPTIONS, *bus, *options]))

    @property
    def hosts(self) -> str:
        """Of the first nodes, as a URL names them."""
        return ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:PRIMARIES])

    @property
    def url(self) -> str:
        return f"redis+cluster://{self.hosts}"

    def client(self, server: RedisServer) -> Redis:
        """A client of one node, to look behind the scenes; to be closed."""
        return server.client(self.password or None)

    def start(self) -> None:
        """Return when all slots are served and all replicas follow."""
        for server in self.servers:
            server.start()
        share = -(-SLOTS // PRIMARIES)
        for number, server in enumerate(self.servers):
            with self.client(server) as client:
                if number < PRIMARIES:
                    slots = range(number * share, min(SLOTS, (number + 1) * share))
                    client.execute_command("CLUSTER", "ADDSLOTS", *slots)
                    client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number:
                    self._meet(client)
        wait_until(lambda: all(self._known(server) == len(self.servers) for server in self.servers), "they met")
        for number in range(PRIMARIES, len(self.servers)):
            with self.client(self.servers[number]) as client:
                client.execute_command("CLUSTER", "REPLICATE", self.id_of(self.servers[number % PRIMARIES]))
        self.wait_until_well()

    def _meet(self, client: Redis) -> None:
        first = self.servers[0]
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, first.options["--cluster-port"])

    def wait_until_well(self) -> None:
        """Return when every running node says that all is well."""
        wait_until(lambda: all(self._is_well(server) for server in self.servers if server.is_running), "all is well")

    def _is_well(self, server: RedisServer) -> bool:
        with self.client(server) as client:
            info = client.execute_command("CLUSTER", "INFO")
            replication: Any = client.info("replication")
            follows = replication["role"] == "master" or replication["master_link_status"] == "up"
            return b"cluster_state:ok" in info and follows

    def _known(self, server: RedisServer) -> int:
        """How many nodes *server* has met."""
        with self.client(server) as client:
            lines = client.execute_command("CLUSTER", "NODES").decode().splitlines()
            return sum("handshake" not in line and " connected" in line for line in lines)

    def id_of(self, server: RedisServer) -> str:
        """The node's id."""
        with self.client(server) as client:
            return str(client.execute_command("CLUSTER", "MYID").decode())

    def primaries(self) -> list[RedisServer]:
        """Those that are primaries now, and run."""
        return [server for server in self.servers if server.is_running and self._is_primary(server)]

    def _is_primary(self, server: RedisServer) -> bool:
        with self.client(server) as client:
            replication: Any = client.info("replication")
            return bool(replication["role"] == "master")

    def owner(self, slot: int) -> RedisServer:
        """Who serves *slot*."""
        with self.client(self.primaries()[0]) as client:
            for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(server for server in self.servers if server.port == primary[1])
        raise AssertionError(f"nobody serves {slot}")

    def begin_move(self, slot: int, target: RedisServer) -> RedisServer:
        """Let *slot* be on its way to *target*; returns where it comes from."""
        source = self.owner(slot)
        with self.client(source) as giving, self.client(target) as taking:
            taking.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
            giving.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        return source

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Move the keys of *slot*, one after the other."""
        auth = ("AUTH", self.password) if self.password else ()
        with self.client(source) as giving:
            while keys := giving.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
                giving.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, *auth, "KEYS", *keys)

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """*slot* belongs to *target* now."""
        target_id = self.id_of(target)
        for server in (target, source, *self.primaries()):
            with self.client(server) as client:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def move(self, slot: int, target: RedisServer) -> None:
        """Move *slot* with its keys to *target*."""
        source = self.begin_move(slot, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)

    def flush(self) -> None:
        """Forget all keys."""
        for server in self.primaries():
            with self.client(server) as client:
                client.flushall()

    def without_ttl(self) -> list[bytes]:
        """Keys that never expire: there must be none."""
        found = []
        for server in self.primaries():
            with self.client(server) as client:
                found += [key for key in client.scan_iter(count=1000) if client.ttl(key) == -1]
        return found

    def stop(self) -> None:
        """End all nodes."""
        for server in self.servers:
            server.stop()


@contextmanager
def running_cluster(cluster: RedisCluster) -> Iterator[RedisCluster]:
    """*cluster*, started, and stopped in the end."""
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
