"""k8s/components/ambient and istio/waypoint: the waypoint comes up under Pod Security, and is reached."""

import copy
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import Object, identity, of_kind, rendered, selects
from tests.k8s.nodes import ROOT
from tests.mesh.manifests import find, load
from tests.redis_server import missing

WAYPOINT = {"gateway.networking.k8s.io/gateway-name": "users-waypoint"}
PRODUCTION = "overlays/production"


@pytest.fixture(scope="module")
def ambient(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """The objects of production, in ambient mode."""
    directory = tmp_path_factory.mktemp("ambient")
    for part in ("k8s", "config", "examples/user-service"):
        shutil.copytree(ROOT / part, directory / part)
    file = directory / "k8s" / PRODUCTION / "kustomization.yaml"
    overlay = yaml.safe_load(file.read_text())
    overlay["components"].append("../../components/ambient")
    file.write_text(yaml.safe_dump(overlay))
    return rendered(file.parent)


def found(objects: list[Object], *key: str) -> Object:
    (one,) = (one for one in objects if identity(one) == key)
    return one


def test_the_schemas_of_kubernetes_take_it(ambient: list[Object]) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        missing("needs the wheel kubernetes-validate")
    before = {identity(one) for one in of_kind(PRODUCTION, "NetworkPolicy")}
    fresh = [one for one in ambient if one["kind"] == "NetworkPolicy" and identity(one) not in before]

    assert {one["metadata"]["name"] for one in fresh} == {"users-hbone", "rls-hbone", "users-waypoint"}
    for one in fresh:
        kubernetes_validate.validate(one, "1.33", strict=True)


def test_no_pod_that_is_limited_or_limits_has_a_sidecar(ambient: list[Object]) -> None:
    pod = found(ambient, "Deployment", "rate-limit", "rls")["spec"]["template"]["metadata"]["labels"]
    assert (pod["sidecar.istio.io/inject"], pod["istio.io/dataplane-mode"]) == ("false", "ambient")
    redis = found(ambient, "StatefulSet", "rate-limit", "redis")["spec"]["template"]["metadata"]["labels"]
    assert "istio.io/dataplane-mode" not in redis


def test_the_page_sends_requests_through_the_waypoint_that_is_there() -> None:
    """By labels of the namespace; each was seen to matter in istiod's source."""
    gateway = find(load("waypoint"), "Gateway", "users-waypoint")
    page = (ROOT / "docs" / "istio.md").read_text()
    (command,) = re.findall(r"kubectl label namespace users (istio\.io.*)", page)
    labels = dict(word.split("=") for word in command.split())

    assert labels == {
        "istio.io/dataplane-mode": "ambient",
        "istio.io/use-waypoint": gateway["metadata"]["name"],
        "istio.io/ingress-use-waypoint": "true",
    }
    assert gateway["metadata"]["namespace"] == "users"


def test_what_istiod_makes_of_the_gateway_is_not_pruned_with_it() -> None:
    """istiod gives it the labels of the Gateway, unless there are others for it."""
    gateway = find(load("waypoint"), "Gateway", "users-waypoint")

    copied = gateway["spec"]["infrastructure"]["labels"]
    assert copied
    assert not copied.keys() & {"app.kubernetes.io/part-of", "app.kubernetes.io/component"}


def reached(policies: list[Object], namespace: str, labels: dict[str, str]) -> set[tuple[object, ...]]:
    """Who may call a pod, by port: peers as tuples of their selectors."""
    return {
        (port["port"], *_peer(peer))
        for one in policies
        if one["metadata"]["namespace"] == namespace and selects(one["spec"]["podSelector"], labels)
        for rule in one["spec"].get("ingress", [])
        for peer in rule["from"]
        for port in rule["ports"]
    }


def _peer(peer: Object) -> tuple[object, ...]:
    return tuple(str(peer.get(name, "")) for name in ("namespaceSelector", "podSelector", "ipBlock"))


@pytest.mark.parametrize(("namespace", "name"), [("users", "users"), ("rate-limit", "rls")])
def test_who_may_call_a_pod_may_do_so_by_hbone(ambient: list[Object], namespace: str, name: str) -> None:
    """And the waypoint may, too."""
    policies = [one for one in ambient if one["kind"] == "NetworkPolicy"]
    callers = reached(policies, namespace, {"app.kubernetes.io/name": name})
    plain = {peer for port, *peer_ in callers if port not in {15008, 15090} and not (peer := tuple(peer_))[2]}
    by_hbone = {tuple(peer) for port, *peer in callers if port == 15008}

    waypoint = _peer({"podSelector": {"matchLabels": WAYPOINT}})
    assert by_hbone == (plain | {waypoint} if name == "users" else plain)
    assert ("http", *_peer({"ipBlock": {"cidr": "169.254.7.127/32"}})) in callers


def test_the_waypoint_may_be_called_by_hbone_and_only_so(ambient: list[Object]) -> None:
    policies = [one for one in ambient if one["kind"] == "NetworkPolicy"]

    callers = reached(policies, "users", WAYPOINT)

    assert {port for port, *_ in callers} == {15008, 15090}


# What istiod's own template makes of a waypoint, as far as Pod Security looks at it: manifests/charts/istio-control/
# istio-discovery/files/waypoint.yaml of istio/istio, which is the same from 1.27 to 1.31.
ISTIOD_MAKES: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "users-waypoint", "namespace": "users"},
    "spec": {
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "istio-proxy",
                        "securityContext": {
                            "privileged": False,
                            "runAsGroup": 1337,
                            "runAsUser": 1337,
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            "runAsNonRoot": True,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            }
        }
    },
}


def restricted(pod: Object) -> list[str]:
    """What the Pod Security Standard `restricted` says against a pod of one container."""
    (container,) = pod["containers"]
    own, whole = container["securityContext"], pod.get("securityContext", {})
    wanted = {
        "seccompProfile": (own.get("seccompProfile") or whole.get("seccompProfile"), {"type": "RuntimeDefault"}),
        "runAsNonRoot": (own.get("runAsNonRoot", whole.get("runAsNonRoot")), True),
        "allowPrivilegeEscalation": (own.get("allowPrivilegeEscalation"), False),
        "capabilities": (own.get("capabilities"), {"drop": ["ALL"]}),
        "privileged": (own.get("privileged", False), False),
    }
    return [name for name, (value, expected) in wanted.items() if value != expected]


def test_pod_security_takes_the_waypoint(tmp_path: Path) -> None:
    """The ConfigMap's values are merged into what istiod makes, strategically, as kustomize does it, too."""
    gateway = find(load("waypoint"), "Gateway", "users-waypoint")
    parameters = gateway["spec"]["infrastructure"]["parametersRef"]
    data = find(load("waypoint"), "ConfigMap", parameters["name"])["data"]
    assert set(data) <= {"deployment", "service", "serviceAccount", "horizontalPodAutoscaler", "podDisruptionBudget"}
    own = copy.deepcopy(ISTIOD_MAKES)
    (tmp_path / "made.yaml").write_text(yaml.safe_dump(own))
    patch = {**yaml.safe_load(data["deployment"]), **{name: own[name] for name in ("apiVersion", "kind", "metadata")}}
    patches = [{"patch": yaml.safe_dump(patch)}]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["made.yaml"], "patches": patches}))

    (merged,) = rendered(tmp_path)

    assert restricted(own["spec"]["template"]["spec"]) == ["seccompProfile"]
    assert restricted(merged["spec"]["template"]["spec"]) == []
