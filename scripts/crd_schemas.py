"""Make `tests/crds.json`: what the CRDs of Istio, the Gateway API, the Prometheus operator, Argo CD and Flux take.

Their CRDs are in Go modules: `go mod download -json istio.io/api@v1.31.4` says where it has put them, and this takes the versions
below. It needs Go; the tests do not.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

OUTPUT = Path(__file__).parent.parent / "tests" / "crds.json"
SOURCES = {
    "github.com/argoproj/argo-cd/v3@v3.5.4": ["manifests/crds/application-crd.yaml"],
    "github.com/fluxcd/kustomize-controller@v1.9.6": [
        "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"
    ],
    "github.com/fluxcd/source-controller@v1.9.6": ["config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"],
    "istio.io/api@v1.31.4": ["kubernetes/customresourcedefinitions.gen.yaml"],
    "sigs.k8s.io/gateway-api@v1.4.1": ["config/crd/standard/gateway.networking.k8s.io_gateways.yaml"],
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
        for kind in ("podmonitors", "prometheusrules", "servicemonitors")
    ],
}
KINDS = {
    *("Application", "GitRepository", "Kustomization"),
    *("AuthorizationPolicy", "DestinationRule", "EnvoyFilter", "Gateway", "PeerAuthentication"),
    *("PodMonitor", "PrometheusRule", "RequestAuthentication", "ServiceMonitor", "Sidecar", "Telemetry"),
    "VirtualService",
}


def strict(schema: Any) -> Any:
    """A structural schema, without prose, and with unknown fields forbidden where Kubernetes would drop them."""
    if not isinstance(schema, dict):
        return schema
    kept = {
        name: value
        for name, value in schema.items()
        if name not in {"description", "format", "default", "anyOf"} and not name.startswith("x-kubernetes-")
    }
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if "properties" in kept:
        kept["properties"] = {name: strict(value) for name, value in kept["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept["additionalProperties"] = False
    for name in ("items", "additionalProperties"):
        if name in kept:
            kept[name] = strict(kept[name])
    return kept


def schemas(definitions: Path) -> dict[str, Any]:
    """By kind and version."""
    found = {}
    for definition in yaml.safe_load_all(definitions.read_text()):
        if definition is None or definition["spec"]["names"]["kind"] not in KINDS:
            continue
        for version in definition["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            # Nobody writes these into a file.
            for name in ("operation", "status"):
                schema["properties"].pop(name, None)
            schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
            name = f"{definition['spec']['group']}/{version['name']}/{definition['spec']['names']['kind']}"
            # Older versions of an object have the schema of the newest. These two have no v1.
            if version["name"] == "v1" or definition["spec"]["names"]["kind"] in {"Application", "EnvoyFilter"}:
                found[name] = schema
    return found


def downloaded(module: str) -> Path:
    """Where Go has put *module*, with its version."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "go.mod").write_text("module schemas\n")
        command = ["go", "mod", "download", "-json", module]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return Path(json.loads(done.stdout)["Dir"])


def main() -> None:
    found: dict[str, Any] = {}
    for module, paths in SOURCES.items():
        folder = downloaded(module)
        for path in paths:
            found |= schemas(folder / path)
    made = {"sources": sorted(SOURCES), "schemas": found}
    OUTPUT.write_text(json.dumps(made, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
