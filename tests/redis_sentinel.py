"""A real primary and its replica for tests, watched by three sentinels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from tests.redis_server import RedisServer, wait_until

NAME = "counters"
QUORUM = 2


class Sentinels:
    """Servers on free ports of 127.0.0.1; not started yet.

    Args:
        directory: For their files.
        binary: Path of the server.
        options: More of the options of primary and replica, as `--name`, `value`.
        password: What the options make them ask for.

    Attributes:
        servers: The primary to begin with, and its replica.
    """

    def __init__(self, directory: Path, binary: str, options: Sequence[str] = (), *, password: str = "") -> None:
        self.password = password
        primary = RedisServer(directory, binary, options)
        follow = ("--replicaof", f"127.0.0.1 {primary.port}", "--repl-diskless-sync-delay", "0")
        self.servers = [primary, RedisServer(directory, binary, [*follow, *options])]
        auth = f"sentinel auth-pass {NAME} {password}\n" if password else ""
        self._sentinels = []
        for number in range(3):
            config = directory / f"sentinel-{number}.conf"
            config.write_text(
                f"sentinel monitor {NAME} 127.0.0.1 {primary.port} {QUORUM}\n{auth}"
                f"sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 2000\n"
            )
            self._sentinels.append(RedisServer(directory, binary, sentinel_config=config))

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self._sentinels)
        return f"redis+sentinel://{hosts}/{NAME}"

    def start(self) -> None:
        """Return when the sentinels know one another and the replica."""
        for server in (*self.servers, *self._sentinels):
            server.start()
        wait_until(self._is_well, "the sentinels are ready")

    def _is_well(self) -> bool:
        for sentinel in self._sentinels:
            with sentinel.client() as client:
                state: Any = client.sentinel_master(NAME)
                if (state["num-other-sentinels"], state["num-slaves"]) != (2, 1) or state["flags"] != "master":
                    return False
        return self.follows(self.servers[1])

    def follows(self, server: RedisServer) -> bool:
        """Whether *server* is a replica that has all that its primary has."""
        with self.client(server) as client:
            replication: Any = client.info("replication")
            return bool(replication.get("master_link_status") == "up")

    def client(self, server: RedisServer) -> Redis:
        """A client of one server, to look behind the scenes; to be closed."""
        return server.client(self.password or None)

    def primary(self) -> RedisServer:
        """Whom the first sentinel says to be the primary."""
        with self._sentinels[0].client() as client:
            _, port = client.sentinel_get_master_addr_by_name(NAME)
            return next(server for server in self.servers if server.port == port)

    def stop(self) -> None:
        """End them all."""
        for server in (*self._sentinels, *self.servers):
            server.stop()


@contextmanager
def running_sentinels(sentinels: Sentinels) -> Iterator[Sentinels]:
    """*sentinels*, started, and stopped in the end."""
    try:
        sentinels.start()
        yield sentinels
    finally:
        sentinels.stop()
