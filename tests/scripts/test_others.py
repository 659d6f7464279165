"""What others have in the cluster is looked at before an installation, and missed afterwards if it is gone."""

import copy
import json
import subprocess

import pytest
import yaml

from scripts import others
from scripts.programs import Failed
from tests.k8s.nodes import program
from tests.scripts.cluster import ROOT, WITH_A_PROVIDER

ISTIO = str(ROOT / "istio")


def obj(kind, name, namespace=None, *, labels=None, **rest):
    metadata = {"name": name, "labels": labels or {}, **({"namespace": namespace} if namespace else {})}
    return {"kind": kind, "metadata": metadata, **rest}


def istiod(version):
    containers = [{"name": "discovery", "image": f"istio/pilot:{version}"}]
    return obj("Deployment", "istiod", "istio-system", spec={"template": {"spec": {"containers": containers}}})


class Cluster:
    """Objects in memory, in place of kubectl; `kustomize` is the real one's. It refuses what it does not know."""

    def __init__(self):
        self.objects = [
            obj("Namespace", "users", labels={"team": "users"}),
            obj("Namespace", "istio-system"),
            istiod("1.31.0"),
            obj("ConfigMap", "istio", "istio-system", data={"mesh": WITH_A_PROVIDER}),
        ]

    def find(self, kind, name):
        (found,) = (each for each in self.objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
        return found

    def __call__(self, *arguments, stdin=""):
        there = {others.name_of(each): each for each in self.objects}
        match arguments:
            case ["kustomize", folder]:
                return subprocess.run([program("kubectl"), "kustomize", folder], capture_output=True, check=True).stdout
            case ["get", "--ignore-not-found", "-o", "json", "-f", "-"]:
                wanted = [others.name_of(each) for each in yaml.safe_load_all(stdin)]
                found = [there[name] for name in wanted if name in there]
                # As kubectl: nothing, one object, or a list.
                return json.dumps(found[0] if len(found) == 1 else {"kind": "List", "items": found}) if found else ""
            case ["get", "namespace", name, "--ignore-not-found", "-o", "json"]:
                return json.dumps(there[f"Namespace {name}"]) if f"Namespace {name}" in there else ""
            case ["-n", namespace, "get", "deployment", "-o", "json"]:
                of_it = [each for name, each in there.items() if name.startswith(f"Deployment {namespace}/")]
                return json.dumps({"items": of_it})
            case ["-n", namespace, "get", "configmap", name, "-o", "json"]:
                return json.dumps(there[f"ConfigMap {namespace}/{name}"])
            case other:
                raise AssertionError(other)


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()
    monkeypatch.setattr(others, "kubectl", made)
    return made


@pytest.fixture
def saved(cluster, tmp_path):
    """The file, and what it says of an installation that leaves all alone."""
    file = tmp_path / "before.json"
    assert others.save(file, [ISTIO], "istio-system", "istio") == 0
    assert others.compare(file) == 0
    return file


@pytest.mark.parametrize(
    ("kind", "name", "namespace"),
    [
        ("Sidecar", "default", "users"),
        ("PeerAuthentication", "default", "users"),
        ("DestinationRule", "users", "users"),
    ],
)
def test_an_object_of_somebody_else_with_the_same_name_is_in_the_way(cluster, tmp_path, capsys, kind, name, namespace):
    cluster.objects.append(obj(kind, name, namespace, labels={"team": "users"}))

    assert others.save(tmp_path / "before.json", [ISTIO], "istio-system", "istio") == 1

    assert f"REFUSED  {kind} {namespace}/{name} is there, and is not ours" in capsys.readouterr().out
    assert not (tmp_path / "before.json").exists()


def test_an_object_of_ours_is_not_in_the_way(cluster, tmp_path):
    cluster.objects.append(obj("Sidecar", "default", "users", labels={others.PART_OF: others.OURS}))

    assert others.save(tmp_path / "before.json", [ISTIO], "istio-system", "istio") == 0


def test_what_is_added_is_no_loss(cluster, saved):
    cluster.find("Namespace", "users")["metadata"]["labels"]["istio-injection"] = "enabled"
    mesh = yaml.safe_load(WITH_A_PROVIDER)
    mesh["extensionProviders"].insert(0, {"name": "rls-access-log", "envoyFileAccessLog": {}})
    cluster.find("ConfigMap", "istio")["data"]["mesh"] = yaml.safe_dump(mesh)
    cluster.objects.append(obj("Namespace", "rate-limit"))

    assert others.compare(saved) == 0


def drop_provider(cluster):
    mesh = yaml.safe_load(WITH_A_PROVIDER)
    mesh["extensionProviders"] = [{"name": "rls-access-log"}]
    cluster.find("ConfigMap", "istio")["data"]["mesh"] = yaml.safe_dump(mesh)


def drop_label(cluster):
    del cluster.find("Namespace", "users")["metadata"]["labels"]["team"]


def change_label(cluster):
    cluster.find("Namespace", "users")["metadata"]["labels"]["team"] = "rate-limit"


def upgrade(cluster):
    cluster.find("Deployment", "istiod").update(copy.deepcopy(istiod("1.33.0")))


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (drop_provider, 'mesh.mesh.extensionProviders has lost {"name": "ext-authz"'),
        (drop_label, 'namespaces.users.labels.team is gone; it was "users"'),
        (change_label, 'namespaces.users.labels.team is "rate-limit"; it was "users"'),
        (upgrade, 'images.istiod.discovery is "istio/pilot:1.33.0"; it was "istio/pilot:1.31.0"'),
    ],
)
def test_what_is_lost_is_named(cluster, saved, capsys, harm, text):
    """As when Helm is given lists of ours alone, or no version; or labels are applied over those that are there."""
    harm(cluster)

    assert others.compare(saved) == 1
    assert f"LOST  {text}" in capsys.readouterr().out


def test_without_a_kustomization_or_a_cluster_it_cannot_say(tmp_path, monkeypatch):
    with pytest.raises(others.Unknown, match="name the kustomizations"):
        others.save(tmp_path / "before.json", [], "istio-system", "istio")
    monkeypatch.setenv("KUBECTL", str(tmp_path / "none"))
    with pytest.raises(Failed, match="cannot run"):
        others.look(["users"], "istio-system", "istio")
