"""Check that installing `rls` overwrites nothing that others have put into the cluster.

    python -m scripts.others --save FILE istio k8s/overlays/production    before: what is there, and is not ours
    python -m scripts.others FILE                                         afterwards: is it there still, as it was?

Before, it refuses a kustomization that has an object of a name which is in use: `kubectl apply` would overwrite that. Then it
keeps in FILE what else could suffer: the mesh configuration, the images of istiod's namespace, labels of namespaces.
Afterwards all of that must be there; what was added beside it does not matter.

Exit codes: 0 well, 1 something would be overwritten, or was, 2 it cannot say. Needs kubectl (KUBECTL names another program)
and PyYAML.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from scripts.programs import Failed, kubectl

Object = dict[str, Any]
PART_OF = "app.kubernetes.io/part-of"
OURS = "istio-rate-limiter"
_OF_KUBECTL = "kubectl.kubernetes.io/last-applied-configuration"


class Unknown(Exception):
    """It cannot say; the text says why."""


def name_of(each: Object) -> str:
    """Kind, namespace and name."""
    metadata = each["metadata"]
    return f"{each['kind']} {metadata['namespace'] + '/' if 'namespace' in metadata else ''}{metadata['name']}"


def in_the_way(folders: Sequence[str]) -> Iterator[str]:
    """The objects of the kustomizations whose names somebody else uses already."""
    for folder in folders:
        text = kubectl("kustomize", folder)
        there = json.loads(kubectl("get", "--ignore-not-found", "-o", "json", "-f", "-", stdin=text) or "{}")
        for each in there.get("items", [there] if there else []):
            if (each["metadata"].get("labels") or {}).get(PART_OF) != OURS:
                yield f"{name_of(each)} is there, and is not ours: {folder} would overwrite it"


def state(folders: Sequence[str], istio: str, configmap: str) -> Object:
    """What others have that an installation could damage, by what it is."""
    namespaces = {istio}
    for folder in folders:
        objects = [each for each in yaml.safe_load_all(kubectl("kustomize", folder)) if each]
        namespaces |= {each["metadata"]["namespace"] for each in objects if "namespace" in each["metadata"]}
    return look(sorted(namespaces), istio, configmap)


def look(namespaces: Sequence[str], istio: str, configmap: str) -> Object:
    """The present state of what is kept: as `state`, for namespaces whose names are known."""
    found: Object = {"istio": istio, "configmap": configmap, "namespaces": {}, "images": {}}
    for name in namespaces:
        text = kubectl("get", "namespace", name, "--ignore-not-found", "-o", "json")
        metadata = json.loads(text)["metadata"] if text else {}
        annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key != _OF_KUBECTL}
        found["namespaces"][name] = {"labels": metadata.get("labels", {}), "annotations": annotations}
    for each in json.loads(kubectl("-n", istio, "get", "deployment", "-o", "json"))["items"]:
        containers = each["spec"]["template"]["spec"]["containers"]
        found["images"][each["metadata"]["name"]] = {one["name"]: one["image"] for one in containers}
    mesh = json.loads(kubectl("-n", istio, "get", "configmap", configmap, "-o", "json"))["data"]
    found["mesh"] = {key: yaml.safe_load(text) for key, text in mesh.items()}
    return found


def lost(before: Any, after: Any, where: tuple[str, ...] = ()) -> Iterator[str]:
    """What *before* has and *after* has not, or has otherwise. A list may have grown, and be in another order."""
    place = ".".join(where)
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from lost(value, after[key], (*where, str(key)))
            else:
                yield f"{place}.{key} is gone; it was {_short(value)}"
    elif isinstance(before, list) and isinstance(after, list):
        yield from (f"{place} has lost {_short(each)}" for each in before if each not in after)
    elif before != after:
        yield f"{place} is {_short(after)}; it was {_short(before)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}…"


def save(file: Path, folders: Collection[str], istio: str, configmap: str) -> int:
    if not folders:
        raise Unknown("name the kustomizations that you are about to apply")
    if bad := list(in_the_way([*folders])):
        print("\n".join(f"REFUSED  {line}" for line in bad))
        return 1
    found = state([*folders], istio, configmap)
    file.write_text(json.dumps(found, indent=1))
    print(f"Nothing that others have is in the way. {file} says what must be there afterwards.")
    return 0


def compare(file: Path) -> int:
    before = json.loads(file.read_text())
    bad = list(lost(before, look(list(before["namespaces"]), before["istio"], before["configmap"])))
    print("\n".join(f"LOST  {line}" for line in bad) or "All that others had is there, as it was.")
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="before an installation")
    parser.add_argument("--namespace", default="istio-system", help="of istiod")
    parser.add_argument("--configmap", default="istio", help="istio-REVISION for a revision of istiod")
    parser.add_argument("file", type=Path, help="where the state is kept")
    parser.add_argument("kustomizations", nargs="*", help="that you are about to apply; with --save")
    arguments = parser.parse_args()
    try:
        if arguments.save:
            return save(arguments.file, arguments.kustomizations, arguments.namespace, arguments.configmap)
        return compare(arguments.file)
    except (Unknown, Failed, OSError) as error:
        print(f"others: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
