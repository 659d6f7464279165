"""Faults of real Redis nodes: a real exporter sees them, a real Prometheus fires the alert of each, and nothing else.

What the runbooks say to look at is looked at, and what they say to do is done, and ends the alerts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from examples.mesh.processes import wait_for
from tests.dashboards.trees import queries
from tests.dashboards.watched import substituted
from tests.integration.redis_nodes import (
    ALONE,
    BUSY,
    CUT_OFF,
    DEAD,
    HANGS,
    ITS_REPLICA,
    PATIENCE,
    Watched,
)

FIRES = {
    ("RedisDown", f"redis-{DEAD}"): f"redis-{DEAD} of Redis does not answer, or its exporter does not",
    ("RedisDown", f"redis-{HANGS}"): f"redis-{HANGS} of Redis does not answer, or its exporter does not",
    ("RedisMemoryNearLimit", f"redis-{BUSY}"): rf"redis-{BUSY} of Redis uses (9\d|10\d)(\.\d+)?% of its memory",
    ("RedisMemoryNearLimit", f"redis-{ITS_REPLICA}"): rf"redis-{ITS_REPLICA} of Redis uses .+% of its memory",
    ("RedisSlow", f"redis-{BUSY}"): rf"redis-{BUSY} of Redis works [\d.]+ms on a command",
    (
        "RedisReplicaCutOff",
        f"redis-{CUT_OFF}",
    ): rf"redis-{CUT_OFF} of Redis gets nothing from its primary, 127\.0\.0\.1",
    ("RedisPrimaryAlone", f"redis-{ALONE}"): (
        rf"The primary redis-{ALONE} of Redis has no replica; if it is lost, so are its counters"
    ),
    # Of the first node, and its replica.
    ("RedisSlotsMissing", ""): "5462 of the 16384 slots of the Redis Cluster have no node that works",
}
"""The summaries of the alerts, by name and pod."""
NODES = {f"redis-{number}" for number in range(6)}


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """All is well, and has been scraped."""
    with ExitStack() as stack:
        watched = Watched(tmp_path_factory.mktemp("nodes"), stack)
        watched.wait(lambda: {one["metric"]["pod"] for one in watched.prometheus.query("redis_up == 1")} == NODES)
        yield watched


@pytest.fixture(scope="module")
def broken(well: Watched) -> Watched:
    well.break_()
    return well


@pytest.fixture(scope="module")
def repaired(broken: Watched) -> Watched:
    broken.repair()
    return broken


def shown(watched: Watched, panel: str, ref: str = "A", seconds: int = 4) -> dict[str, float]:
    """What a panel of the dashboard about Redis shows now, by pod."""
    (expr,) = (query.expr for query in queries() if query[:3] == ("redis", panel, ref))
    found = watched.prometheus.query(substituted(expr, seconds))
    assert len({one["metric"].get("pod", "") for one in found}) == len(found)
    return {one["metric"].get("pod", ""): float(one["value"][1]) for one in found}


def test_none_fires_while_all_is_well(well: Watched) -> None:
    wait_for(lambda: well.alerts("pending", "firing") == {}, "none is pending", PATIENCE)


def test_the_dashboard_shows_what_redis_says(well: Watched) -> None:
    assert shown(well, "Slots") == {"": 16_384}
    primaries = {f"redis-{number}" for number in range(6) if well.info(number, "replication")["role"] == "master"}
    assert shown(well, "Replication") == dict.fromkeys(primaries, 1)
    used, limits = shown(well, "Memory"), shown(well, "Memory", "B")
    assert used.keys() == limits.keys() == NODES
    for number in range(6):
        said = well.info(number, "memory")
        assert limits[f"redis-{number}"] == int(said["maxmemory"])
        assert used[f"redis-{number}"] == pytest.approx(int(said["used_memory"]), rel=0.3)


def test_the_dashboard_counts_commands(well: Watched) -> None:
    with well.nodes.one(ALONE, "rls") as client:
        pipeline = client.pipeline(transaction=False)
        for _ in range(3_000):
            pipeline.ping()
        pipeline.execute()

    def counted() -> bool:
        seconds = 10
        counts = {pod: seconds * rate for pod, rate in shown(well, "Commands", seconds=seconds).items()}
        # Prometheus guesses what was before its first and after its last sample.
        return 3_000 <= counts.pop(f"redis-{ALONE}", 0) < 4_500 and max(counts.values()) < 1_000

    well.wait(counted)


@pytest.mark.parametrize(("name", "pod"), FIRES)
def test_a_fault_fires_its_alert(broken: Watched, name: str, pod: str) -> None:
    fired = wait_for(lambda: broken.alerts("firing").get((name, pod)), f"{name} fires", PATIENCE)
    assert re.fullmatch(FIRES[name, pod], str(fired))


def test_no_other_alert_fires(broken: Watched) -> None:
    wait_for(lambda: broken.alerts("firing").keys() == FIRES.keys(), "these fire, and no others", PATIENCE)


def test_the_dashboard_shows_the_faults(broken: Watched) -> None:
    assert shown(broken, "Slots") == {"": 10_922}
    assert shown(broken, "Replication") == {f"redis-{ALONE}": 0, f"redis-{BUSY}": 1}


def test_what_runbooks_say_to_look_at_is_there(broken: Watched) -> None:
    prometheus, nodes = broken.prometheus, broken.nodes
    # RedisDown: one that hangs, and one that is gone.
    for number, status in ((HANGS, 124), (DEAD, 1), (ALONE, 0)):
        assert broken.script("probe.sh", number, "alive", seconds=5).returncode == status
    assert {one["metric"]["pod"] for one in prometheus.query('up{job="redis"} == 0')} == {f"redis-{HANGS}"}
    # RedisMemoryNearLimit.
    memory = broken.info(BUSY, "memory") | broken.info(BUSY, "stats")
    assert int(memory["used_memory"]) > 0.9 * int(memory["maxmemory"])
    assert (memory["maxmemory_policy"], int(memory["evicted_keys"]) > 0) == ("volatile-ttl", True)
    # RedisSlow.
    (slowest, *_) = prometheus.query("topk(3, rate(redis_commands_duration_seconds_total[10s]))")
    assert (slowest["metric"]["pod"], slowest["metric"]["cmd"]) == (f"redis-{BUSY}", "eval")
    with nodes.one(BUSY, "exporter") as client:
        assert any(b"n = n + i" in entry["command"] for entry in client.slowlog_get(10))
    assert float(re.search(r"usec_per_call=([\d.]+)", broken.info(BUSY, "commandstats")["cmdstat_eval"])[1]) > 500  # type: ignore[index]
    # RedisReplicaCutOff, RedisPrimaryAlone.
    replica, primary = broken.info(CUT_OFF, "replication"), broken.info(ALONE, "replication")
    assert (replica["role"], replica["master_link_status"]) == ("slave", "down")
    assert replica["master_port"] == str(nodes.servers[ALONE].port)
    assert (primary["role"], primary["connected_slaves"]) == ("master", "0")
    assert re.search(r"Unable to AUTH to \w+: -WRONGPASS", broken.log(CUT_OFF))
    assert "cluster_slots_ok:10922" in broken.script("probe.sh", ALONE, "cluster", "info").stdout
    # RedisSlotsMissing: the job says who is missing.
    passed = nodes.keep()
    assert passed.returncode == 1
    for number in (DEAD, HANGS):
        assert f"localhost:{nodes.servers[number].port} cannot be reached" in passed.stdout
    assert passed.stdout.splitlines()[-1].startswith("cluster unhealthy: ")


def test_what_runbooks_say_to_do_ends_all(repaired: Watched) -> None:
    wait_for(lambda: repaired.alerts("pending", "firing") == {}, "all alerts are over", PATIENCE)
    assert repaired.nodes.keep().stdout == "cluster healthy\n"
    assert shown(repaired, "Slots") == {"": 16_384}
    # The shard that got more memory has kept its counters, and room.
    for number in (BUSY, ITS_REPLICA):
        memory = repaired.info(number, "memory")
        assert 9_000_000 < int(memory["used_memory"]) < 0.1 * int(memory["maxmemory"])
