"""Make `tests/mesh/schemas.json`, which objects for Istio are checked against, from Istio's own CRDs.

They are in the Go module istio.io/api: `go mod download -json istio.io/api@v1.31.4` says where it has put them, and this
takes that version: `python scripts/istio_schemas.py v1.31.4`. It wants Go; the tests do not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

OUTPUT = Path(__file__).parent.parent / "tests" / "mesh" / "schemas.json"
MODULE = "istio.io/api"
KINDS = {
    *("AuthorizationPolicy", "DestinationRule", "EnvoyFilter", "Gateway", "PeerAuthentication"),
    *("RequestAuthentication", "Sidecar", "Telemetry", "VirtualService"),
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
            schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
            name = f"{definition['spec']['group']}/{version['name']}/{definition['spec']['names']['kind']}"
            # Older versions of an object have the schema of the newest.
            if version["name"] == "v1" or definition["spec"]["names"]["kind"] == "EnvoyFilter":
                found[name] = schema
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Istio's CRDs, as JSON Schema that forbids unknown fields.")
    parser.add_argument("version", help="of the module istio.io/api, as v1.31.4")
    version = parser.parse_args().version
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "go.mod").write_text("module schemas\n")
        command = ["go", "mod", "download", "-json", f"{MODULE}@{version}"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    definitions = Path(json.loads(done.stdout)["Dir"]) / "kubernetes" / "customresourcedefinitions.gen.yaml"
    made = {"source": f"{MODULE} {version}", "schemas": schemas(definitions)}
    OUTPUT.write_text(json.dumps(made, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
