"""What becomes of requests when rls goes, comes and is replaced, with the manifests in `istio/`."""

import signal

from examples.mesh.processes import wait_for
from tests.e2e.istio import RULES, IstioMesh, a_company
from tests.e2e.load import Load
from tests.mesh.loopback import Endpoint
from tests.mesh.running import HTTPS
from tests.mesh.world import HOST

WIDE = RULES.replace("requests_per_unit: 5", "requests_per_unit: 1000000000")


def test_without_rls_requests_pass(mesh):
    rls = mesh.start_rls(rules=RULES)
    istio = IstioMesh(mesh, [rls])
    token = istio.token(a_company())
    assert istio.statuses(6, token) == [200] * 5 + [429]

    rls.kill()

    assert istio.statuses(5, token) == [200] * 5
    assert istio.sidecar.limits()["failure_mode_allowed"] == 5


def test_without_rls_nothing_passes_where_that_is_switched_on(mesh):
    rls = mesh.start_rls(rules=RULES)
    istio = IstioMesh(mesh, [rls], ["fail-closed"])
    token = istio.token(a_company())
    assert istio.get(token).status == 200

    rls.kill()

    assert istio.statuses(3, token) == [500] * 3
    wait_for(
        lambda: [line["flags"] for line in istio.sidecar.access_log()] == ["-", *["RLSE"] * 3],
        "the access log tells refusals for want of an answer from those by a limit",
    )


def test_rls_that_comes_back_limits_again(mesh):
    rls = mesh.start_rls(rules=RULES)
    istio = IstioMesh(mesh, [rls])
    token = istio.token(a_company())
    rls.kill()
    assert istio.get(token).status == 200

    mesh.start_rls(rules=RULES, ports=rls.ports)

    wait_for(lambda: istio.get(token).status == 429, "a refusal")


def test_a_rolling_restart_under_load_loses_nothing(mesh):
    """Both pods are replaced: a new one is ready, then the endpoints change, then the old one gets SIGTERM."""
    redis = mesh.start_redis()
    options = ("--drain", "500ms", "--backend", redis.url, "--backend-timeout", "5s")
    pods = [mesh.start_rls(*options, rules=WIDE, name=f"old-{n}") for n in range(2)]
    istio = IstioMesh(mesh, pods)
    company = a_company()
    headers = {"host": HOST, "authorization": f"Bearer {istio.token(company)}"}

    with Load(istio.gateway.placed.ports[HTTPS], headers) as load:
        load.go_on()
        for number in range(2):
            pods.append(mesh.start_rls(*options, rules=WIDE, name=f"new-{number}"))
            istio.sidecar.ask_rls_at(*(Endpoint(pod.port) for pod in pods[1:]))
            gone = pods.pop(0)
            gone.send(signal.SIGTERM)
            load.go_on()
            assert gone.wait() == 0
        load.go_on()

    assert set(load.statuses) == {200}
    limits = istio.sidecar.limits()
    assert (limits["ok"], limits["error"], limits["failure_mode_allowed"]) == (load.answered, 0, 0)
    assert redis.counters() == [load.answered]


def test_new_rules_go_live_under_load(mesh):
    istio = IstioMesh(mesh, [mesh.start_rls(rules=WIDE)])
    headers = {"host": HOST, "authorization": f"Bearer {istio.token(a_company())}"}

    with Load(istio.gateway.placed.ports[HTTPS], headers) as load:
        load.go_on()
        mesh.rules.write_text(RULES)
        wait_for(lambda: load.statuses[429], "a refusal by the new limit")

    assert set(load.statuses) == {200, 429}
    assert istio.sidecar.limits()["error"] == 0
