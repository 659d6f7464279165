"""Make the templates and files of the Helm chart, charts/rls, from the manifests in k8s/ and istio/.

`make chart` runs it; `--check` only says whether the chart is as it would be made. So the manifests are the one source: a
template is the text of its manifest, comments included, under the condition that a value switches on, with the edits of
scripts/chart_edits.py. A manifest that an edit no longer fits is an error here.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from scripts.chart_edits import COPIED, EDITS, EVERYWHERE, FILES, FOLDERS, PATCHES, TEXTS

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "rls"
GENERATED = ("files", "templates/k8s", "templates/istio")
HEAD = "{{- /* Made by `make chart` from %s: change it there. */ -}}\n"

CHECKSUMS = {
    "alertmanager/statefulset.yaml": "alertmanager",
    "autoscaling-by-lateness/deployment.yaml": "autoscaling-by-lateness",
    "grafana/deployment.yaml": "grafana",
    "jaeger/deployment.yaml": "jaeger",
    "logging/fluentd.yaml": "logging",
    "opentelemetry-collector/deployment.yaml": "opentelemetry-collector",
    "redis-cluster/statefulset.yaml": "redis-cluster",
}
"""Pods that are replaced when their files change: kustomize does it by the name of the ConfigMap, the chart by a checksum."""
POD = "  template:\n    metadata:\n"


def made() -> dict[str, str]:
    """The texts of the generated files, by their path in the chart."""
    files: dict[str, str] = {}
    unused = set(EDITS)
    for folder, action in FOLDERS.items():
        kustomization = yaml.safe_load((ROOT / folder / "kustomization.yaml").read_text())
        for name in kustomization.get("resources", []):
            source = f"{folder}/{name}"
            if (ROOT / source).is_file() and source not in COPIED:
                files[f"templates/{_place(folder)}/{name}"] = _template(source, FILES.get(source, action))
                unused.discard(source)
        if "configMapGenerator" in kustomization:
            files |= _config_maps(folder, action, kustomization)
    for source in COPIED:
        files[f"files/{_short(source)}"] = (ROOT / source).read_text()
    files["templates/k8s/_patches.tpl"] = "".join(_defined(name, source) for name, source in PATCHES.items())
    if unused:
        raise SystemExit(f"scripts/chart_edits.py edits what no kustomization names: {sorted(unused)}")
    return files


def _short(source: str) -> str:
    """Without what all have in common."""
    return source.removeprefix("k8s/").removeprefix("components/").removeprefix("examples/")


def _place(folder: str) -> str:
    """Where the templates of a folder are."""
    place = _short(folder)
    return place if place.startswith("istio") else f"k8s/{place}"


def _template(source: str, action: str) -> str:
    """The text of a manifest with its edits, under its condition."""
    text = (ROOT / source).read_text()
    edits = EDITS.get(source, [])
    if folder := CHECKSUMS.get(_short(source)):
        checksum = f'{{{{ (.Files.Glob "files/{folder}/*").AsConfig | sha256sum }}}}'
        edits = [*edits, (POD, f"{POD}      annotations:\n        checksum/config: {checksum}\n", 1)]
    for old, new, times in edits:
        if text.count(old) != times:
            raise SystemExit(
                f"{source} has {text.count(old)} times, and not {times}, what scripts/chart_edits.py edits:\n{old}"
            )
        text = text.replace(old, new)
    for pattern, new in EVERYWHERE:
        text = pattern.sub(new, text)
    # What is included comes in at the indentation of its line.
    text = re.sub(r"^( +)(.*)INDENT", lambda found: f"{found[1]}{found[2]}{len(found[1])}", text, flags=re.MULTILINE)
    return HEAD % source + _under(action, text)


def _under(action: str, text: str) -> str:
    return f"{{{{- {action} }}}}\n{text.rstrip()}\n{{{{- end }}}}\n" if action else text


def _config_maps(folder: str, action: str, kustomization: dict[str, Any]) -> dict[str, str]:
    """The files of the ConfigMaps that a folder generates, and the template that reads them."""
    files, parts = {}, []
    suffix = "-{{ $name }}" if action.startswith("range") else ""
    for generator in kustomization["configMapGenerator"]:
        options = kustomization.get("generatorOptions", {}) | generator.get("options", {})
        metadata = {"name": generator["name"], "namespace": generator["namespace"]}
        metadata |= {key: options[key] for key in ("labels", "annotations") if key in options}
        head = yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, sort_keys=False)
        part = f"---\n{head}data:\n".replace(f"name: {generator['name']}\n", f"name: {generator['name']}{suffix}\n")
        for name in generator["files"]:
            path = f"files/{_short(folder)}/{name}"
            files[path] = (ROOT / folder / name).read_text()
            given = f"$.Values.{TEXTS[name]} | default " if name in TEXTS else ""
            part += f'  {name}: {{{{ {given}($.Files.Get "{path}") | toJson }}}}\n'
        parts.append(part)
    template = HEAD % f"{folder}/kustomization.yaml" + _under(action, "".join(parts))
    return {**files, f"templates/{_place(folder)}/configmaps.yaml": template}


def _defined(name: str, source: str) -> str:
    """Templates of what a patch adds to the pod of rls: rls.NAME.env and so on."""
    pod = yaml.safe_load((ROOT / source).read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    parts = {"env": container["env"], "volumeMounts": container.get("volumeMounts"), "volumes": pod.get("volumes")}
    return "".join(
        f'{HEAD % source}{{{{- define "rls.{name}.{key}" }}}}\n{yaml.safe_dump(value, sort_keys=False, width=1000)}{{{{- end }}}}\n'
        for key, value in parts.items()
        if value
    )


def there() -> dict[str, str]:
    """The generated files of the chart as they are."""
    paths = [path for folder in GENERATED for path in (CHART / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(CHART)): path.read_text() for path in paths}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    new, old = made(), there()
    changed = sorted(path for path in {*new, *old} if new.get(path) != old.get(path))
    if check:
        for path in changed:
            print(f"charts/rls/{path} is not what k8s/ makes: run `make chart`", file=sys.stderr)
        return 1 if changed else 0
    for path in changed:
        if path in new:
            (CHART / path).parent.mkdir(parents=True, exist_ok=True)
            (CHART / path).write_text(new[path])
        else:
            (CHART / path).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
