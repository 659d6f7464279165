"""SIGTERM under load, through a real Envoy."""

import signal

import pytest

from examples.mesh.processes import wait_for
from tests.e2e.load import Load
from tests.e2e.mesh import RULES, sidecar

WIDE = RULES.replace("requests_per_unit: 5", "requests_per_unit: 1000000000")
TRANSPORTS = pytest.mark.parametrize("transport", ["native", "grpcio"])


@TRANSPORTS
def test_one_of_two_servers_goes_without_a_trace(mesh, transport):
    options = ("--transport", transport, "--drain-timeout", "2s")
    going = mesh.start_rls(*options, rules=WIDE, name="going")
    staying = mesh.start_rls(*options, rules=WIDE, name="staying")
    envoy = mesh.start_envoy(going, staying)
    wait_for(lambda: envoy.healthy() == 2, "Envoy holds both for healthy")

    with Load(envoy.port, mesh.bearer("acme")) as load:
        load.go_on()
        asked = going.metric("rls_requests_total")
        going.send(signal.SIGTERM)
        assert going.wait() == 0
        load.go_on()

    assert asked > 0
    assert set(load.statuses) == {200}
    limits = envoy.limits()
    assert (limits["ok"], limits["error"], limits["failure_mode_allowed"]) == (load.answered, 0, 0)


@TRANSPORTS
def test_what_the_only_server_has_counted_is_answered(mesh, transport):
    redis = mesh.start_redis()
    options = ("--transport", transport, "--drain-timeout", "200ms", "--backend", redis.url, "--backend-timeout", "5s")
    rls = mesh.start_rls(*options, rules=WIDE)
    envoy = mesh.start_envoy(rls, change=sidecar)

    with Load(envoy.port, mesh.bearer("acme")) as load:
        load.go_on()
        rls.send(signal.SIGTERM)
        assert rls.wait() == 0
        load.go_on()

    assert set(load.statuses) == {200}
    assert redis.counters() == [envoy.limits()["ok"]]
    assert envoy.limits()["failure_mode_allowed"] == load.answered - envoy.limits()["ok"]


@TRANSPORTS
def test_a_server_that_drains_is_unhealthy_to_envoy_and_still_answers(mesh, transport):
    rls = mesh.start_rls("--transport", transport, "--drain-timeout", "60s")
    envoy = mesh.start_envoy(rls)
    wait_for(lambda: envoy.healthy() == 1, "Envoy holds it for healthy")

    rls.send(signal.SIGTERM)
    wait_for(lambda: envoy.healthy() == 0, "Envoy holds it for leaving")

    assert envoy.get(headers=mesh.bearer("acme")).headers["x-ratelimit-remaining"] == "4"
    rls.send(signal.SIGTERM)
    assert rls.wait() == 128 + signal.SIGTERM
