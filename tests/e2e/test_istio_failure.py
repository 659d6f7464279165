"""What becomes of requests when rls goes, comes and is replaced, with the manifests in `istio/`."""

import signal

import pytest

from examples.mesh.processes import wait_for
from tests.e2e.istio import RULES, IstioMesh, a_company, an_address
from tests.e2e.load import Load
from tests.mesh.loopback import Endpoint
from tests.mesh.manifests import load
from tests.mesh.running import HTTPS, patient
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


@pytest.mark.parametrize("version", ["1.24.0", "1.31.0"])
def test_without_keys_companies_are_counted_by_their_addresses_and_cannot_write(mesh, version):
    """istiod could not fetch the keys when it started. Its placeholder makes every token invalid, as no token would be."""
    rls = mesh.start_rls(rules=RULES)
    istio = IstioMesh(mesh, [rls], version=version, keys=False)
    token, source = istio.token(a_company()), an_address()

    assert istio.statuses(4, token, source=source) == [200] * 3 + [429]
    written = istio.gateway.request({"authorization": f"Bearer {token}"}, method="POST", source=an_address())
    assert written.status == 403


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
    options = ("--drain-timeout", "500ms", "--backend", redis.url, "--backend-timeout", "5s")
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


def hanging(mesh, pods):
    """A mesh that waits for a second for each try: long for a pod that lives, short for one that hangs."""
    return IstioMesh(mesh, pods, objects=patient(load(), one_try=1))


def test_a_pod_that_hangs_is_ejected_after_one_call_which_another_pod_answers(mesh):
    """Without that, half of all calls would pass unlimited."""
    pods = [mesh.start_rls(rules=WIDE, name=f"rls-{n}") for n in range(2)]
    istio = hanging(mesh, pods)
    token = istio.token(a_company())
    assert istio.statuses(10, token) == [200] * 10
    assert istio.sidecar.limits()["failure_mode_allowed"] == 0

    pods[0].send(signal.SIGSTOP)
    wait_for(lambda: istio.get(token) and istio.sidecar.ejected() == [pods[0].port], "it is ejected")
    before = istio.sidecar.limits()["ok"]
    assert istio.statuses(100, token) == [200] * 100

    limits = istio.sidecar.limits()
    assert (limits["ok"], limits["error"], limits["failure_mode_allowed"]) == (before + 100, 0, 0)


def test_a_pod_that_hung_is_asked_again(mesh):
    pods = [mesh.start_rls(rules=WIDE, name=f"rls-{n}") for n in range(2)]
    istio = hanging(mesh, pods)
    token = istio.token(a_company())
    pods[0].send(signal.SIGSTOP)
    wait_for(lambda: istio.get(token) and istio.sidecar.ejected() == [pods[0].port], "it is ejected")

    pods[0].send(signal.SIGCONT)

    before = pods[0].metric("rls_requests_total")
    wait_for(lambda: istio.get(token) and pods[0].metric("rls_requests_total") > before + 1, "it is asked again", 60)
    wait_for(lambda: istio.get(token) and istio.sidecar.ejected() == [], "it is no longer ejected", 60)


def test_where_all_pods_hang_all_are_asked_so_that_limits_are_back_with_the_first_answer(mesh):
    pods = [mesh.start_rls(rules=RULES, name=f"rls-{n}") for n in range(2)]
    istio = hanging(mesh, pods)
    token = istio.token(a_company())
    for pod in pods:
        pod.send(signal.SIGSTOP)

    assert istio.statuses(4, token) == [200] * 4
    assert istio.sidecar.limits()["failure_mode_allowed"] == 4

    for pod in pods:
        pod.send(signal.SIGCONT)
    wait_for(lambda: istio.get(token).status == 429, "a refusal")


def test_a_single_pod_is_asked_though_it_is_ejected(mesh):
    pod = mesh.start_rls(rules=RULES)
    istio = hanging(mesh, [pod])
    token = istio.token(a_company())
    pod.send(signal.SIGSTOP)

    assert istio.statuses(2, token) == [200] * 2
    assert istio.sidecar.ejected() == [pod.port]

    pod.send(signal.SIGCONT)
    wait_for(lambda: istio.get(token).status == 429, "a refusal")


def test_an_ejected_pod_is_asked_where_no_other_is_left(mesh):
    pods = [mesh.start_rls(rules=RULES, name=f"rls-{n}") for n in range(2)]
    istio = hanging(mesh, pods)
    token = istio.token(a_company())
    pods[0].send(signal.SIGSTOP)
    wait_for(lambda: istio.get(token) and istio.sidecar.ejected() == [pods[0].port], "it is ejected")

    pods[0].send(signal.SIGCONT)
    istio.sidecar.ask_rls_at(Endpoint(pods[0].port))

    before = istio.sidecar.limits()["ok"]
    istio.get(token)
    assert istio.sidecar.limits()["ok"] == before + 1


def test_calls_that_pods_shed_are_not_made_again(mesh):
    """Or an overload would double itself. A message that is too long is refused as calls are shed: RESOURCE_EXHAUSTED."""
    pods = [mesh.start_rls("--max-message-bytes", "1024", rules=WIDE, name=f"rls-{n}") for n in range(2)]
    istio = hanging(mesh, pods)

    assert istio.statuses(10, istio.token(1100 * "c")) == [200] * 10

    assert istio.sidecar.limits()["error"] == 10
    assert istio.sidecar.tries() == 10
    assert istio.sidecar.ejected() == []
