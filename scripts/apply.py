"""Apply a kustomization, and delete what an earlier one left behind.

    python -m scripts.apply k8s/overlays/production
    python -m scripts.apply istio              # or a kustomization of yours, with components
    python -m scripts.apply istio --dry-run    # only say what would change

`kubectl apply -k` never deletes. After a change from sidecars to at-gateway the filters at the sidecars would stay, and each
request would count twice. This deletes what has the labels of `istio/`, or of `k8s/`, and is not in the kustomization any
more: a cluster has one kustomization of each. It never deletes namespaces, Secrets and volumes, and nothing that belongs to
Helm. It stops before anything changes if the image is still the example's.

Exit codes: 0 done, 1 kubectl failed, 2 it stops without a change. Needs kubectl (KUBECTL names another program) and PyYAML.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import yaml

Object = dict[str, Any]
EXAMPLE = "registry.example.com/"
COMPONENT = "app.kubernetes.io/component"
MESH = "mesh"
"""The label COMPONENT of everything in istio/."""
OURS = "app.kubernetes.io/part-of=istio-rate-limiter,app.kubernetes.io/managed-by!=Helm"
SELECTORS = {True: f"{OURS},{COMPONENT}={MESH}", False: f"{OURS},{COMPONENT} notin ({MESH},restore)"}
"""What may be deleted, by whether istio/ is applied. k8s/restore is applied by itself, and stays."""

KINDS = {
    "": ("ConfigMap", "Service", "ServiceAccount"),
    "admissionregistration.k8s.io": ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    "apiregistration.k8s.io": ("APIService",),
    "apps": ("DaemonSet", "Deployment", "StatefulSet"),
    "autoscaling": ("HorizontalPodAutoscaler",),
    "batch": ("CronJob",),
    "gateway.networking.k8s.io": ("Gateway",),
    "monitoring.coreos.com": ("PodMonitor", "PrometheusRule", "ServiceMonitor"),
    "networking.istio.io": ("DestinationRule", "EnvoyFilter", "Gateway", "Sidecar", "VirtualService"),
    "networking.k8s.io": ("NetworkPolicy",),
    "policy": ("PodDisruptionBudget",),
    "rbac.authorization.k8s.io": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "security.istio.io": ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"),
    "telemetry.istio.io": ("Telemetry",),
}
"""What may be deleted, as group and kinds. Namespaces, Secrets and volumes hold what cannot be made again."""


class Refused(Exception):
    """Nothing was changed; the text says why, and what to do."""


class Failed(Exception):
    """kubectl's words."""


class Identity(NamedTuple):
    """*kind* with its group; *namespace* is empty for what has none."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, each: Object) -> Identity:
        group, _, _ = each["apiVersion"].rpartition("/")
        metadata = each["metadata"]
        return cls(f"{each['kind']}.{group}".rstrip("."), metadata.get("namespace", ""), metadata["name"])


def is_mesh(objects: Collection[Object]) -> bool:
    """Whether these are istio/, and not k8s/.

    Raises:
        Refused: They are neither, or only a part of it, so that nobody knows what to delete.
    """
    found = {each["metadata"].get("labels", {}).get(COMPONENT) == MESH for each in objects}
    kinds = {each["kind"] for each in objects}
    if found == {True} and "Telemetry" in kinds:
        return True
    if found == {False} and "Deployment" in kinds:
        return False
    raise Refused(
        "this is neither the whole of istio/ nor the whole of k8s/, so nobody knows what else to delete. Apply each by itself;\n"
        "parts of them, such as k8s/namespaces and k8s/restore, with kubectl apply -k"
    )


def kubectl(*arguments: str, stdin: str = "") -> str:
    """Its output.

    Raises:
        Failed: With what it said.
    """
    program = os.environ.get("KUBECTL", "kubectl")
    try:
        ran = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f"cannot run {program}: {error.strerror}") from None
    if ran.returncode:
        raise Failed(f"{ran.stdout}{ran.stderr}{program} {' '.join(arguments)}: exit code {ran.returncode}")
    return ran.stdout


def present(selector: str) -> Iterator[Identity]:
    """What the cluster has with these labels."""
    # Of a kind that the cluster does not know, `get` would say so and list nothing at all.
    rows = [line.split() for line in kubectl("api-resources", "--no-headers").splitlines()]
    known = {f"{kind}.{version.rpartition('/')[0]}".rstrip(".") for *_, version, _, kind in rows}
    wanted = [f"{kind}.{group}".rstrip(".") for group, kinds in KINDS.items() for kind in kinds]
    kinds = ",".join(kind.lower() for kind in wanted if kind in known)
    listed = kubectl("get", kinds, "--all-namespaces", f"--selector={selector}", "--output=json")
    for each in json.loads(listed)["items"]:
        # What a controller made goes with its owner.
        if not each["metadata"].get("ownerReferences"):
            yield Identity.of(each)


def run(path: str, *, dry_run: bool) -> None:
    text = kubectl("kustomize", path)
    objects = [each for each in yaml.safe_load_all(text) if each]
    selector = SELECTORS[is_mesh(objects)]
    if found := sorted(set(re.findall(rf"\bimage: ({re.escape(EXAMPLE)}\S+)", text))):
        raise Refused(
            f"{path} names {', '.join(found)}, which is an example. Build and push an image, and set it in the overlay:\n"
            f"  make image IMAGE=registry.you.example/rls:0.1.0 OVERLAY={path}"
        )
    dry = ["--dry-run=server"] if dry_run else []
    print(kubectl("apply", *dry, "--filename=-", stdin=text), end="")
    left = sorted(set(present(selector)) - {Identity.of(each) for each in objects})
    for kind, namespace, name in left:
        where = [f"--namespace={namespace}"] if namespace else []
        print(kubectl("delete", *dry, *where, kind.lower(), name), end="")
    print(f"{len(objects)} objects applied, {len(left)} deleted{' (dry run)' if dry_run else ''}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kustomization", help="a folder, or an address as kubectl apply -k takes it")
    parser.add_argument("--dry-run", action="store_true", help="ask the API server, and change nothing")
    given = parser.parse_args()
    try:
        run(given.kustomization, dry_run=given.dry_run)
    except Refused as error:
        print(f"apply: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
