"""What kustomize makes of k8s/, as Python objects."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.nodes import ROOT, program

K8S = ROOT / "k8s"
OVERLAYS = ("development", "staging", "production")
COMPONENTS = tuple(sorted(path.parent.name for path in (K8S / "components").glob("*/kustomization.yaml")))
OWN_MONITORING = "../tests/k8s/own_monitoring"
"""The components for clusters without the Prometheus operator, which no overlay has."""
RENDERED = (*(f"overlays/{name}" for name in OVERLAYS), OWN_MONITORING, "base", "namespaces", "restore")
Object = dict[str, Any]


def rendered(path: Path) -> list[Object]:
    """The objects of a kustomization."""
    done = subprocess.run([program("kubectl"), "kustomize", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # kustomize warns of what it will no longer take
    return list(yaml.safe_load_all(done.stdout))


@cache
def objects(name: str) -> list[Object]:
    """Of one of RENDERED; not to be changed."""
    return rendered(K8S / name)


def with_component(component: str, directory: Path) -> list[Object]:
    """The base with one component alone; *directory* gets a copy of all that takes part."""
    for part in ("k8s", "config", "examples/user-service"):
        shutil.copytree(ROOT / part, directory / part)
    own = directory / "k8s" / "alone"
    own.mkdir()
    (own / "kustomization.yaml").write_text(f"resources: [../base]\ncomponents: [../components/{component}]\n")
    return rendered(own)


def of_kind(name: str, *kinds: str) -> list[Object]:
    return [one for one in objects(name) if one["kind"] in kinds]


def identity(one: Object) -> tuple[str, str, str]:
    """Kind, namespace, name."""
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def template(one: Object) -> Object | None:
    """The pod template of a workload."""
    spec = one.get("spec", {})
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found: Object | None = spec.get("template") if one["kind"] in WORKLOADS else None
    return found


WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def workloads(name: str) -> Iterator[tuple[Object, Object]]:
    """Each with its pod template."""
    for one in objects(name):
        pod = template(one)
        if pod is not None:
            yield one, pod


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector fits."""
    for wanted in selector.get("matchExpressions", []):
        assert wanted["operator"] == "In"
        if labels.get(wanted["key"]) not in wanted["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def secrets_made(directory: Path) -> dict[str, set[str]]:
    """The keys of the Secrets that k8s/secrets.sh makes, by name."""
    return {one["metadata"]["name"]: set(one["data"]) for one in rendered(directory)}


def is_ci() -> bool:
    return os.environ.get("CI") == "true"
