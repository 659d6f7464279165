"""Pods of `rls` hang, vanish, are killed, replaced and added, and no request passes without an answer.

`make outages` measures the same with the shipped timeouts, and writes the table of docs/high-availability.md. Here a
try may take as long as on a busy machine, so that only an answer is missed that does not come.
"""

import pytest

from benches.outages import cases
from benches.outages.mesh import OutageMesh
from benches.outages.pods import Options
from examples.mesh.processes import wait_for
from tests.e2e.load import Load
from tests.mesh.running import patient

TRY_SECONDS = 2


WITHOUT = pytest.mark.parametrize("pods", [False], indirect=True, ids=["without sidecars"])
WITH = pytest.mark.parametrize("pods", [True], indirect=True, ids=["with sidecars"])


@pytest.fixture(scope="module", params=[False, True], ids=["without sidecars", "with sidecars"])
def pods(request, tmp_path_factory):
    options = Options(request.param, drain="500ms")
    folder = tmp_path_factory.mktemp("pods")
    with OutageMesh(folder, [options] * 2, change=lambda objects: patient(objects, 20, one_try=TRY_SECONDS)) as mesh:
        yield mesh, options


@pytest.fixture
def load(pods):
    """Requests from several clients, during the whole of a test; none may have passed without an answer."""
    mesh, _ = pods
    before = mesh.counters()
    with Load(mesh.port, {"authorization": f"Bearer {mesh.token()}"}, clients=4, pause=0.02) as running:
        running.go_on(20)
        yield running
    after = mesh.counters()
    assert set(running.statuses) == {200}
    assert (after["error"], after["failure_mode_allowed"]) == (before["error"], before["failure_mode_allowed"])
    assert after["ok"] - before["ok"] == running.answered


def test_a_pod_is_killed_and_comes_back(pods, load):
    mesh, options = pods
    retries = mesh.counters()["upstream_rq_retry"]

    cases.kill(mesh, options)

    load.go_on(100)
    assert mesh.counters()["upstream_rq_retry"] > retries
    wait_for(lambda: len(mesh.asked) == 2, "both are asked")


@WITH
def test_a_pod_hangs(pods, load):
    mesh, options = pods
    ejections = mesh.counters()["outlier_detection.ejections_enforced_total"]

    cases.hang(mesh, options)

    wait_for(lambda: len(mesh.asked) == 1, "its probe fails")
    load.go_on(50)
    assert mesh.counters()["outlier_detection.ejections_enforced_total"] > ejections
    mesh.pods[0].go_on()
    wait_for(lambda: len(mesh.asked) == 2, "both are asked")


@WITHOUT
def test_a_pod_is_added_and_vanishes(pods, load):
    mesh, options = pods

    new = mesh.add(options._replace(vanishing=True))

    wait_for(lambda: new.server.metric("rls_requests_total") > 0, "the new one is asked")
    new.vanish()
    wait_for(lambda: new not in mesh.asked, "its probe fails")
    load.go_on(50)
    mesh.delete(new)


def test_all_pods_are_replaced(pods, load):
    mesh, options = pods
    old = list(mesh.pods)

    cases.rolling_update(mesh, options)

    assert len(mesh.asked) == 2
    assert not set(old) & set(mesh.asked)
    load.go_on(50)
