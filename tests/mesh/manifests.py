"""The objects in `istio/`, as `kubectl kustomize` gives them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Object: TypeAlias = "dict[str, Any]"

ISTIO = Path(__file__).parents[2] / "istio"


def load(*components: str, folder: Path = ISTIO) -> list[Object]:
    """The objects of *folder*, changed by those of its *components*."""
    objects = list(_resources(folder))
    for component in components:
        objects += _resources(folder / component)
        for patch in _kustomization(folder / component).get("patches", ()):
            objects = [changed for each in objects if (changed := _patched(each, patch)) is not None]
    return objects


def of(objects: Sequence[Object], kind: str) -> list[Object]:
    """Those of that kind."""
    return [each for each in objects if each["kind"] == kind]


def find(objects: Sequence[Object], kind: str, name: str, namespace: str = "users") -> Object:
    """The one of that name."""
    (found,) = (each for each in of(objects, kind) if (each["metadata"]["name"], ns(each)) == (name, namespace))
    return found


def ns(each: Object) -> str:
    """Its namespace."""
    namespace: str = each["metadata"]["namespace"]
    return namespace


def _kustomization(folder: Path) -> Object:
    loaded: Object = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return loaded


def _resources(folder: Path) -> Iterator[Object]:
    for name in _kustomization(folder).get("resources", ()):
        yield from yaml.safe_load_all((folder / name).read_text())


def _patched(each: Object, patch: Object) -> Object | None:
    """*each* with *patch*, where that is its target; None where it is deleted."""
    target = patch["target"]
    facts = {"kind": each["kind"], "name": each["metadata"]["name"], "namespace": ns(each)}
    if not all(re.fullmatch(pattern, facts[fact]) for fact, pattern in target.items()):
        return each
    steps = yaml.safe_load(patch["patch"])
    if isinstance(steps, dict) and steps["$patch"] == "delete":
        return None
    each = copy.deepcopy(each)
    for step in steps:
        if step["op"] not in {"add", "replace"} or (step["op"] == "add" and step["path"][-1].isdigit()):
            raise NotImplementedError(f"the operation {step['op']} {step['path']} of a JSON patch")
        *way, last = (int(part) if part.isdigit() else part for part in step["path"].split("/")[1:])
        place: Any = each
        for part in way:
            place = place[part]
        if last == "-":
            place.append(copy.deepcopy(step["value"]))
        else:
            place[last] = copy.deepcopy(step["value"])
    return each
