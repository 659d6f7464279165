"""A cluster that asks for TLS, a user with few rights, and a password that changes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rls.errors import BackendError
from rls.stores.redis import RedisClusterStore
from tests.counters import PATIENT, hit, until, until_works
from tests.redis_cluster import RedisCluster, running_cluster
from tests.redis_server import newest_binary
from tests.stores.redis.tls import Certified, tls_in_front_of

OLD, NEW = "c0rrect-h0rse", "battery/staple?"
RIGHTS = "~r1|* +get +set +incrby +expire +eval +decrby +client|setname +cluster|slots +asking"


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Primaries only: their replicas could not speak the TLS that is in front of them."""
    directory = tmp_path_factory.mktemp("cluster")
    options = ["--requirepass", OLD]
    with running_cluster(RedisCluster(directory, newest_binary(), options, replicas=0, password=OLD)) as started:
        yield started


@pytest.fixture
async def tls_ports(guarded: RedisCluster, certified: Certified) -> AsyncIterator[list[int]]:
    """Ports of TLS, which the nodes announce instead of their own."""
    change(guarded, OLD)
    async with AsyncExitStack() as stack:
        ports = []
        for server in guarded.servers:
            port = await stack.enter_async_context(tls_in_front_of(server.port, certified.context))
            ports.append(port)
            with guarded.client(server) as client:
                client.config_set("cluster-announce-port", port)
        await until(lambda: all(announced(guarded) == set(ports) for _ in guarded.servers))
        yield ports
        for server in guarded.servers:
            with guarded.client(server) as client:
                client.config_set("cluster-announce-port", 0)


def announced(cluster: RedisCluster) -> set[int]:
    """The ports that every node tells."""
    told = set()
    for server in cluster.servers:
        with cluster.client(server) as client:
            told |= {primary[1] for _, _, primary, *_ in client.execute_command("CLUSTER", "SLOTS")}
    return told


def change(cluster: RedisCluster, password: str) -> None:
    for server in cluster.servers:
        with cluster.client(server) as client:
            client.execute_command("ACL", "SETUSER", "rls", "on", "resetpass", f">{password}", *RIGHTS.split())


async def test_tls_a_user_with_few_rights_and_a_password_that_changes(
    guarded: RedisCluster, certified: Certified, tls_ports: list[int], tmp_path: Path
) -> None:
    """On all nodes, also those that only the cluster told of."""
    file = tmp_path / "password"
    file.write_text(OLD)
    url = f"rediss+cluster://rls@127.0.0.1:{tls_ports[0]}?ssl_ca_certs={certified.root}&password_file={file}"
    backend = RedisClusterStore(url, timeout_seconds=PATIENT, connect_timeout_seconds=PATIENT)
    hits = [hit() for _ in range(12)]
    assert list(await backend.update([*hits, hits[0].with_amount(-9)])) == [1] * 12 + [0]
    change(guarded, NEW)
    file.write_text(NEW)
    await until(lambda: all("auth" in last_commands(guarded, number) for number in range(3)))
    assert list(await backend.update(hits)) == [1] + [2] * 11
    for server in guarded.servers:
        with guarded.client(server) as client:
            client.client_kill_filter(user="rls")
    await until(lambda: any(node.error for node in backend._topology.nodes))
    await until_works(lambda: backend.update(hits))
    await backend.aclose()


def last_commands(cluster: RedisCluster, number: int) -> list[str]:
    with cluster.client(cluster.servers[number]) as client:
        return [one["cmd"] for one in client.client_list() if one["name"] == "rls"]


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_ports: list[int]) -> None:
    backend = RedisClusterStore(f"rediss+cluster://rls:{OLD}@127.0.0.1:{tls_ports[0]}", timeout_seconds=PATIENT)
    with pytest.raises(BackendError, match=r"(?i)certificate") as caught:
        await backend.ping()
    assert OLD not in str(caught.value)
    await backend.aclose()
