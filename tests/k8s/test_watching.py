"""What shows metrics, traces and logs: it fits Kubernetes, what it watches, and the programs that read its files."""

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.mesh.http import ask
from examples.mesh.processes import Process, free_port, wait_for
from tests.k8s import test_manifests as manifests
from tests.k8s.manifests import containers, identity, objects, of_kind, selects, workloads
from tests.k8s.nodes import ROOT

WATCHING = "../tests/k8s/watching"
COMPONENTS = ROOT / "k8s" / "components"
KUBERNETES_OWN = "kube-root-ca.crt"
"""A ConfigMap that is in each namespace."""
DATASOURCES = yaml.safe_load((COMPONENTS / "grafana" / "datasources.yaml").read_text())["datasources"]


@pytest.mark.parametrize("version", ["1.33", "1.36"])
def test_the_schemas_of_kubernetes_take_it(version: str) -> None:
    manifests.test_the_schemas_of_kubernetes_take_it(WATCHING, version)


@pytest.mark.parametrize(
    "check",
    [
        manifests.test_no_object_is_there_twice_and_each_names_its_namespace,
        manifests.test_selectors_find_the_pods_they_are_for,
        manifests.test_ports_of_services_and_probes_are_those_of_containers,
        manifests.test_pods_are_restricted,
        manifests.test_what_is_scaled_or_scraped_or_bound_exists,
        manifests.test_scripts_that_run_are_in_the_config_maps_that_are_mounted,
    ],
    ids=lambda check: check.__name__,
)
def test_it_is_as_its_neighbours(check: Any) -> None:
    check(WATCHING)


def test_what_pods_refer_to_is_there(secrets: Path) -> None:
    manifests.test_what_pods_refer_to_is_there(WATCHING, secrets)
    there = {identity(one) for one in objects(WATCHING)}
    for one, pod in workloads(WATCHING):
        namespace = one["metadata"]["namespace"]
        for volume in pod["spec"].get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                referred = source.get("configMap", {}).get("name", KUBERNETES_OWN)
                assert referred == KUBERNETES_OWN or ("ConfigMap", namespace, referred) in there
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", namespace, volume["persistentVolumeClaim"]["claimName"]) in there


def test_grafana_has_what_the_issue_gives_it() -> None:
    (pod,) = (pod for one, pod in workloads(WATCHING) if one["metadata"]["name"] == "grafana")
    resources = containers(pod)[0]["resources"]

    assert resources["requests"] == resources["limits"] == {"cpu": "500m", "memory": "512Mi"}
    claim = next(one for one in of_kind(WATCHING, "PersistentVolumeClaim") if one["metadata"]["name"] == "grafana")
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"


