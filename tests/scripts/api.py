"""An API server in memory, in place of `scripts.apply.kubectl`; `kustomize` is the real one's.

Like the real ones it never deletes what is only missing from an apply, lists nothing when one kind is unknown, and keeps
labels that others have set. It refuses what it does not know.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess

import yaml

from scripts.apply import Identity, Object
from scripts.programs import Failed
from tests.k8s.nodes import program

TERM = re.compile(r"([\w./-]+)(?: notin \(([^)]*)\)|(!?=)([\w./-]+))(?:,|$)")


def fits(selector: str, labels: dict[str, str]) -> bool:
    """Of the selectors in use: a=b, a!=b, a notin (b,c)."""
    assert TERM.sub("", selector) == "", selector
    return all(
        (labels.get(key) in (none_of or value).split(",")) == (operator == "=")
        for key, none_of, operator, value in TERM.findall(selector)
    )


class Api:
    """Called as `kubectl` is."""

    def __init__(self, *objects: Object) -> None:
        self._objects = {Identity.of(each): copy.deepcopy(each) for each in objects}

    def add(self, one: Object) -> None:
        self._objects[Identity.of(one)] = copy.deepcopy(one)

    def there(self) -> list[Object]:
        return list(self._objects.values())

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        dry = "--dry-run=server" in arguments
        match [each for each in arguments if each != "--dry-run=server"]:
            case ["kustomize", path]:
                ran = subprocess.run(
                    [program("kubectl"), "kustomize", path], capture_output=True, text=True, check=False
                )
                if ran.returncode:
                    raise Failed(ran.stderr)
                return ran.stdout
            case ["apply", "--filename=-"]:
                return "".join(self._apply(each, dry=dry) for each in yaml.safe_load_all(stdin))
            case ["api-resources", "--no-headers"]:
                known = {(each["apiVersion"], each["kind"]) for each in self.there()}
                return "".join(f"{kind.lower()}s {version} true {kind}\n" for version, kind in known)
            case ["get", kinds, "--all-namespaces", selector, "--output=json"]:
                return json.dumps({"items": self._get(kinds.split(","), selector.removeprefix("--selector="))})
            case ["delete", "--ignore-not-found", "--wait=false", *where, kind, name]:
                return self._delete(kind, where[0].removeprefix("--namespace=") if where else "", name, dry=dry)
            case ["--namespace", namespace, "label", "--overwrite", "envoyfilter", "--selector", selector, change]:
                self._label(namespace, selector, change)
                return ""
        raise AssertionError(arguments)

    def _apply(self, one: Object, *, dry: bool) -> str:
        identity, new = Identity.of(one), copy.deepcopy(one)
        old = self._objects.get(identity)
        if old is not None:
            foreign = {
                key: value for key, value in old["metadata"].get("labels", {}).items() if key.startswith("istio.io/")
            }
            new["metadata"].setdefault("labels", {}).update(foreign)
        if not dry:
            self._objects[identity] = new
        said = "created" if old is None else "unchanged" if old == new else "configured"
        return f"{identity.kind.lower()}/{identity.name} {said}\n"

    def _get(self, kinds: list[str], selector: str) -> list[Object]:
        if unknown := set(kinds) - {identity.kind.lower() for identity in self._objects}:
            raise Failed(f"error: the server doesn't have a resource type {sorted(unknown)}")
        return [
            each
            for identity, each in self._objects.items()
            if identity.kind.lower() in kinds and fits(selector, each["metadata"].get("labels", {}))
        ]

    def _delete(self, kind: str, namespace: str, name: str, *, dry: bool) -> str:
        (identity,) = (each for each in self._objects if (each.kind.lower(), *each[1:]) == (kind, namespace, name))
        if not dry:
            del self._objects[identity]
        return f'{kind} "{name}" deleted\n'

    def _label(self, namespace: str, selector: str, change: str) -> None:
        key, _, value = change.partition("=")
        for identity, each in self._objects.items():
            labels = each["metadata"].get("labels", {})
            if identity[:2] == ("EnvoyFilter.networking.istio.io", namespace) and fits(selector, labels):
                labels.pop(key.removesuffix("-"), None)
                labels.update({key: value} if value else {})
