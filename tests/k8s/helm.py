"""What Helm makes of charts/rls, and how it compares with what kustomize makes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.manifests import Object, identity, rendered
from tests.k8s.nodes import ROOT, program

CHART = ROOT / "charts" / "rls"
EXAMPLE = "image.repository=registry.example.com/istio-rate-limiter"
SHARED = ("redisCluster.enabled=true", "autoscaling.enabled=true", "userService.enabled=true")
# What kustomize appends to the name of a generated ConfigMap.
_HASH = re.compile(r"-[2-9bcdfghkmt]{10}$")
_BY_NAME = ("env", "volumes", "volumeMounts")
Objects = dict[tuple[str, str, str], Object]


def helm(*arguments: str | Path, namespace: str = "rate-limit") -> subprocess.CompletedProcess[str]:
    """Run without a cluster."""
    version = [] if arguments[0] == "install" else ["--kube-version", "1.36.0"]
    command = [program("helm"), *arguments, "--namespace", namespace, *version]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def templates(*values: str, profile: str = "", image: str = EXAMPLE) -> Objects:
    """The objects for *values*, KEY=VALUE each."""
    files: list[str | Path] = ["--values", CHART / f"values-{profile}.yaml"] if profile else []
    settings = [part for value in (image, *values) for part in ("--set", value)]
    ran = helm("template", "rls", CHART, *files, *settings)
    assert ran.returncode == 0, ran.stderr
    return comparable(yaml.load_all(ran.stdout, yaml.CSafeLoader))


def kustomized(path: Path) -> Objects:
    return comparable(rendered(path))


def comparable(objects: Iterable[Object]) -> Objects:
    """By identity, without what differs on purpose: namespaces, which the chart never makes; names with a hash in place of
    an annotation with a checksum; the order of lists whose entries have names.
    """
    found = {}
    for each in objects:
        if each and each["kind"] != "Namespace":
            if each["kind"] == "ConfigMap":
                each["metadata"]["name"] = _HASH.sub("", each["metadata"]["name"])
            _strip(each)
            assert identity(each) not in found
            found[identity(each)] = each
    return found


def _strip(tree: Any) -> None:
    if isinstance(tree, list):
        for each in tree:
            _strip(each)
    if not isinstance(tree, dict):
        return
    notes = tree.get("annotations")
    if isinstance(notes, dict) and notes.pop("checksum/config", None) and not notes:
        del tree["annotations"]
    if isinstance(volume := tree.get("configMap"), dict) and "name" in volume:
        volume["name"] = _HASH.sub("", volume["name"])
    for key in _BY_NAME:
        if isinstance(tree.get(key), list):
            tree[key].sort(key=lambda each: each["name"])
    for each in tree.values():
        _strip(each)
