"""Counts in a real Redis, through a real Envoy."""

from examples.mesh.processes import wait_for
from tests.e2e.load import Load
from tests.e2e.mesh import RULES, sidecar, statuses


def test_two_servers_let_exactly_the_limit_pass(mesh):
    redis = mesh.start_redis()
    options = ("--backend", redis.url, "--backend-timeout", "5s")
    rules = RULES.replace("requests_per_unit: 5", "requests_per_unit: 100")
    servers = [mesh.start_rls(*options, rules=rules, name=name) for name in ("first", "second")]
    envoy = mesh.start_envoy(*servers)
    wait_for(lambda: envoy.healthy() == 2, "Envoy holds both for healthy")

    with Load(envoy.port, mesh.bearer("acme")) as load:
        load.go_on()

    assert load.statuses[200] == 100
    assert set(load.statuses) == {200, 429}
    assert all(server.metric("rls_requests_total", code="OK") for server in servers)


def test_counts_outlive_a_server(mesh):
    redis = mesh.start_redis()
    options = ("--backend", redis.url, "--backend-timeout", "5s")
    rls = mesh.start_rls(*options)
    envoy = mesh.start_envoy(rls, change=sidecar)
    headers = mesh.bearer("acme")
    assert statuses([envoy.get(headers=headers) for _ in range(4)]) == [200] * 4
    rls.kill()

    mesh.start_rls(*options, ports=rls.ports)

    before = envoy.limits()["ok"]
    wait_for(lambda: envoy.get(headers=headers).status == 429, "a refusal")
    assert envoy.limits()["ok"] - before == 1
    assert redis.counters() == [6]
