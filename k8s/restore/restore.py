"""Copy what servers on Unix sockets hold, which have loaded a snapshot, into a Redis Cluster.

restore.py SOCKETS    <number>.sock for each server, and `count`, how many there are: see serve.sh

REDIS_NODES, REDIS_USER, REDIS_PASSWORD_FILE, REDIS_TLS: as for cluster_repair.py
REDIS_REPLACE         `true` writes over counters that are there; without it they stay, as they are newer

A counter is brought back with its value, and expires when it would have. The cluster need not have the same shards.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError

BATCH = 500
PATIENCE_SECONDS = 600


class Counter(NamedTuple):
    """As DUMP gives it, and when it expires, in milliseconds since 1970; 0 for never."""

    key: bytes
    payload: bytes
    expires_at: int


def counters(source: Redis) -> Iterator[list[Counter]]:
    """All that *source* holds, in batches; without what expired meanwhile."""
    cursor = 0
    while True:
        reply: Any = source.scan(cursor, count=BATCH)
        cursor, keys = reply
        pipeline: Any = source.pipeline(transaction=False)
        for key in keys:
            pipeline.dump(key)
            pipeline.execute_command("PEXPIRETIME", key)
        replies = pipeline.execute() if keys else []
        yield [
            Counter(key, payload, max(expires_at, 0))
            for key, payload, expires_at in zip(keys, replies[::2], replies[1::2], strict=True)
            if payload is not None
        ]
        if not cursor:
            return


def restore(batch: Sequence[Counter], target: RedisCluster, *, replace: bool) -> int:
    """How many were written; those that were there already are not, unless *replace*.

    Raises:
        RedisError: One could not be written for another reason.
    """
    pipeline: Any = commands(target).pipeline()
    for counter in batch:
        pipeline.restore(counter.key, counter.expires_at, counter.payload, replace=replace, absttl=True)
    written = 0
    for reply in pipeline.execute(raise_on_error=False) if batch else []:
        if not isinstance(reply, Exception):
            written += 1
        elif "BUSYKEY" not in str(reply):
            raise reply
    return written


def commands(client: Any) -> Any:
    """*client*, of which redis-py does not say what its methods return."""
    return client


def loaded(path: Path) -> Redis:
    """A client of the server at *path*, once that has loaded its snapshot."""
    source = Redis(unix_socket_path=str(path))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            source.ping()
        except RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return source


def sockets(directory: Path) -> list[Path]:
    """One for each snapshot."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    count = directory / "count"
    while not (count.exists() and count.read_text()):
        if time.monotonic() > deadline:
            raise TimeoutError("serve.sh has not begun")
        time.sleep(0.1)
    return [directory / f"{number}.sock" for number in range(1, int(count.read_text()) + 1)]


def cluster(env: Mapping[str, str]) -> RedisCluster:
    """A client of the cluster to restore into."""
    options: dict[str, Any] = {"username": env.get("REDIS_USER")}
    if "REDIS_PASSWORD_FILE" in env:
        options["password"] = Path(env["REDIS_PASSWORD_FILE"]).read_text("utf-8").strip()
    if "REDIS_TLS" in env:
        tls = Path(env["REDIS_TLS"])
        options |= {"ssl": True, "ssl_ca_certs": str(tls / "ca.crt")}
        options |= {"ssl_certfile": str(tls / "tls.crt"), "ssl_keyfile": str(tls / "tls.key")}
    nodes = []
    for name in env["REDIS_NODES"].split():
        host, _, port = name.rpartition(":")
        nodes.append(commands(ClusterNode)(host, int(port)))
    return RedisCluster(startup_nodes=nodes, **options)


def main(directory: Path, env: Mapping[str, str]) -> int:
    """The exit code."""
    replace = env.get("REDIS_REPLACE") == "true"
    found = written = 0
    with cluster(env) as target:
        for path in sockets(directory):
            with loaded(path) as source:
                for batch in counters(source):
                    found += len(batch)
                    written += restore(batch, target, replace=replace)
    print(f"{written} of {found} counters restored, {found - written} were there already")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), os.environ))
    except (RedisError, OSError) as error:
        sys.exit(f"not restored: {error}")
