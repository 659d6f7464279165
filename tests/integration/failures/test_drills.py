"""What calls get while the cluster is not well; each drill's row stands in docs/operations.md."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from rls.stores.redis.slots import slot_of
from tests.integration.failures.drill import Drill, Pace, Report
from tests.redis_cluster import RedisCluster, running_cluster
from tests.redis_server import RedisServer, newest_binary

Tell = Callable[[Report], None]
NOTHING_LOST = 0


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    with running_cluster(RedisCluster(tmp_path, newest_binary())) as started:
        yield started
        assert started.without_ttl() == []


@pytest.fixture
def drill(own_cluster: RedisCluster, tmp_path: Path, pace: Pace) -> Drill:
    return Drill(own_cluster, tmp_path, pace)


def assert_calm(report: Report) -> None:
    """Callers hear in time that there is no decision, and in the end there are decisions again.

    Not all: where all of this shares few cores, now and then a node has no turn for 10 ms.
    """
    assert report.told_in_time > 98
    assert report.in_the_end > 95


def assert_exact(report: Report) -> None:
    """What the server says that it counted, Redis has; no more than the limit passed, and what was counted locally."""
    assert report.lost - report.in_doubt <= NOTHING_LOST
    assert report.over_admitted / 100 * report.allowed <= report.alone


def pause(seconds: float) -> None:
    """What a fault lasts is part of the drill."""
    threading.Event().wait(seconds)


def test_kill_a_primary(drill: Drill, own_cluster: RedisCluster, report: Tell) -> None:
    """Its replica takes over."""
    found = drill.run("kill -9 of a primary, its replica takes over", own_cluster.servers[0].kill)
    report(found)
    assert_calm(found)
    assert found.over_admitted < 1


def test_kill_all_primaries(drill: Drill, own_cluster: RedisCluster, report: Tell) -> None:
    """They come back empty, and so do their replicas."""

    def fault() -> None:
        for server in own_cluster.servers[:3]:
            server.kill()
        pause(1)
        for server in own_cluster.servers[:3]:
            server.start()

    found = drill.run("kill -9 of all primaries, restarted after 1 s", fault)
    report(found)
    assert_calm(found)


def test_a_node_hangs(drill: Drill, own_cluster: RedisCluster, report: Tell) -> None:
    def fault() -> None:
        own_cluster.servers[0].suspend()
        pause(5)
        own_cluster.servers[0].resume()

    found = drill.run("SIGSTOP of a primary for 5 s", fault)
    report(found)
    assert_calm(found)
    assert found.over_admitted < 1


def test_packets_are_dropped(drill: Drill, own_cluster: RedisCluster, report: Tell) -> None:
    """Between the server and a node that is well: nobody takes its place."""
    server = own_cluster.servers[0]
    with Proxy(server.port) as proxy, announced(own_cluster, server, proxy.port):

        def fault() -> None:
            proxy.drop()
            pause(3)
            proxy.forward()

        found = drill.run("packets to a primary are dropped for 3 s", fault)
    report(found)
    assert_calm(found)
    assert_exact(found)


def test_slots_are_moved(drill: Drill, own_cluster: RedisCluster, report: Tell) -> None:
    def fault() -> None:
        source, target = own_cluster.servers[:2]
        with own_cluster.client(source) as client:
            slots = sorted({slot_of(key) for key in client.scan_iter(count=1000)})
        for slot in slots[:50]:
            own_cluster.move(slot, target)

    found = drill.run("50 slots with counters are moved to another primary", fault)
    report(found)
    assert_calm(found)
    assert_exact(found)
    assert found.in_time > 98


def test_the_password_is_rotated(own_cluster: RedisCluster, tmp_path: Path, pace: Pace, report: Tell) -> None:
    """The file is changed after Redis, and then what is connected with the old password is cut off."""
    file = tmp_path / "password"
    rights = "~r1|* +get +set +incrby +expire +eval +decrby +client|setname +cluster|slots +asking"

    def change(password: str) -> None:
        for server in own_cluster.servers:
            with own_cluster.client(server) as client:
                client.execute_command("ACL", "SETUSER", "rls", "on", "resetpass", f">{password}", *rights.split())
        file.write_text(password)

    def fault() -> None:
        change("new")
        pause(2)
        for server in own_cluster.servers:
            with own_cluster.client(server) as client:
                client.client_kill_filter(user="rls")

    change("old")
    url = f"redis+cluster://rls@{own_cluster.hosts}?password_file={file}"
    found = Drill(own_cluster, tmp_path, pace, url).run("the password is rotated, and connections are cut", fault)
    report(found)
    assert_calm(found)
    assert_exact(found)


def test_it_restarts_empty(drill: Drill, own_cluster: RedisCluster, report: Tell) -> None:
    def fault() -> None:
        for server in own_cluster.servers:
            server.kill()
        for server in own_cluster.servers:
            server.start()

    found = drill.run("all nodes restart with nothing in them", fault)
    report(found)
    assert_calm(found)


def test_memory_is_full(drill: Drill, own_cluster: RedisCluster, report: Tell) -> None:
    """`maxmemory-policy noeviction`: what writes is refused."""

    def fault() -> None:
        with own_cluster.client(own_cluster.servers[0]) as client:
            client.config_set("maxmemory", 1)
            pause(2)
            client.config_set("maxmemory", 0)

    found = drill.run("a primary has no memory left for 2 s (`noeviction`)", fault)
    report(found)
    assert_calm(found)
    assert_exact(found)


@contextmanager
def announced(cluster: RedisCluster, server: RedisServer, port: int) -> Iterator[None]:
    """All nodes tell clients that *server* is at *port*."""
    with cluster.client(server) as client:
        client.config_set("cluster-announce-port", port)
        deadline = time.monotonic() + 10
        while any(port not in ports(cluster, one) for one in cluster.servers[:3]):
            assert time.monotonic() < deadline
        yield
        client.config_set("cluster-announce-port", 0)


def ports(cluster: RedisCluster, server: RedisServer) -> list[int]:
    with cluster.client(server) as client:
        return [primary[1] for _, _, primary, *_ in client.execute_command("CLUSTER", "SLOTS")]


class Proxy:
    """Forwards what comes to a port of its own to *port*, until it is told to drop it all: no reset, no refusal."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            one.close()

    def drop(self) -> None:
        self._open.clear()

    def forward(self) -> None:
        self._open.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pipe, args=(source, target), daemon=True).start()

    def _pipe(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                self._open.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
