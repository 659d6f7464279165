"""What becomes of requests when rls dies, comes back, or gets new rules."""

import signal

from examples.mesh.processes import wait_for
from tests.e2e.mesh import RULES, sidecar, statuses


def deny(config):
    config.ratelimit["failure_mode_deny"] = True
    sidecar(config)


def test_a_refused_company_stays_refused_until_it_dies_and_passes_then(mesh):
    rls = mesh.start_rls()
    envoy = mesh.start_envoy(rls, change=sidecar)
    headers = mesh.bearer("acme")
    assert statuses([envoy.get(headers=headers) for _ in range(6)]) == [200] * 5 + [429]

    rls.kill()

    assert statuses([envoy.get(headers=headers) for _ in range(5)]) == [200] * 5
    assert envoy.limits()["failure_mode_allowed"] == 5


def test_nothing_passes_while_it_is_dead_where_envoy_is_told_to_deny(mesh):
    rls = mesh.start_rls()
    envoy = mesh.start_envoy(rls, change=deny)
    assert envoy.get().status == 200

    rls.kill()

    answers = [envoy.get(headers=mesh.bearer("acme")) for _ in range(3)]
    assert statuses(answers) == [500] * 3
    wait_for(lambda: len(envoy.access_log()) == 4, "the access log holds all requests")
    assert {line["flags"] for line in envoy.access_log()[1:]} == {"RLSE"}


def test_it_limits_again_when_it_comes_back(mesh):
    rls = mesh.start_rls()
    envoy = mesh.start_envoy(rls, change=sidecar)
    headers = mesh.bearer("acme")
    rls.kill()
    assert statuses([envoy.get(headers=headers) for _ in range(10)]) == [200] * 10

    mesh.start_rls(ports=rls.ports)

    wait_for(lambda: envoy.get(headers=headers).status == 429, "a refusal")
    assert envoy.limits()["ok"] == 5


def test_envoys_health_checks_follow_it(mesh):
    rls = mesh.start_rls()
    envoy = mesh.start_envoy(rls)
    wait_for(lambda: envoy.healthy() == 1, "Envoy holds it for healthy")

    rls.kill()
    wait_for(lambda: envoy.healthy() == 0, "Envoy holds it for dead")

    mesh.start_rls(ports=rls.ports)
    wait_for(lambda: envoy.healthy() == 1, "Envoy holds it for healthy again")


def test_a_loop_that_is_stuck_is_unhealthy_to_envoy(mesh):
    rls = mesh.start_rls()
    envoy = mesh.start_envoy(rls)
    wait_for(lambda: envoy.healthy() == 1, "Envoy holds it for healthy")

    rls.send(signal.SIGSTOP)
    wait_for(lambda: envoy.healthy() == 0, "Envoy holds it for dead")

    rls.send(signal.SIGCONT)
    wait_for(lambda: envoy.healthy() == 1, "Envoy holds it for healthy again")


def test_new_rules_go_live_and_keep_the_counts(mesh):
    rls = mesh.start_rls()
    envoy = mesh.start_envoy(rls, change=sidecar)
    acme, other = mesh.bearer("acme"), mesh.bearer("other")
    assert statuses([envoy.get(headers=acme) for _ in range(6)]) == [200] * 5 + [429]

    mesh.rules.write_text(RULES.replace("requests_per_unit: 5", "requests_per_unit: 8"))
    wait_for(lambda: envoy.get(headers=other).headers["x-ratelimit-limit"].startswith("8,"), "the new limit")

    assert statuses([envoy.get(headers=acme) for _ in range(3)]) == [200, 200, 429]
    assert envoy.limits()["failure_mode_allowed"] == 0


def test_rules_with_a_mistake_change_nothing(mesh):
    rls = mesh.start_rls()
    envoy = mesh.start_envoy(rls, change=sidecar)
    mesh.rules.write_text(RULES.replace("requests_per_unit: 5", "request_per_unit: 8"))
    wait_for(lambda: rls.metric("rls_config_last_reload_successful") == 0, "the mistake is found")

    headers = mesh.bearer("acme")
    assert statuses([envoy.get(headers=headers) for _ in range(6)]) == [200] * 5 + [429]
