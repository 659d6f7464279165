"""A backup of a live cluster comes back in an empty one: the scripts of k8s/, on real nodes and with a real rclone."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.cluster import RedisCluster

from tests.k8s.nodes import ROOT, Nodes, empty_nodes, program, run
from tests.redis_server import wait_until

BACKUP = ROOT / "k8s" / "components" / "backup" / "job"
RESTORE = ROOT / "k8s" / "restore"
COUNTERS = 2_000


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A PATH with what the images bring: Redis' programs go by Valkey's names."""
    names = tmp_path / "bin"
    names.mkdir()
    (names / "valkey-cli").symlink_to(program("redis-cli"))
    program("rclone")
    return f"{names}:{os.environ['PATH']}"


def fill(client: RedisCluster) -> None:
    """Counters as rls makes them, and some that stay for good."""
    pipeline = client.pipeline()
    for number in range(COUNTERS):
        pipeline.set(f"mesh|company_id|{number}", number, ex=3600 + number)
    pipeline.set("for good", "yes")
    pipeline.set("soon gone", 1, px=1)
    pipeline.execute()


def contents(nodes: Nodes, names: list[str]) -> dict[str, tuple[bytes | None, int]]:
    """Values, and when they expire, in milliseconds since 1970."""
    with nodes.client() as client:
        pipeline = client.pipeline()
        for name in names:
            pipeline.get(name)
            pipeline.pexpiretime(name)
        replies = pipeline.execute()
    return dict(zip(names, zip(replies[::2], replies[1::2], strict=True), strict=True))


@contextmanager
def served(nodes: Nodes, snapshots: Path, sockets: Path, path: str) -> Iterator[None]:
    """By a server of the nodes' own kind: others need not know its format."""
    (Path(path.partition(":")[0]) / "valkey-server").symlink_to(nodes.binary)
    with subprocess.Popen(["sh", RESTORE / "serve.sh", snapshots, sockets], env={"PATH": path}) as server:
        try:
            yield
        finally:
            server.terminate()
            assert server.wait(20) == 0
    assert not [one for one in sockets.glob("*.sock") if is_served(one)]


def is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def archived(tmp_path: Path, folder: str = "daily") -> list[str]:
    return sorted(path.name for path in (tmp_path / "archive" / folder).iterdir())


def test_keys_values_and_lifetimes_come_back(tmp_path: Path, programs: str) -> None:
    names = [*(f"mesh|company_id|{number}" for number in range(COUNTERS)), "for good"]
    snapshots, fetched = tmp_path / "snapshots", tmp_path / "fetched"
    snapshots.mkdir()
    archive = {"PATH": programs, "ARCHIVE": str(tmp_path / "archive"), "RCLONE_CONFIG": "/notfound"}
    with empty_nodes(tmp_path / "first") as nodes:
        assert nodes.keep().returncode == 0
        with nodes.client() as client:
            fill(client)
        before = contents(nodes, names)

        taken = run(["sh", str(BACKUP / "snapshot.sh"), str(snapshots)], **nodes.env("backup") | {"PATH": programs})

    assert taken.returncode == 0, taken.stderr
    assert len(list(snapshots.glob("*.rdb"))) == 3
    put = run(["sh", str(BACKUP / "archive.sh"), str(snapshots)], **archive, ARCHIVE_FOLDER="daily", ARCHIVE_KEEP="2")
    assert put.returncode == 0, put.stderr
    got = run(["sh", str(RESTORE / "fetch.sh"), str(fetched)], **archive, SNAPSHOT="daily")
    assert got.returncode == 0, got.stderr
    (sockets := tmp_path / "s").mkdir()
    with empty_nodes(tmp_path / "second") as nodes, served(nodes, fetched, sockets, programs):
        assert nodes.keep().returncode == 0
        restored = run([sys.executable, str(RESTORE / "restore.py"), str(sockets)], **nodes.env("restore"))
        again = run([sys.executable, str(RESTORE / "restore.py"), str(sockets)], **nodes.env("restore"))

        assert restored.stdout == f"{COUNTERS + 1} of {COUNTERS + 1} counters restored, 0 were there already\n"
        assert again.stdout == f"0 of {COUNTERS + 1} counters restored, {COUNTERS + 1} were there already\n"
        assert contents(nodes, names) == before
        with nodes.client() as client:
            assert client.dbsize(target_nodes=RedisCluster.PRIMARIES) == COUNTERS + 1


