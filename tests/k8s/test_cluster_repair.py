"""The script that forms and heals the Redis Cluster, on real nodes."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from redis.exceptions import NoPermissionError

from rls.core.update import CounterUpdate
from rls.stores.redis.cluster import RedisClusterStore
from tests.k8s.nodes import COMPONENT, Nodes, empty_nodes, program, run
from tests.redis_server import wait_until


def test_six_empty_nodes_become_a_cluster_and_a_second_pass_changes_nothing(nodes: Nodes) -> None:
    formed = nodes.keep()

    assert (formed.returncode, formed.stdout.splitlines()[-1]) == (0, "cluster healthy"), formed.stdout + formed.stderr
    wait_until(nodes.is_whole, "the replicas have caught up")
    assert nodes.roles() == ["master"] * 3 + ["slave"] * 3
    assert nodes.keep().stdout == "cluster healthy\n"


def test_no_cluster_is_formed_while_a_node_is_missing(nodes: Nodes) -> None:
    nodes.servers[5].kill()

    passed = nodes.keep()

    assert passed.returncode == 1
    assert passed.stdout.endswith("cluster unhealthy: no cluster yet, and not all expected nodes can be reached\n")
    assert all(
        nodes.one(number).execute_command("CLUSTER", "INFO").count(b"cluster_known_nodes:1\r") for number in (0, 4)
    )


def test_nodes_that_come_back_empty_or_elsewhere_are_taken_in_again(nodes: Nodes) -> None:
    assert nodes.keep().returncode == 0
    wait_until(nodes.is_whole, "the replicas have caught up")
    with nodes.client() as client:
        client.set("acme", 1, ex=600)

    # A replica at another address, then a primary with nothing at all, whose replica has taken its place.
    nodes.servers[4].kill()
    nodes.move(4)
    assert nodes.keep().returncode == 0
    wait_until(nodes.is_whole, "the one elsewhere is back")
    nodes.servers[0].kill()
    wait_until(lambda: nodes.replication(5)["role"] == "master", "its replica has taken over")
    nodes.wipe(0)
    healed = nodes.keep()

    assert healed.returncode == 0, healed.stdout
    wait_until(nodes.is_whole, "the empty one has caught up")
    with nodes.client() as client:
        assert client.get("acme") == b"1"


def test_all_nodes_at_other_addresses_find_each_other(nodes: Nodes) -> None:
    """As after an outage of the whole cluster: they know each other only where nobody is any more."""
    assert nodes.keep().returncode == 0
    wait_until(nodes.is_whole, "the replicas have caught up")

    for number in range(6):
        nodes.servers[number].kill()
    for number in range(6):
        nodes.move(number)
    healed = nodes.keep()

    assert healed.returncode == 0, healed.stdout
    wait_until(nodes.is_whole, "they have found each other")


@pytest.mark.parametrize("lost", [(0, 5), (0, 1)], ids=["a shard with its replica", "most primaries"])
def test_what_no_vote_can_mend_is_mended(nodes: Nodes, lost: tuple[int, ...]) -> None:
    assert nodes.keep().returncode == 0
    wait_until(nodes.is_whole, "the replicas have caught up")
    assert nodes.replication(5)["master_port"] == nodes.servers[0].port

    for number in lost:
        nodes.servers[number].kill()
    for number in lost:
        nodes.wipe(number)
    healed = nodes.keep()

    assert healed.returncode == 0, healed.stdout
    wait_until(nodes.is_whole, "all slots are served")


def test_with_the_configuration_the_acl_and_the_certificates_of_k8s(tmp_path: Path, secrets: Path) -> None:
    with empty_nodes(tmp_path, secrets) as nodes:
        formed = nodes.keep()

        assert formed.returncode == 0, formed.stdout + formed.stderr
        wait_until(nodes.is_whole, "the replicas have caught up")
        assert nodes.ask("SET", "acme", 0, "EX", 60, "NX")
        assert nodes.ask("INCRBY", "acme", 3) == 3
        with pytest.raises(NoPermissionError):
            nodes.ask("FLUSHALL")
        assert asyncio.run(counted_by_rls(nodes, secrets)) == [[3, 5], [1], [0]]


async def counted_by_rls(nodes: Nodes, secrets: Path) -> list[Sequence[int]]:
    """What the backend of rls comes to with its user, password file and client certificate: hits, a refund, a look."""
    tls, end = secrets / "redis-client-tls", int(time.time()) + 3600
    addresses = ",".join(f"127.0.0.1:{server.port}" for server in nodes.servers)
    files = f"ssl_ca_certs={tls}/ca.crt&ssl_certfile={tls}/tls.crt&ssl_keyfile={tls}/tls.key"
    url = f"rediss+cluster://rls@{addresses}?password_file={secrets}/redis-rls/password&{files}"
    backend = RedisClusterStore(url, timeout_seconds=10, connect_timeout_seconds=10)
    try:
        await backend.ping()
        asked = [[(b"a", 3), (b"b", 5)], [(b"a", -2)], [(b"c", 0)]]
        return [
            await backend.update([CounterUpdate(key, amount, 10, end, 3600) for key, amount in hits]) for hits in asked
        ]
    finally:
        await backend.aclose()


def test_a_primary_that_leaves_hands_over_first(tmp_path: Path, secrets: Path) -> None:
    """The probes' and the preStop's scripts, with what they may do by the ACL."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "valkey-cli").symlink_to(program("redis-cli"))
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    with empty_nodes(tmp_path / "nodes", secrets) as nodes:
        env = {"PATH": path, "REDIS_TLS": str(secrets / "redis-tls"), "REDIS_SECRET": str(secrets / "redis-nodes")}
        env["REDIS_PORT"] = str(nodes.servers[0].port)
        probe = ["sh", str(COMPONENT / "probe.sh")]
        assert [run([*probe, word], **env).returncode for word in ("alive", "ready")] == [0, 1]
        assert nodes.keep().returncode == 0
        wait_until(nodes.is_whole, "the replicas have caught up")
        assert [run([*probe, word], **env).returncode for word in ("alive", "ready")] == [0, 0]

        left = run(["sh", str(COMPONENT / "leave.sh")], **env)

        assert (left.returncode, left.stderr) == (0, "")
        assert nodes.replication(0)["role"] == "slave"
        nodes.servers[0].suspend()
        assert run(["timeout", "1", *probe, "alive"], **env).returncode == 124
        nodes.servers[0].resume()
