"""kubectl, as far as the scripts use it: objects are files in a folder, with versions that a replace must name.

    kubectl.py FOLDER --namespace NAMESPACE get configmap NAME -o json
    kubectl.py FOLDER --namespace NAMESPACE replace -f -

It says what kubectl says where something is missing or has changed meanwhile, and refuses what it does not know.
"""

import json
import sys
from pathlib import Path


def get(folder, namespace, name):
    file = folder / f"{namespace}.{name}.json"
    if not file.exists():
        sys.exit(f'Error from server (NotFound): configmaps "{name}" not found')
    sys.stdout.write(file.read_text())


def replace(folder, namespace, given):
    name = given["metadata"]["name"]
    file = folder / f"{namespace}.{name}.json"
    there = json.loads(file.read_text())
    if given["metadata"]["namespace"] != namespace:
        sys.exit("error: the namespace from the provided object does not match the namespace")
    if given["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
        sys.exit(
            f'Error from server (Conflict): error when replacing "STDIN": Operation cannot be fulfilled on configmaps "{name}": '
            "the object has been modified; please apply your changes to the latest version and try again"
        )
    given["metadata"]["resourceVersion"] = str(int(there["metadata"]["resourceVersion"]) + 1)
    file.write_text(json.dumps(given))
    sys.stdout.write(f"configmap/{name} replaced\n")


def main():
    match sys.argv[1:]:
        case [folder, "--namespace", namespace, "get", "configmap", name, "-o", "json"]:
            get(Path(folder), namespace, name)
        case [folder, "--namespace", namespace, "replace", "-f", "-"]:
            replace(Path(folder), namespace, json.load(sys.stdin))
        case other:
            sys.exit(f"error: unknown command {other}")


if __name__ == "__main__":
    main()
