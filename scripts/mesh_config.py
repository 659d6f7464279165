"""Add what `rls` needs to the mesh configuration of istiod, and remove nothing.

    python -m scripts.mesh_config                  show what would change
    python -m scripts.mesh_config --apply          change the ConfigMap, if nothing else owns it
    python -m scripts.mesh_config --values FILE    write values for Helm: whole lists, with the present entries

Lists such as `extensionProviders` are shared: `helm upgrade -f istio/values-istiod.yaml` would replace them, and
an AuthorizationPolicy of action CUSTOM whose provider is gone denies every request.

Exit codes: 0 nothing is left to do, 1 a change was shown and not made, 2 it stops without a change.
Needs kubectl (KUBECTL names another program) and PyYAML.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from scripts.programs import Failed, kubectl
from scripts.yaml_edit import NotInPlace, insert, replace

VALUES = Path(__file__).parents[1] / "istio" / "values-istiod.yaml"
Tree = dict[str, Any]
Keys = tuple[str, ...]


class Refused(Exception):
    """Nothing was changed; the text says why, and what to do."""


class Change(NamedTuple):
    """An *item* for the list at *keys*; *place* of the item that it replaces, or None to add it."""

    keys: Keys
    item: Any
    place: int | None


def changes(config: Tree, wanted: Tree, *, replacing: bool) -> list[Change]:
    """What *config* lacks of *wanted*.

    Raises:
        Refused: A list has an item of that name that differs, and *replacing* is not set; or something else is in the way.
    """
    found = []
    for keys, items in _lists(wanted):
        there = _at(config, keys)
        for item in items:
            place = _place(there, item)
            if place is None:
                found.append(Change(keys, item, None))
            elif there[place] != item:
                if not replacing:
                    raise Refused(_differs(keys, there[place], item))
                found.append(Change(keys, item, place))
    return found


def _lists(tree: Tree, keys: Keys = ()) -> Iterator[tuple[Keys, list[Any]]]:
    for key, value in tree.items():
        if isinstance(value, list):
            yield (*keys, key), value
        else:
            yield from _lists(value, (*keys, key))


def _at(config: Tree, keys: Keys) -> list[Any]:
    """The list at *keys*; empty if it is missing."""
    found: Any = config
    for number, key in enumerate(keys):
        if not isinstance(found, dict):
            raise Refused(f"{'.'.join(keys[:number])} of the mesh configuration is no mapping: {found!r}")
        found = found.get(key) or ({} if key != keys[-1] else [])
    if not isinstance(found, list):
        raise Refused(f"{'.'.join(keys)} of the mesh configuration is no list: {found!r}")
    return found


def _place(there: Sequence[Any], item: Any) -> int | None:
    """The index of the item in the list, or of another with its name."""
    for place, each in enumerate(there):
        if each == item:
            return place
        if isinstance(each, dict) and isinstance(item, dict) and each.get("name") == item["name"]:
            return place
    return None


def _differs(keys: Keys, there: Any, item: Any) -> str:
    lines = _diff(_dump(there), _dump(item), "there", "wanted")
    return (
        f"{'.'.join(keys)} has an entry {item['name']!r} already, and it differs:\n{lines}"
        "Rename one of the two, or replace the present one with --replace."
    )


def changed_text(text: str, config: Tree, wanted: Sequence[Change]) -> str:
    """*text* with the changes, and everything else as it was, comments too.

    Raises:
        Refused: It cannot be changed in place without changing something else.
    """
    new, expected = text, config
    for change in wanted:
        expected = _applied(expected, change)
        try:
            if change.place is None:
                new = insert(new, change.keys, change.item)
            else:
                new = replace(new, change.keys, change.place, change.item)
            loaded = yaml.safe_load(new)
        except (NotInPlace, yaml.YAMLError) as error:
            raise Refused(_by_hand(wanted, str(error))) from None
        if loaded != expected:
            raise Refused(
                _by_hand(wanted, "other parts would change with it, because of an anchor, a merge or a repeated key")
            )
    return new


def _applied(config: Tree, change: Change) -> Tree:
    copied: Tree = json.loads(json.dumps(config))
    place: Any = copied
    for key in change.keys[:-1]:
        place[key] = place.get(key) or {}
        place = place[key]
    items = place[change.keys[-1]] = place.get(change.keys[-1]) or []
    if change.place is None:
        items.append(change.item)
    else:
        items[change.place] = change.item
    return copied


def _by_hand(wanted: Sequence[Change], why: str) -> str:
    parts: Tree = {}
    for change in wanted:
        parts = _applied(parts, change._replace(place=None))
    return f"the text cannot be changed in place: {why}.\nAdd this to the lists by hand:\n{_dump(parts)}"


def _dump(tree: Any) -> str:
    text: str = yaml.safe_dump(tree, sort_keys=False, width=1000, allow_unicode=True)
    return text


def _diff(old: str, new: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), before, after, lineterm="")
    return "".join(f"{line}\n" for line in lines)


class ConfigMap:
    """The ConfigMap that istiod reads its mesh configuration from."""

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace, self.name = namespace, name
        self._tree: Tree = json.loads(self._kubectl("get", "configmap", name, "-o", "json"))
        self.text: str = self._tree.get("data", {}).get("mesh", "")

    def config(self) -> Tree:
        """What the text says."""
        try:
            found = yaml.safe_load(self.text)
        except yaml.YAMLError as error:
            raise Refused(f"the key mesh of {self.namespace}/{self.name} is not YAML: {error}") from None
        if not isinstance(found, dict | None):
            raise Refused(f"the key mesh of {self.namespace}/{self.name} is no mapping")
        return found or {}

    def owner(self) -> str:
        """Which tool owns the ConfigMap, and how to make the change with it; empty if none does."""
        metadata = self._tree["metadata"]
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        if labels.get("app.kubernetes.io/managed-by") == "Helm" or "meta.helm.sh/release-name" in annotations:
            release = annotations.get("meta.helm.sh/release-name", "istiod")
            chart = labels.get("helm.sh/chart", "")
            version = (
                chart.removeprefix("istiod-")
                if chart.startswith("istiod-")
                else f"VERSION  # helm list -n {self.namespace}"
            )
            return (
                "The ConfigMap belongs to a release of Helm, which would undo a change. Let Helm make it, at the same version:\n"
                f"  python -m scripts.mesh_config --values mesh.yaml\n"
                f"  helm upgrade {release} istio/istiod -n {self.namespace} --reuse-values -f mesh.yaml --version {version}"
            )
        if any(label.startswith(("install.operator.istio.io/", "operator.istio.io/")) for label in labels):
            return (
                "The ConfigMap belongs to istioctl, which would undo a change with its next install. Write it with\n"
                "  python -m scripts.mesh_config --values mesh.yaml\n"
                "and put it under spec of your IstioOperator, in place of the present lists."
            )
        return ""

    def write(self, text: str) -> None:
        """Replace the text; kubectl fails if the object has changed since it was read."""
        tree = {**self._tree, "data": {**self._tree.get("data", {}), "mesh": text}}
        self._kubectl("replace", "-f", "-", stdin=json.dumps(tree))

    def _kubectl(self, *arguments: str, stdin: str = "") -> str:
        try:
            return kubectl("--namespace", self.namespace, *arguments, stdin=stdin)
        except Failed as error:
            raise Refused(str(error)) from None


def helm_values(config: Tree, wanted: Sequence[Change], additions: Tree) -> Tree:
    """Whole lists, since Helm replaces lists: the present entries of istiod, and the added ones."""
    for change in wanted:
        config = _applied(config, change)
    values: Tree = {}
    for keys, _ in _lists(additions):
        for item in _at(config, keys):
            values = _applied(values, Change(keys, item, None))
    return {"meshConfig": values}


def run(arguments: argparse.Namespace) -> int:
    additions: Tree = yaml.safe_load(VALUES.read_text())["meshConfig"]
    configmap = ConfigMap(arguments.namespace, arguments.configmap)
    config = configmap.config()
    wanted = changes(config, additions, replacing=arguments.replace)
    where = f"{arguments.namespace}/{arguments.configmap}"
    if arguments.values:
        arguments.values.write_text(_dump(helm_values(config, wanted, additions)))
    if not wanted:
        print(f"{where} has all that rls needs: nothing to do.")
        return 0
    if arguments.values:
        before, after = (helm_values(config, each, additions) for each in ([], wanted))
        print(_diff(_dump(before) if before["meshConfig"] else "", _dump(after), where, f"{where} with rls"), end="")
        print(f"{arguments.values} holds the lists of {where} and the added entries. Nothing else was changed.")
        return 1
    text = changed_text(configmap.text, config, wanted)
    print(_diff(configmap.text, text, where, f"{where} with rls"), end="")
    owner = configmap.owner()
    if not arguments.apply:
        print(f"Nothing was changed.{'' if owner else ' --apply makes this change.'}\n{owner}".rstrip())
        return 1
    if owner:
        raise Refused(owner)
    configmap.write(text)
    print(f"{where} is changed. Proxies take their statistics when they start: restart the workloads.")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--namespace", default="istio-system", help="of istiod")
    parser.add_argument("--configmap", default="istio", help="istio-REVISION for a revision of istiod")
    parser.add_argument("--replace", action="store_true", help="replace entries of the same name that differ")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--apply", action="store_true", help="make the change")
    how.add_argument("--values", type=Path, metavar="FILE", help="write values for Helm")
    try:
        return run(parser.parse_args())
    except Refused as error:
        print(f"mesh_config: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
