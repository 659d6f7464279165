"""Prometheus and Alertmanager without the operator: their manifests, and that their parts name each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.alerts.rules import alerts, groups, rule_files
from tests.k8s.manifests import OWN_MONITORING, Object, containers, identity, objects, of_kind, template


def found(kind: str, name: str) -> Object:
    (one,) = (one for one in objects(OWN_MONITORING) if identity(one)[0] == kind and identity(one)[2] == name)
    return one


def config(name: str, file: str) -> Any:
    """A file of a ConfigMap, whose name may end in a hash."""
    (one,) = (one for one in of_kind(OWN_MONITORING, "ConfigMap") if file in one["data"] and name in identity(one)[2])
    return yaml.safe_load(one["data"][file])


def test_prometheus_has_the_resources_of_the_table() -> None:
    prometheus = found("StatefulSet", "prometheus")
    pod = template(prometheus)
    assert pod is not None
    resources = containers(pod)[0]["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "1", "memory": "2Gi"}
    assert prometheus["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "50Gi"


def test_prometheus_gets_the_rules_as_they_are() -> None:
    data = found("ConfigMap", "rls-alerts")["data"]
    assert data == {file.name: file.read_text() for file in rule_files()}
    pod = template(found("StatefulSet", "prometheus"))
    assert pod is not None
    mounts = {mount["name"]: mount["mountPath"] for mount in containers(pod)[0]["volumeMounts"]}
    settings = config("prometheus", "prometheus.yaml")
    assert settings["rule_files"] == [f"{mounts['alerts']}/*.yaml"]
    assert f"--config.file={mounts['config']}/prometheus.yaml" in containers(pod)[0]["args"]


def test_prometheus_knows_every_alertmanager() -> None:
    alertmanager = found("StatefulSet", "alertmanager")
    names = [
        f"alertmanager-{number}.{alertmanager['spec']['serviceName']}.monitoring.svc.cluster.local"
        for number in range(alertmanager["spec"]["replicas"])
    ]
    (listed,) = config("prometheus", "prometheus.yaml")["alerting"]["alertmanagers"]
    assert listed["static_configs"] == [{"targets": [f"{name}:9093" for name in names]}]
    pod = template(alertmanager)
    assert pod is not None
    peers = [word for word in containers(pod)[0]["args"] if "--cluster.peer=" in word]
    assert peers == [f"--cluster.peer={name}:9094" for name in names]


def test_the_autoscaler_asks_for_what_the_adapter_serves() -> None:
    (metric,) = (
        one["pods"] for one in found("HorizontalPodAutoscaler", "rls")["spec"]["metrics"] if one["type"] == "Pods"
    )
    (rule,) = config("prometheus-adapter", "adapter.yaml")["rules"]
    assert metric["metric"]["name"] == rule["name"]["as"]
    recorded = rule["seriesQuery"].partition("{")[0]
    assert recorded in {one.get("record") for group in groups() for one in group["rules"]}
    (allowed,) = found("ClusterRole", "rate-limit-lateness-reader")["rules"]
    assert allowed["resources"] == [f"pods/{rule['name']['as']}"]


def test_alertmanager_names_alerts_and_labels_that_there_are() -> None:
    names = {alert.name for alert in alerts()}
    settings = config("alertmanager", "alertmanager.yaml")
    routes = [matcher for route in settings["route"]["routes"] for matcher in route["matchers"]]
    inhibited = [
        matcher for rule in settings["inhibit_rules"] for matcher in rule["source_matchers"] + rule["target_matchers"]
    ]
    named = {
        name
        for matcher in routes + inhibited
        if matcher.startswith("alertname")
        for name in matcher.partition('"')[2].rstrip('"').replace("Budget.+", "BudgetBurnsFast").split("|")
    }
    assert named <= names


def test_plain_prometheus_scrapes_the_ports_that_pods_have() -> None:
    """By their names; Istio's sidecar and kube-state-metrics have theirs from elsewhere."""
    ports = {
        port["name"]
        for one in objects(OWN_MONITORING)
        if (pod := template(one)) is not None
        for container in containers(pod)
        for port in container.get("ports", [])
    }
    jobs = {job["job_name"]: job for job in config("prometheus", "prometheus.yaml")["scrape_configs"]}
    for name in ("pods", "pods-in-mesh", "redis"):
        (kept,) = (
            rule["regex"]
            for rule in jobs[name]["relabel_configs"]
            if rule.get("source_labels") == ["__meta_kubernetes_pod_container_port_name"]
        )
        assert kept in ports


def test_no_image_is_without_a_version() -> None:
    images = {
        container["image"]
        for one in objects(OWN_MONITORING)
        if (pod := template(one)) is not None
        for container in containers(pod)
    }
    assert all(":" in Path(image).name and not image.endswith(":latest") for image in images)
