"""The objects of docs/gitops.md: the CRDs of Argo CD and Flux take them, and they are what the page says of them."""

import re
from typing import Any

import pytest
import yaml

from tests import crds
from tests.k8s.helm import CHART, templates
from tests.k8s.manifests import Object, rendered
from tests.k8s.nodes import ROOT

PAGE = (ROOT / "docs" / "gitops.md").read_text()
BLOCKS = [
    list(yaml.safe_load_all(text)) for text in re.findall(r"^ *```yaml\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
]
OBJECTS: dict[tuple[str, str], Object] = {
    (each["kind"], each["metadata"]["name"]): each for block in BLOCKS for each in block if "kind" in each
}


def of_kind(kind: str) -> dict[str, Any]:
    return {name: each["spec"] for (found, name), each in OBJECTS.items() if found == kind}


def test_the_crds_take_them() -> None:
    assert {kind for kind, _ in OBJECTS} == {"Application", "GitRepository", "Kustomization"}
    for name, each in OBJECTS.items():
        assert crds.mistakes(each) == [], name


@pytest.mark.parametrize(
    ("name", "path", "value", "text"),
    [
        (("Application", "rls"), ("syncPolicy", "syncOption"), [], "'syncOption' was unexpected"),
        (("Kustomization", "rls"), ("dependson",), [], "'dependson' was unexpected"),
        (("GitRepository", "rls"), ("interval",), "1 minute", "does not match"),
    ],
)
def test_a_mistake_is_found(name: tuple[str, str], path: tuple[str, ...], value: Any, text: str) -> None:
    each = yaml.safe_load(yaml.safe_dump(OBJECTS[name]))
    *way, last = path
    place = each["spec"]
    for part in way:
        place = place[part]
    place[last] = value

    assert any(text in found for found in crds.mistakes(each))


def test_the_paths_are_there_and_all_three_parts_are_applied() -> None:
    expected = ["istio", "k8s/namespaces", "k8s/overlays/production"]
    argo = sorted(spec["source"]["path"] for spec in of_kind("Application").values())
    flux = sorted(spec["path"].removeprefix("./") for spec in of_kind("Kustomization").values())

    assert argo == flux == expected
    for path in expected:
        assert rendered(ROOT / path)


def test_only_namespaces_are_never_pruned() -> None:
    pruned = {name: spec["syncPolicy"]["automated"]["prune"] for name, spec in of_kind("Application").items()}
    flux = {name: spec["prune"] for name, spec in of_kind("Kustomization").items()}

    assert pruned == flux == {"rls-namespaces": False, "rls": True, "rls-mesh": True}
    assert not any("finalizers" in each["metadata"] for each in OBJECTS.values())


def test_they_come_in_order() -> None:
    waves = {
        each["metadata"]["name"]: int(each["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for (kind, _), each in OBJECTS.items()
        if kind == "Application"
    }
    after = {
        name: [each["name"] for each in spec.get("dependsOn", [])] for name, spec in of_kind("Kustomization").items()
    }

    assert waves == {"rls-namespaces": 0, "rls": 1, "rls-mesh": 2}
    assert after == {"rls-namespaces": [], "rls": ["rls-namespaces"], "rls-mesh": ["rls"]}
    assert of_kind("Kustomization")["rls"]["wait"] is True


def test_the_values_for_argo_make_the_profile() -> None:
    (source,) = (block[0] for block in BLOCKS if "kind" not in block[0])
    image = source["helm"]["valuesObject"]["image"]

    assert (ROOT / source["path"]).samefile(CHART)
    assert source["helm"]["valueFiles"] == ["values-production.yaml"]
    found = templates(
        f"image.digest={image['digest']}", profile="production", image=f"image.repository={image['repository']}"
    )
    (deployment,) = (each for (kind, _, name), each in found.items() if (kind, name) == ("Deployment", "rls"))
    named = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert named == f"{image['repository']}@{image['digest']}"
