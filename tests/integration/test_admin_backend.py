"""`/api/v1/backend` and `/api/v1/traffic` of a server whose Redis goes away and comes back."""

from examples.mesh.http import ask
from examples.mesh.processes import wait_for
from tests.integration.test_admin_changes import RULES, check
from tests.redis_server import RedisServer, newest_binary, running
from tests.rls_process import RlsProcess


def test_what_decided_while_the_backend_failed(tmp_path) -> None:
    with (
        running(RedisServer(tmp_path, newest_binary())) as redis,
        RlsProcess(tmp_path, "--backend", redis.url, rules=RULES) as server,
    ):
        port = int(server.addresses["admin"].rpartition(":")[2])
        assert check(server, "acme", 2)
        before = ask(port, "/api/v1/backend").json()
        assert (before["backend"], before["nodes"]) == (redis.url, [{"address": redis.url, "up": True}])
        assert (before["errors"], before["policies"]) == (0, [])
        assert sum(before["durations"]["requests"]) == 1
        assert len(before["durations"]["requests"]) == len(before["durations"]["up_to_seconds"]) + 1
        redis.kill()
        for _ in range(3):
            check(server, "acme")
        found = ask(port, "/api/v1/backend").json()
        assert found["nodes"] == [{"address": redis.url, "up": False}]
        assert found["errors"] >= 1
        [row] = found["policies"]
        assert (row["domain"], row["rule"], row["name"], row["policy"], row["checks"]) == (
            *("mesh", "company_id", "per company", "local"),
            3,
        )
        assert {"store": "fallback", "counters": 1}.items() <= next(
            one for one in found["stores"] if one["store"] == "fallback"
        ).items()
        redis.start()
        wait_for(lambda: sum(ask(port, "/api/v1/backend").json()["fallback_hits"].values()) >= 3, "what became of them")
        traffic = wait_for(lambda: (one := ask(port, "/api/v1/traffic").json())["checks_per_second"] and one, "a point")
        assert (traffic["requests"], traffic["seconds"]) == (4, 5.0)
        assert len(traffic["checks_per_second"]) == len(traffic["refused_per_second"]) == len(traffic["p99_seconds"])
        assert sum(traffic["checks_per_second"]) > 0
