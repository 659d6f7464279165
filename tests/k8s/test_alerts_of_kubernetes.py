"""Alerts about objects of Kubernetes: a real kube-state-metrics tells a real Prometheus of them, as a real API server has them.

Nothing runs pods here: their numbers are written into the status, as controllers would.

Only where KUBE_STATE_METRICS_BINARY names kube-state-metrics, which `go build` makes of its source, and KUBEBUILDER_ASSETS
names an API server: no package has them, so CI does not run this.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.mesh.http import ask
from examples.mesh.processes import Process, free_port, wait_for
from tests.alerts.discovered import pod
from tests.alerts.running import Prometheus
from tests.dashboards.trees import queries
from tests.k8s.api_server import ASSETS, Cluster, api_server, kubeconfig
from tests.k8s.manifests import of_kind

BINARY = os.environ.get("KUBE_STATE_METRICS_BINARY")
pytestmark = pytest.mark.skipif(
    ASSETS is None or BINARY is None, reason="needs KUBE_STATE_METRICS_BINARY and KUBEBUILDER_ASSETS"
)
Object = dict[str, Any]
FAULTY, HEALTHY = "rate-limit", "healthy"
"""Namespaces that have the same objects."""
PATIENCE = 90
FIRES = {
    "RlsAtMaximum": "The autoscaler of rls is at its maximum of 10 pods",
    "RlsPodsMissing": "2 pods of rls are not available",
    "RlsRestarts": "rls-0 restarted [45] times in an hour",
    "RedisClusterNotRepaired": r"The job that repairs the Redis Cluster has not succeeded for \d\dm .+",
    "RedisBackupOld": "No backup of Redis has succeeded for 1d 3h .+",
}
"""Their summaries."""


def resources() -> Iterator[Object]:
    """What the alerts are about, of production, and a pod of rls."""
    production = of_kind("overlays/production", "HorizontalPodAutoscaler", "Deployment", "CronJob")
    for one in production:
        if one["metadata"]["namespace"] == FAULTY:
            yield one
            if (one["kind"], one["metadata"]["name"]) == ("Deployment", "rls"):
                template = copy.deepcopy(one["spec"]["template"])
                # What creates pods puts the account of their namespace into them.
                template["spec"]["serviceAccountName"] = "default"
                template["metadata"] |= {"name": "rls-0", "namespace": FAULTY}
                yield {"apiVersion": "v1", "kind": "Pod", **template}


class Told:
    """An API server with the objects twice, kube-state-metrics, and a Prometheus with our rules, faster."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.cluster: Cluster = stack.enter_context(api_server(folder))
        self.cluster.kubectl("create", "namespace", HEALTHY)
        for namespace in (FAULTY, HEALTHY):
            self.cluster.kubectl("-n", namespace, "create", "serviceaccount", "default")
            texts = [
                yaml.safe_dump(one).replace(f"namespace: {FAULTY}", f"namespace: {namespace}") for one in resources()
            ]
            self.cluster.kubectl("apply", "-f", "-", stdin="---\n".join(texts))
            self.all_well(namespace)
        port = free_port()
        found = pod(f"127.0.0.1:{port}", "ksm-1", "kube-system", "kube-state-metrics", "http-metrics")
        self._start(folder, stack, port)
        self.prometheus = stack.enter_context(
            Prometheus(folder / "prometheus", {}, pods={"kube-state-metrics": [found]})
        )

    def _start(self, folder: Path, stack: ExitStack, port: int) -> None:
        assert BINARY is not None
        config = kubeconfig(self.cluster, folder)
        options = [f"--kubeconfig={config}", "--host=127.0.0.1", f"--port={port}"]
        options += ["--telemetry-host=127.0.0.1", f"--telemetry-port={free_port()}"]
        process = stack.enter_context(Process("ksm", [BINARY, *options], folder / "ksm.log"))
        process.wait_until(lambda: b"kube_cronjob_created" in ask(port, "/metrics").body, "it has read all", PATIENCE)

    def status(self, namespace: str, kind: str, name: str, status: Object) -> None:
        """What a controller would write."""
        patch = json.dumps({"status": status})
        self.cluster.kubectl("-n", namespace, "patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)

    def restarts(self, namespace: str, number: int) -> None:
        container = {"name": "rls", "restartCount": number, "image": "x", "imageID": "x", "ready": True, "state": {}}
        self.status(namespace, "pod", "rls-0", {"containerStatuses": [container]})

    def succeeded(self, namespace: str, name: str, ago: timedelta) -> None:
        self.status(namespace, "cronjob", name, {"lastSuccessfulTime": f"{datetime.now(UTC) - ago:%Y-%m-%dT%H:%M:%SZ}"})

    def autoscaled(self, namespace: str, pods: int) -> None:
        self.status(namespace, "hpa", "rls", {"currentReplicas": pods, "desiredReplicas": pods})

    def available(self, namespace: str, pods: int) -> None:
        self.cluster.kubectl("-n", namespace, "scale", "deployment/rls", "--replicas=3")
        self.status(namespace, "deployment", "rls", {"replicas": 3, "readyReplicas": pods, "availableReplicas": pods})

    def all_well(self, namespace: str) -> None:
        self._are(
            namespace, pods=9, available=3, restarts=0, repaired=timedelta(seconds=30), backup=timedelta(hours=25)
        )

    def all_wrong(self, namespace: str) -> None:
        self._are(
            namespace, pods=10, available=1, restarts=4, repaired=timedelta(minutes=11), backup=timedelta(hours=27)
        )

    def _are(
        self, namespace: str, *, pods: int, available: int, restarts: int, repaired: timedelta, backup: timedelta
    ) -> None:
        self.autoscaled(namespace, pods)
        self.available(namespace, available)
        self.restarts(namespace, restarts)
        self.succeeded(namespace, "redis-keeper", repaired)
        self.succeeded(namespace, "redis-backup-daily", backup)

    def alerts(self, *states: str) -> dict[tuple[str, str], str]:
        """The summaries of alerts about these objects, by name and namespace."""
        return {
            (one["labels"]["alertname"], one["labels"]["namespace"]): one["annotations"]["summary"]
            for one in self.prometheus.alerts()
            if one["labels"].get("namespace") and one["state"] in states
        }


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with ExitStack() as stack:
        told = Told(tmp_path_factory.mktemp("cluster"), stack)
        seen = "count(kube_pod_container_status_restarts_total) == 2"
        told.prometheus.wait_until(lambda: told.prometheus.query(seen), "it has scraped", PATIENCE)
        yield told


@pytest.fixture(scope="module")
def wrong(well: Told) -> Told:
    well.all_wrong(FAULTY)
    return well


def test_none_fires_while_all_is_well(well: Told) -> None:
    assert well.alerts("pending", "firing") == {}


@pytest.mark.parametrize("name", FIRES)
def test_a_fault_fires_its_alert(wrong: Told, name: str) -> None:
    summary = wait_for(lambda: wrong.alerts("firing").get((name, FAULTY)), f"{name} fires", PATIENCE)
    assert re.fullmatch(FIRES[name], str(summary))


def test_no_other_alert_fires(wrong: Told) -> None:
    assert wrong.alerts("pending", "firing").keys() == {(name, FAULTY) for name in FIRES}


def test_panels_show_what_the_api_server_has(wrong: Told) -> None:
    asked = {query.expr for query in queries() if "kube_horizontalpodautoscaler_" in query.expr}
    shown = {
        expr.partition("_horizontalpodautoscaler_")[2].partition("{")[0]: wrong.prometheus.value(expr) for expr in asked
    }
    assert shown == {"status_current_replicas": 10, "status_desired_replicas": 10, "spec_max_replicas": 10}


def test_a_job_that_never_succeeded_is_known_by_its_creation(well: Told) -> None:
    """Of which the promtool cases of the alert make an age."""
    job = {**next(one for one in resources() if one["metadata"]["name"] == "redis-keeper")}
    text = yaml.safe_dump(job | {"metadata": {"name": "redis-keeper", "namespace": "users"}})
    well.cluster.kubectl("apply", "-f", "-", stdin=text)
    created = 'kube_cronjob_created{namespace="users",cronjob="redis-keeper"}'
    well.prometheus.wait_until(lambda: well.prometheus.query(created), "it has scraped it", PATIENCE)
    assert well.prometheus.query(created.replace("created", "status_last_successful_time")) == []


def test_what_runbooks_say_to_look_at_is_there(wrong: Told) -> None:
    def say(command: str) -> str:
        return " ".join(wrong.cluster.kubectl("-n", FAULTY, *command.split()).split())

    assert "10 current / 10 desired" in say("describe hpa rls")
    assert "rls-0" in say("get pods -l app.kubernetes.io/name=rls -o wide")
    assert "Restart Count: 4" in say("describe pod rls-0")
    for job, label in (("redis-keeper", "redis-keeper"), ("redis-backup-daily", "redis-backup")):
        assert job in say(f"get cronjob {job}")
        say(f"create job --from=cronjob/{job} {job}-now")
        assert f"{job}-now" in say(f"get jobs -l app.kubernetes.io/name={label}")


def test_all_is_over_when_all_is_well_again(wrong: Told) -> None:
    wrong.all_well(FAULTY)
    wrong.autoscaled(FAULTY, 10)
    wrong.cluster.kubectl("-n", FAULTY, "patch", "hpa", "rls", "-p", '{"spec":{"maxReplicas":20}}')
    # What restarted is over after an hour, which is two minutes here.
    wait_for(lambda: {name for name, _ in wrong.alerts("pending", "firing")} <= {"RlsRestarts"}, "they end", PATIENCE)
