"""Apply a kustomization, and delete what an earlier one left behind.

    python -m scripts.apply k8s/overlays/production
    python -m scripts.apply istio              # or a kustomization of yours, with components
    python -m scripts.apply istio --dry-run    # only say what would change
    python -m scripts.apply istio --delete-in orders    # what is left of ours in the namespace orders, too

`kubectl apply -k` never deletes. After a change from sidecars to at-gateway the filters at the sidecars would stay, and each
request would count twice. This deletes what has the labels of `istio/`, or of `k8s/`, and is not in the kustomization any
more: a cluster has one kustomization of each. It never deletes namespaces, Secrets and volumes, and nothing that belongs to
Helm. It stops before anything changes if the image is still the example's, if an object belongs to Helm, or if it would delete
something in a namespace that neither the kustomization nor this project names: that may be another team's.

Exit codes: 0 done, 1 kubectl failed, 2 it stops without a change. Needs kubectl (KUBECTL names another program) and PyYAML.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import yaml

from scripts.programs import Failed, kubectl

Object = dict[str, Any]
EXAMPLE = "registry.example.com/"
COMPONENT = "app.kubernetes.io/component"
MESH = "mesh"
"""The label COMPONENT of everything in istio/."""
MANAGED_BY = "app.kubernetes.io/managed-by"
OURS = "app.kubernetes.io/part-of=istio-rate-limiter"
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

NAMESPACES = ("istio-ingress", "kube-system", "monitoring", "rate-limit", "rate-limit-logging", "users")
"""Those of istio/ and k8s/. Anywhere else, what has our labels may be another team's."""


class Refused(Exception):
    """Nothing was changed; the text says why, and what to do."""


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


def present(selector: str) -> Iterator[Identity]:
    """What the cluster has with these labels, and does not belong to Helm."""
    for each in labelled(selector):
        if not of_helm(each):
            yield Identity.of(each)


def of_helm(each: Object) -> bool:
    return bool(each["metadata"]["labels"].get(MANAGED_BY) == "Helm")


def labelled(selector: str) -> Iterator[Object]:
    """What the cluster has with these labels: nothing that goes by itself, as it is deleted already or has an owner."""
    # Of a kind that the cluster does not know, `get` would say so and list nothing at all.
    rows = [line.split() for line in kubectl("api-resources", "--no-headers").splitlines()]
    known = {f"{kind}.{version.rpartition('/')[0]}".rstrip(".") for *_, version, _, kind in rows}
    wanted = [f"{kind}.{group}".rstrip(".") for group, kinds in KINDS.items() for kind in kinds]
    kinds = ",".join(kind.lower() for kind in wanted if kind in known)
    listed = kubectl("get", kinds, "--all-namespaces", f"--selector={selector}", "--output=json")
    for each in json.loads(listed)["items"]:
        if not {"ownerReferences", "deletionTimestamp"} & each["metadata"].keys():
            yield each


def left_behind(path: str, objects: Collection[Object], selector: str, delete_in: Collection[str]) -> list[Identity]:
    """What is to be deleted.

    Raises:
        Refused: Some of that, or of *objects*, may belong to somebody else.
    """
    there = list(labelled(selector))
    new = {Identity.of(each) for each in objects}
    if taken := sorted(new & {Identity.of(each) for each in there if of_helm(each)}):
        raise Refused(
            f"{_listed(taken)}\nbelong to a release of Helm, which would undo this. Go on with Helm; or remove the release with\n"
            "helm uninstall, which keeps Secrets and the volumes of Redis, and apply this then"
        )
    left = sorted({Identity.of(each) for each in there if not of_helm(each)} - new)
    named = {"", *NAMESPACES, *delete_in, *(each.namespace for each in new)}
    if elsewhere := [each for each in left if each.namespace not in named]:
        options = " ".join(f"--delete-in {name}" for name in sorted({each.namespace for each in elsewhere}))
        raise Refused(
            f"{_listed(elsewhere)}\nhave our labels, and {path} does not name their namespaces. If an earlier kustomization left\n"
            f"them behind, say {options}. If they are another team's, put them into {path},\n"
            "or take their label app.kubernetes.io/part-of away"
        )
    return left


def _listed(objects: Collection[Identity]) -> str:
    return "\n".join(f"  {each.kind.lower()} {each.namespace}/{each.name}".replace(" /", " ") for each in objects)


def run(path: str, *, dry_run: bool, delete_in: Collection[str] = ()) -> None:
    text = kubectl("kustomize", path)
    objects = [each for each in yaml.safe_load_all(text) if each]
    selector = SELECTORS[is_mesh(objects)]
    if found := sorted(set(re.findall(rf"\bimage: ({re.escape(EXAMPLE)}\S+)", text))):
        raise Refused(
            f"{path} names {', '.join(found)}, which is an example. Build and push an image, and set it in the overlay:\n"
            f"  make image IMAGE=registry.you.example/rls:0.1.0 OVERLAY={path}"
        )
    # Before anything changes: who may apply, and may not list, would leave the old filters, and count twice.
    left = left_behind(path, objects, selector, delete_in)
    dry = ["--dry-run=server"] if dry_run else []
    print(kubectl("apply", *dry, "--filename=-", stdin=text), end="")
    failed = [said for each in left if (said := _delete(each, dry))]
    if failed:
        raise Failed("\n".join(failed))
    print(f"{len(objects)} objects applied, {len(left)} deleted{' (dry run)' if dry_run else ''}")


def _delete(each: Identity, dry: Collection[str]) -> str:
    """What kubectl said, if it failed: one that cannot be deleted must not save the others."""
    where = [f"--namespace={each.namespace}"] if each.namespace else []
    try:
        # Some wait for a controller (finalizers), which may be gone.
        print(
            kubectl("delete", *dry, "--ignore-not-found", "--wait=false", *where, each.kind.lower(), each.name), end=""
        )
    except Failed as error:
        return str(error)
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kustomization", help="a folder, or an address as kubectl apply -k takes it")
    parser.add_argument("--dry-run", action="store_true", help="ask the API server, and change nothing")
    parser.add_argument(
        "--delete-in", action="append", default=[], metavar="NAMESPACE", help="also delete what is left there"
    )
    given = parser.parse_args()
    try:
        run(given.kustomization, dry_run=given.dry_run, delete_in=given.delete_in)
    except Refused as error:
        print(f"apply: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("apply: interrupted. Run it again: until then old filters may count each request twice", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
