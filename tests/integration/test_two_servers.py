"""Two servers count in one cluster."""

import threading
from contextlib import ExitStack
from itertools import cycle

import pytest

from benches.client import Phase, Result, measure
from examples.mesh.processes import wait_for
from rls.stores.redis.slots import slot_of
from tests.redis_server import RedisServer
from tests.rls_process import RlsProcess

COMPANIES = 20
LIMIT = 1000
RULES = f"""\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {{unit: year, requests_per_unit: {LIMIT}}}
"""


class Calls:
    """Calls of all companies on *server*, 2,000 a second, from entering to leaving the context."""

    def __init__(self, server: RlsProcess) -> None:
        self._address = server.addresses["grpc"]
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.results: list[Result] = []

    def _run(self) -> None:
        while not self._enough.is_set():
            self.results += measure(self._address, [Phase(0.5, rate=2000)], connections=4, keys=COMPANIES)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


@pytest.fixture
def servers(cluster, tmp_path):
    """Patient ones, of patient callers: what is answered may not depend on how busy the machine is."""
    cluster.flush()
    patience = ("--backend-timeout", "60s", "--default-deadline", "120s", "--max-concurrency", "0")
    with ExitStack() as stack:
        started = []
        for name in ("first", "second"):
            started.append(RlsProcess(tmp_path, "--backend", cluster.url, *patience, rules=RULES, name=name))
            stack.callback(started[-1].kill)
        yield started
    cluster.flush()


def test_two_servers_let_exactly_the_limit_pass_while_slots_move(cluster, servers):
    """Every counter moves to another node, and on and on until nothing passes any more."""

    def passed():
        return sum(server.metric("rls_requests_total", code="OK") for server in servers)

    homes: dict[int, RedisServer] = {}
    moves = 0
    with Calls(servers[0]) as first, Calls(servers[1]) as second:
        wait_for(passed, "a first call")
        for client in cluster.primaries():
            with cluster.client(client) as asked:
                homes |= {slot_of(key): client for key in asked.scan_iter("*company_id=*")}
        nodes = cycle(cluster.primaries())
        while passed() < LIMIT * COMPANIES:
            for slot in homes:
                target = next(nodes)
                if cluster.owner(slot) is not target:
                    cluster.move(slot, target)
                    moves += 1
    calls = [result for load in (first, second) for result in load.results]
    assert moves > COMPANIES
    assert passed() == LIMIT * COMPANIES
    assert sum(server.metric("rls_requests_total", code="OVER_LIMIT") for server in servers) > 0
    assert not any(result.lost or result.refused for result in calls)
    assert all(server.metric("rls_requests_total", code="OK") for server in servers)
    assert cluster.without_ttl() == []
    for slot, home in homes.items():
        if cluster.owner(slot) is not home:
            cluster.move(slot, home)
    cluster.wait_until_well()
