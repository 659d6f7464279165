"""What istio/tracing adds fits the provider in values-istiod.yaml, and the collector in k8s/."""

import yaml

from tests.k8s.manifests import K8S
from tests.mesh.manifests import load, of
from tests.mesh.world import mesh_config

COLLECTOR = "opentelemetry-collector.monitoring.svc.cluster.local"


def provider():
    (found,) = (each for each in mesh_config()["extensionProviders"] if "opentelemetry" in each)
    return found


def test_every_proxy_that_limits_traces():
    for components in (("tracing",), ("waypoint", "tracing"), ("at-gateway", "tracing")):
        telemetries = of(load(*components), "Telemetry")

        assert telemetries
        for each in telemetries:
            (tracing,) = each["spec"]["tracing"]
            assert tracing["providers"] == [{"name": provider()["name"]}]
            assert tracing["randomSamplingPercentage"] == 1
            assert "accessLogging" in each["spec"]


def test_the_provider_is_the_collector_of_k8s():
    service = yaml.safe_load((K8S / "components" / "opentelemetry-collector" / "service.yaml").read_text())
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]

    assert f"{name}.{namespace}.svc.cluster.local" == COLLECTOR == provider()["opentelemetry"]["service"]
    assert {port["port"]: port["appProtocol"] for port in service["spec"]["ports"]}[
        provider()["opentelemetry"]["port"]
    ] == "grpc"


def test_proxies_know_the_collector():
    """A Sidecar hides each host that it does not name."""
    for each in of(load("tracing"), "Sidecar"):
        (egress,) = each["spec"]["egress"]
        assert f"monitoring/{COLLECTOR}" in egress["hosts"]