def test_with_the_acl_and_the_certificates_of_k8s(tmp_path: Path, secrets: Path, programs: str) -> None:
    (snapshots := tmp_path / "snapshots").mkdir()
    (sockets := tmp_path / "s").mkdir()
    with empty_nodes(tmp_path / "nodes", secrets) as nodes:
        assert nodes.keep().returncode == 0
        nodes.ask("SET", "acme", 7, "EX", 3600)
        taken = run(["sh", str(BACKUP / "snapshot.sh"), str(snapshots)], **nodes.env("backup") | {"PATH": programs})
        assert taken.returncode == 0, taken.stderr + taken.stdout
        nodes.ask("INCRBY", "acme", 1)

        with served(nodes, snapshots, sockets, programs):
            replaced = run(
                [sys.executable, str(RESTORE / "restore.py"), str(sockets)],
                **nodes.env("restore") | {"REDIS_REPLACE": "true"},
            )

        assert replaced.returncode == 0, replaced.stderr
        assert nodes.ask("GET", "acme") == b"7"


def test_what_lacks_slots_is_no_backup(tmp_path: Path, programs: str) -> None:
    (snapshots := tmp_path / "snapshots").mkdir()
    with empty_nodes(tmp_path / "nodes") as nodes:
        assert nodes.keep().returncode == 0
        wait_until(nodes.is_whole, "the replicas have caught up")
        env = nodes.env("backup") | {"PATH": programs, "REDIS_NODES": " ".join(nodes.names.split()[1:])}

        taken = run(["sh", str(BACKUP / "snapshot.sh"), str(snapshots)], **env)

    assert taken.returncode == 1
    assert "of 16384 slots: this is no backup" in taken.stderr
    assert not (snapshots / "SHA256SUMS").exists()


def test_only_the_newest_are_kept_and_an_unfinished_one_is_not_fetched(tmp_path: Path, programs: str) -> None:
    (snapshots := tmp_path / "snapshots").mkdir()
    (snapshots / "a.rdb").write_text("counters")
    (snapshots / "SHA256SUMS").write_text(
        subprocess.run(["sha256sum", "a.rdb"], cwd=snapshots, capture_output=True, text=True, check=True).stdout
    )
    archive = {"PATH": programs, "ARCHIVE": str(tmp_path / "archive"), "RCLONE_CONFIG": "/notfound"}
    for old in ("2020-01-01T00-00-00Z", "2020-01-02T00-00-00Z", "2999-01-01T00-00-00Z"):
        (tmp_path / "archive" / "daily" / old).mkdir(parents=True)
        (tmp_path / "archive" / "daily" / old / "a.rdb").write_text(old)

    put = run(["sh", str(BACKUP / "archive.sh"), str(snapshots)], **archive, ARCHIVE_FOLDER="daily", ARCHIVE_KEEP="2")
    got = run(["sh", str(RESTORE / "fetch.sh"), str(tmp_path / "fetched")], **archive, SNAPSHOT="daily")

    assert put.returncode == 0, put.stderr
    year = time.gmtime().tm_year
    assert [name[:4] for name in archived(tmp_path)] == [str(year), "2999"]
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "fetched" / "a.rdb").read_text() == "counters"
    none = run(["sh", str(RESTORE / "fetch.sh"), str(tmp_path / "none")], **archive, SNAPSHOT="weekly")
    assert none.returncode != 0
    assert "no snapshot is there" in none.stderr
    (snapshots / "a.rdb").write_text("spoilt")
    spoilt = run(
        ["sh", str(BACKUP / "archive.sh"), str(snapshots)], **archive, ARCHIVE_FOLDER="daily", ARCHIVE_KEEP="2"
    )
    assert spoilt.returncode != 0
