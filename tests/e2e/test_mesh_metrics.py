"""What Prometheus sees of the proxies in a mesh: the names that k8s/alerts uses, and the alert when rls is gone."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from examples.mesh.metrics import total
from tests.alerts.running import Prometheus
from tests.e2e.istio import RULES, IstioMesh, a_company
from tests.e2e.mesh import sidecar

FOREIGN = Path(__file__).parents[1] / "alerts" / "foreign_metrics.yaml"
ISTIO_TAG = {"tag_name": "cluster_name", "regex": r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"}
"""Of Istio's bootstrap, tools/packaging/common/envoy_bootstrap.json: it names the upstream cluster of a statistic."""
NAMES = {"ok", "over_limit", "error", "failure_mode_allowed"}
PAGE = "/stats/prometheus"


@pytest.fixture
def as_istio(monkeypatch):
    """Let proxies tag their statistics as Istio's do."""
    from tests.mesh import loopback

    placed = loopback.Placed.__init__

    def tagged(self, *args, **options):
        placed(self, *args, **options)
        self.tree["stats_config"] = self.tree["stats_config"] | {
            "use_all_default_tags": False,
            "stats_tags": [ISTIO_TAG],
        }

    monkeypatch.setattr(loopback.Placed, "__init__", tagged)


def seen(envoy):
    """The series of the filter, by their names without the prefix: the labels, as they are written, and the value."""
    lines = [
        line for line in envoy.admin(PAGE).body.decode().splitlines() if line.startswith("envoy_cluster_ratelimit_")
    ]
    series = [line.rpartition(" ") for line in lines]
    return {
        name.partition("{")[0].removeprefix("envoy_cluster_ratelimit_"): (
            name.partition("{")[2].rstrip("}"),
            float(value),
        )
        for name, _, value in series
    }


def test_the_names_in_a_mesh_are_those_of_the_rules(mesh, as_istio):
    rls = mesh.start_rls(rules=RULES)
    istio = IstioMesh(mesh, [rls])
    token = istio.token(a_company())
    assert istio.statuses(6, token) == [200] * 5 + [429]
    rls.kill()
    assert istio.statuses(3, token) == [200] * 3

    found = seen(istio.sidecar)
    assert {name: value for name, (_, value) in found.items()} == {
        "ok": 5,
        "over_limit": 1,
        "error": 3,
        "failure_mode_allowed": 3,
    }
    (labels,) = {labels for labels, _ in found.values()}
    assert labels.startswith('cluster_name="inbound|9000||')
    listed = yaml.safe_load(FOREIGN.read_text())["envoy"]["metrics"]
    assert set(listed) == {f"envoy_cluster_ratelimit_{name}" for name in NAMES}
    assert all("cluster_name" in names for names in listed.values())


def test_an_envoy_without_istio_names_the_cluster_otherwise(mesh):
    rls = mesh.start_rls()
    envoy = mesh.start_envoy(rls, change=sidecar)
    assert envoy.get(headers=mesh.bearer(a_company())).status == 200

    assert seen(envoy)["ok"] == ('envoy_cluster_name="users"', 1)
    assert total(envoy.admin(PAGE).body.decode(), "envoy_cluster_ratelimit_ok", envoy_cluster_name="users") == 1


def test_requests_that_pass_unlimited_wake_somebody(mesh, as_istio, tmp_path):
    rls = mesh.start_rls(rules=RULES)
    istio = IstioMesh(mesh, [rls])
    token = istio.token(a_company())
    assert istio.get(token).status == 200
    address = f"127.0.0.1:{istio.sidecar.admin_port}"
    targets = {address: {"namespace": "users", "pod": "users-1"}}
    with ExitStack() as stack:
        prometheus = stack.enter_context(Prometheus(tmp_path / "prometheus", targets, paths={address: PAGE}))
        rls.kill()

        def fires():
            istio.get(token)
            return prometheus.firing("EnvoyFailsOpen")

        alert = prometheus.wait_until(fires, "it fires", 60)
    assert alert["labels"]["cluster_name"].startswith("inbound|9000||")
    assert "of the requests to inbound|9000||" in alert["annotations"]["summary"]
    assert "pass unlimited" in alert["annotations"]["summary"]