def test_grafana_gets_every_dashboard() -> None:
    maps = [one for one in of_kind(WATCHING, "ConfigMap") if "grafana_dashboard" in one["metadata"].get("labels", {})]
    (pod,) = (pod for one, pod in workloads(WATCHING) if one["metadata"]["name"] == "grafana")
    (sources,) = (volume["projected"]["sources"] for volume in pod["spec"]["volumes"] if "projected" in volume)

    assert {one["metadata"]["labels"]["grafana_dashboard"] for one in maps} == {"1"}
    assert {source["configMap"]["name"] for source in sources} == {one["metadata"]["name"] for one in maps}
    files = {name for one in maps for name in one["data"]}
    assert files == {path.name for path in (COMPONENTS / "dashboards").glob("*.json")}
    env = {variable["name"]: variable["value"] for variable in containers(pod)[0]["env"]}
    assert Path(env["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).name in files


def test_grafana_is_of_the_release_that_the_dashboards_are_made_for() -> None:
    (sdk,) = re.findall(r"grafana-foundation-sdk==\d+!(\d+\.\d+)\.", (ROOT / "pyproject.toml").read_text())
    (pod,) = (pod for one, pod in workloads(WATCHING) if one["metadata"]["name"] == "grafana")

    assert containers(pod)[0]["image"].startswith(f"grafana/grafana:{sdk}.")


def test_every_way_is_allowed_at_both_ends() -> None:
    """From where its NetworkPolicy lets it out, to where another lets it in."""
    pods = {one["metadata"]["name"]: (one["metadata"]["namespace"], pod) for one, pod in workloads(WATCHING)}
    policies = of_kind(WATCHING, "NetworkPolicy")
    for sender, receiver, port in (
        ("rls", "opentelemetry-collector", "otlp-grpc"),
        ("users", "opentelemetry-collector", "otlp-grpc"),
        ("opentelemetry-collector", "jaeger", "otlp"),
        ("grafana", "jaeger", "http"),
        ("grafana", "prometheus", "http"),
        ("grafana", "alertmanager", "http"),
    ):
        number = next(
            each["containerPort"] for each in containers(pods[receiver][1])[0]["ports"] if each["name"] == port
        )
        assert may(policies, pods[sender], pods[receiver], "egress", number), (sender, receiver)
        assert may(policies, pods[receiver], pods[sender], "ingress", port), (sender, receiver)
    assert not may(policies, pods["users"], pods["jaeger"], "egress", 4317)
    assert not may(policies, pods["jaeger"], pods["grafana"], "egress", 3000)


def may(policies: list[Any], one: tuple[str, Any], other: tuple[str, Any], way: str, port: int | str) -> bool:
    """Whether the policies of *one* allow connections of that *way* with *other*."""
    namespace, pod = one
    labels = pod["metadata"]["labels"]
    return any(
        {"protocol": "TCP", "port": port} in rule["ports"] and any(fits(peer, namespace, other) for peer in rule[peers])
        for policy in policies
        if policy["metadata"]["namespace"] == namespace and selects(policy["spec"]["podSelector"], labels)
        for peers in ("to" if way == "egress" else "from",)
        for rule in policy["spec"].get(way, [])
        if peers in rule
    )


def fits(peer: Any, namespace: str, other: tuple[str, Any]) -> bool:
    where = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", namespace)
    return where == other[0] and selects(peer.get("podSelector", {}), other[1]["metadata"]["labels"])


def test_data_sources_are_services_and_dashboards_find_them() -> None:
    services = {
        f"{one['metadata']['name']}.{one['metadata']['namespace']}": {port["port"] for port in one["spec"]["ports"]}
        for one in of_kind(WATCHING, "Service")
        if "ports" in one["spec"]
    }
    # Elasticsearch is not ours.
    services |= {"elasticsearch.logging": {9200}}
    for source in DATASOURCES:
        ((host, port),) = re.findall(r"^https?://([\w.-]+)[.]svc[.]cluster[.]local:(\d+)$", source["url"])
        assert int(port) in services[host], source["name"]
    kinds = {source["uid"]: source["type"] for source in DATASOURCES}
    assert set(kinds.values()) == {"prometheus", "alertmanager", "jaeger", "elasticsearch"}
    assert all(uid in kinds for uid in re.findall(r"datasourceUid: (\w+)", yaml.safe_dump(DATASOURCES)))


@pytest.mark.e2e
def test_a_span_travels_through_the_collector_to_jaeger_without_addresses(tmp_path: Path) -> None:
    """Both configurations, in a real Jaeger: it is a collector as well, but for the extension of the probes."""
    program = find_or_skip("JAEGER_BINARY", "jaeger")
    config, ports = on_this_machine(COMPONENTS / "jaeger" / "jaeger.yaml", tmp_path)
    with Process("jaeger", [program, f"--config={config}"], tmp_path / "jaeger.log") as jaeger:
        jaeger.wait_until(lambda: ask(ports["13133"], "/status").status == 200, "it is healthy")
        collector_config, own = on_this_machine(COMPONENTS / "opentelemetry-collector" / "collector.yaml", tmp_path)
        text = collector_config.read_text().replace(
            "jaeger.monitoring.svc.cluster.local:4317", f"127.0.0.1:{ports['4317']}"
        )
        text = re.sub(
            r"health_check: .*",
            f'healthcheckv2: {{ use_v2: true, http: {{ endpoint: "127.0.0.1:{own["13133"]}" }} }}',
            text,
        )
        collector_config.write_text(text.replace("[health_check]", "[healthcheckv2]"))
        command = [program, f"--config={collector_config}"]
        with Process("collector", command, tmp_path / "collector.log") as collector:
            collector.wait_until(lambda: ask(own["13133"], "/status").status == 200, "it is healthy")
            body = json.dumps(SPANS).encode()
            sent = ask(own["4318"], "/v1/traces", {"content-type": "application/json"}, method="POST", body=body)
            assert sent.status == 200, sent
            found = wait_for(lambda: ask(ports["16686"], f"/api/traces/{TRACE}").json().get("data"), "it is in Jaeger")
    (span,) = found[0]["spans"]
    assert span["operationName"] == "ratelimit"
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    assert tags["rls.rule"] == "company_id"
    assert not tags.keys() & {"peer.address", "client.address", "user_agent"}
    assert any((tmp_path / "data" / "keys").iterdir()), "it writes to its disk"


TRACE = "0af7651916cd43dd8448eb211c80319c"
ATTRIBUTES = {
    "rls.rule": "company_id",
    "peer.address": "203.0.113.7",
    "client.address": "203.0.113.7",
    "user_agent": "curl",
}
SPANS = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "envoy"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": TRACE,
                            "spanId": "b7ad6b7169203331",
                            "name": "ratelimit",
                            "kind": 3,
                            "startTimeUnixNano": str(time.time_ns()),
                            "endTimeUnixNano": str(time.time_ns() + 1_000_000),
                            "attributes": [
                                {"key": key, "value": {"stringValue": value}} for key, value in ATTRIBUTES.items()
                            ],
                        }
                    ]
                }
            ],
        }
    ]
}


def find_or_skip(variable: str, name: str) -> str:
    """A program that Debian does not have: without it the test skips, in CI too."""
    found = os.environ.get(variable) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is neither on the PATH nor named by {variable}")
    return found


def on_this_machine(file: Path, folder: Path) -> tuple[Path, dict[str, int]]:
    """A copy of a configuration for *folder*, and the free ports that it has in place of others."""
    ports: dict[str, int] = {}

    def port(found: re.Match[str]) -> str:
        return f"127.0.0.1:{ports.setdefault(found[1], free_port())}"

    text = re.sub(r"0\.0\.0\.0:(\d+)", port, file.read_text()).replace("/data/", f"{folder}/data/")
    copy = folder / file.name
    copy.write_text(text)
    return copy, ports
