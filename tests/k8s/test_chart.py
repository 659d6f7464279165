"""The Helm chart: the same objects as kustomize's for the same choices, values that do what they say, refused nonsense."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import rls
from scripts import chart
from tests.k8s.helm import CHART, EXAMPLE, SHARED, helm, kustomized, templates
from tests.k8s.manifests import K8S, OVERLAYS, OWN_MONITORING
from tests.k8s.nodes import ROOT

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
OWN = (*SHARED, "networkPolicies.enabled=true", "prometheus.enabled=true", "alertmanager.enabled=true")
BYPASS = ("istio.trustedProxies=1", "istio.failClosed=true", "istio.tracing=1")
VARIANTS = {
    "sidecar": ((), ()),
    "sidecar with all": (("behind-load-balancer", "fail-closed", "tracing"), BYPASS),
    "gateway": (("at-gateway",), ("istio.limitsAt=gateway",)),
    "gateway with all": (
        ("at-gateway", "behind-load-balancer", "fail-closed", "tracing"),
        ("istio.limitsAt=gateway", *BYPASS),
    ),
    "waypoint": (("waypoint",), ("istio.limitsAt=waypoint",)),
    "waypoint with all": (
        ("waypoint", "behind-load-balancer", "fail-closed", "tracing"),
        ("istio.limitsAt=waypoint", *BYPASS),
    ),
}


def test_its_templates_are_made_of_the_manifests() -> None:
    """Needs no helm: what `make chart` makes is what is there, so no manifest was changed without the chart."""
    assert chart.there() == chart.made()


def test_its_version_is_that_of_the_project() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert described["version"] == described["appVersion"] == rls.__version__


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_profile_is_an_overlay(name: str) -> None:
    image = "image.repository=istio-rate-limiter" if name == "development" else EXAMPLE

    assert templates(profile=name, image=image) == kustomized(K8S / "overlays" / name)


def test_the_pages_count_the_objects() -> None:
    page = (ROOT / "docs" / "helm.md").read_text()
    rows = dict(re.findall(r"^\| (none|`values-\w+\.yaml`) \|.*\| (\d+) \|$", page, re.MULTILINE))
    found = {f"`values-{name}.yaml`": str(len(templates(profile=name))) for name in OVERLAYS}

    assert rows == found | {"none": str(len(templates()))}
    (counted,) = re.findall(r"grep -c '\^kind:'\n +(\d+)\n", (ROOT / "docs" / "kubernetes.md").read_text())
    assert counted == rows["`values-production.yaml`"]


def test_the_components_that_no_overlay_has_are_the_same() -> None:
    watching = (
        "grafana.enabled=true",
        "jaeger.enabled=true",
        "openTelemetryCollector.enabled=true",
        "logging.enabled=true",
    )
    rights = ("autoscaling.byLateness=true", "rbac.enabled=true", "rbac.offSwitch=true")

    assert templates(*OWN, *rights) == kustomized(K8S / OWN_MONITORING)
    assert templates(*OWN, *watching) == kustomized(ROOT / "tests" / "k8s" / "watching")


def test_ambient_mode_is_the_same(tmp_path: Path) -> None:
    for part in ("k8s", "config"):
        shutil.copytree(ROOT / part, tmp_path / part)
    components = [f"k8s/components/{name}" for name in ("network-policies", "ambient")]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["k8s/base"], "components": components}))

    assert templates("networkPolicies.enabled=true", "ambient.enabled=true") == kustomized(tmp_path)


def test_the_defaults_are_the_base() -> None:
    assert templates() == kustomized(K8S / "base")
    dashboards = templates("dashboards.enabled=true").keys() - templates().keys()
    assert {kind for kind, _, _ in dashboards} == {"ConfigMap"}
    assert len(dashboards) == len([*(K8S / "components" / "dashboards").glob("*.json")])


@pytest.mark.parametrize(("components", "values"), VARIANTS.values(), ids=VARIANTS)
def test_the_mesh_is_the_same(components: tuple[str, ...], values: tuple[str, ...], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "istio", tmp_path / "istio")
    named = [f"istio/{name}" for name in components]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["istio"], "components": named}))
    found = templates("istio.enabled=true", *values)

    mesh = {
        name: one
        for name, one in found.items()
        if one["metadata"]["labels"].get("app.kubernetes.io/component") == "mesh"
    }

    assert mesh == kustomized(tmp_path)
    assert found.keys() - mesh.keys() == templates().keys()


@pytest.mark.parametrize("name", OVERLAYS)
def test_helm_finds_nothing_wrong(name: str) -> None:
    ran = helm("lint", CHART, "--strict", "--values", CHART / f"values-{name}.yaml", "--set", EXAMPLE)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "WARNING" not in ran.stdout


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((), "make image IMAGE="),
        ((EXAMPLE, "replicas=2"), "several times the limits pass"),
        ((EXAMPLE, "autoscaling.enabled=true"), "several times the limits pass"),
        ((EXAMPLE, "redisCluster.enabled=true", "backend.url=redis://mine"), "and not in both"),
        ((EXAMPLE, "autoscaling.byLateness=true"), "set autoscaling.enabled=true"),
        ((EXAMPLE, "backup.enabled=true"), "which is not enabled"),
        ((EXAMPLE, "redisCluster.enable=true"), "enable"),
        ((EXAMPLE, "istio.limitsAt=sidecars"), "limitsAt"),
        ((EXAMPLE, "image.digest=sha256:abc"), "digest"),
        ((EXAMPLE, "env.RLS_BACKEND=redis://mine"), "RLS_BACKEND"),
        ((EXAMPLE, "backend.url=memory://", "replicas=3"), "several times the limits pass"),
        ((EXAMPLE, *SHARED, "autoscaling.minReplicas=11"), "greater than autoscaling.maxReplicas"),
        (
            (EXAMPLE, "istio.enabled=true", "istio.limitsAt=waypoint", "networkPolicies.enabled=true"),
            "set ambient.enabled=true",
        ),
        ((EXAMPLE, "openTelemetryCollector.enabled=true", "env.OTEL_SERVICE_NAME=mine"), "take it out of env"),
        ((EXAMPLE, "istio.host="), "/istio/host"),
    ],
)
def test_what_would_not_work_is_refused(values: tuple[str, ...], text: str) -> None:
    ran = helm("template", "rls", CHART, *(part for value in values for part in ("--set", value)))

    assert ran.returncode != 0
    assert text in ran.stderr


def test_it_is_for_one_namespace() -> None:
    ran = helm("template", "rls", CHART, "--set", EXAMPLE, namespace="elsewhere")

    assert "--namespace rate-limit" in ran.stderr


def test_pods_are_replaced_when_their_files_change(tmp_path: Path) -> None:
    """As with kustomize, where a changed file changes the name of its ConfigMap."""
    shutil.copytree(CHART, tmp_path / "chart")
    values = [
        "--set",
        EXAMPLE,
        "--set",
        "redisCluster.enabled=true",
        "--show-only",
        "templates/k8s/redis-cluster/statefulset.yaml",
    ]
    before = helm("template", "rls", tmp_path / "chart", *values).stdout
    with (tmp_path / "chart" / "files" / "redis-cluster" / "redis.conf").open("a") as file:
        file.write("# changed\n")

    after = helm("template", "rls", tmp_path / "chart", *values).stdout

    changed = [line for line, other in zip(before.splitlines(), after.splitlines(), strict=True) if line != other]
    assert [re.sub(r": .*", "", line.strip()) for line in changed] == ["checksum/config"]


def test_each_value_is_described_and_no_other_is_taken() -> None:
    def walk(schema: Any, path: str) -> Iterator[str]:
        if "properties" in schema and schema.get("additionalProperties") is not False:
            yield f"{path} takes any key"
        for key, each in schema.get("properties", {}).items():
            if "description" not in each:
                yield f"{path}.{key} has no description"
            yield from walk(each, f"{path}.{key}")
        if "items" in schema:
            yield from walk(schema["items"], f"{path}[]")

    assert list(walk(SCHEMA, "")) == []
    assert DEFAULTS.keys() == SCHEMA["properties"].keys() - {"global"}


@pytest.mark.parametrize(
    ("values", "present", "absent"),
    [
        ((), ["It counts in memory", "docs/istio.md"], ["statefulset/redis", "backup-now"]),
        (("redisCluster.enabled=true", "backup.enabled=true"), ["statefulset/redis", "backup-now"], ["in memory"]),
        (("istio.enabled=true", "istio.limitsAt=gateway"), ["Limits are at: gateway"], ["No proxy asks it yet"]),
    ],
)
def test_the_notes_say_what_to_check(values: tuple[str, ...], present: list[str], absent: list[str]) -> None:
    settings = [part for value in (EXAMPLE, *values) for part in ("--set", value)]
    ran = helm("install", "rls", CHART, "--dry-run=client", *settings)
    assert ran.returncode == 0, ran.stderr
    _, _, notes = ran.stdout.partition("NOTES:\n")

    assert all(text in notes for text in present)
    assert not [text for text in absent if text in notes]
    assert max(map(len, notes.splitlines())) <= 120
    assert "--expect-limit company_id=acme" in notes
