"""What a real API server does with the manifests: rights, a second apply, and a change of the mesh's variant.

Only where KUBEBUILDER_ASSETS names a folder with `etcd` and `kube-apiserver`, as setup-envtest makes it: no package has the
second, so CI does not run this.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import apply, programs
from tests.k8s.api_server import ASSETS, Cluster, api_server
from tests.k8s.manifests import identity, rendered
from tests.k8s.nodes import ROOT

pytestmark = pytest.mark.skipif(
    ASSETS is None, reason="KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"
)
OURS = "registry.you.example/rls"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with api_server(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Production with an image and the off switch, and the variants of the mesh."""
    folder = tmp_path_factory.mktemp("tree")
    for part in ("k8s", "config", "istio", "examples/user-service"):
        shutil.copytree(ROOT / part, folder / part)
    image = f"images: [{{name: registry.example.com/istio-rate-limiter, newName: {OURS}, newTag: 0.1.0}}]\n"
    for name, text in {
        "production": f"resources: [../k8s/overlays/production]\ncomponents: [../k8s/components/off-switch]\n{image}",
        "sidecar": "resources: [../istio]\n",
        "gateway": "resources: [../istio]\ncomponents: [../istio/at-gateway, ../istio/behind-load-balancer]\n",
        "waypoint": "resources: [../istio]\ncomponents: [../istio/waypoint]\n",
    }.items():
        (folder / name).mkdir()
        (folder / name / "kustomization.yaml").write_text(text)
    return folder


def test_a_second_apply_writes_nothing_and_a_deletion_keeps_secrets(cluster: Cluster, tree: Path) -> None:
    cluster.run(tree / "production")
    cluster.kubectl("-n", "rate-limit", "create", "secret", "generic", "redis-rls")
    before = cluster.versions(apply.SELECTORS[False])
    cluster.run(tree / "production")

    assert cluster.versions(apply.SELECTORS[False]) == before
    assert {each.name for each in before} >= {name for _, _, name in map(identity, rendered(tree / "production"))}

    cluster.kubectl("delete", "-k", str(tree / "production"), "--wait=false")
    assert "redis-rls" in cluster.kubectl("-n", "rate-limit", "get", "secret", "-o", "name")


def test_a_change_leaves_exactly_the_new_variant(cluster: Cluster, tree: Path) -> None:
    for name in ["sidecar", "gateway", "waypoint", "gateway", "sidecar", "waypoint", "sidecar"]:
        cluster.run(tree / name)
        expected = {apply.Identity.of(each) for each in rendered(tree / name)}
        assert set(apply.present(apply.SELECTORS[True])) == expected, name


POD = "/spec/template/spec"
ALLOWED = [
    ("operator deployer", "rate-limit", f"set image deployment/rls rls={OURS}@sha256:{64 * '8'}"),
    ("operator deployer", "rate-limit", "set env deployment/rls RLS_SHADOW_MODE=true"),
    ("operator deployer", "rate-limit", "set env deployment/rls RLS_SHADOW_MODE-"),
    ("operator", "rate-limit", "rollout restart deployment/rls"),
    ("operator", "rate-limit", "scale deployment/rls --replicas=3"),
    ("operator", "rate-limit", 'patch hpa rls -p {"spec":{"minReplicas":4}}'),
    ("operator", "rate-limit", 'patch configmap rls-rules -p {"data":{"x.yaml":""}}'),
    ("operator", "users", "label envoyfilter -l app.kubernetes.io/name=ratelimit istio.io/rev=off"),
    ("operator", "users", "label envoyfilter -l app.kubernetes.io/name=ratelimit istio.io/rev-"),
]
# The garbage collector deletes it.
OWNED_BY_NOTHING = '{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"1"}]}}'
FORBIDDEN = [
    ("operator deployer", "rate-limit", "get secrets"),
    ("operator deployer", "rate-limit", "create job x --image=x"),
    ("operator deployer", "rate-limit", "set image deployment/rls rls=evil.example/rls:1"),
    ("operator deployer", "rate-limit", f"set image deployment/rls rls={OURS}/evil:1"),
    ("operator deployer", "rate-limit", "set env deployment/rls RLS_BACKEND=memory://"),
    *(
        (
            "operator deployer",
            "rate-limit",
            f'patch deployment rls --type json -p [{{"op":"add","path":"{path}","value":{value}}}]',
        )
        for path, value in {
            f"{POD}/containers/0/command": '["sh"]',
            f"{POD}/containers/0/lifecycle": '{"preStop":{"exec":{"command":["sh"]}}}',
            f"{POD}/containers/0/env/-": '{"name":"RLS_SHADOW_MODE","valueFrom":{"secretKeyRef":{"name":"x","key":"y"}}}',
            f"{POD}/containers/-": f'{{"name":"x","image":"{OURS}:1"}}',
            f"{POD}/initContainers": f'[{{"name":"x","image":"{OURS}:1"}}]',
            f"{POD}/volumes/-": '{"name":"x","secret":{"secretName":"redis-nodes"}}',
            f"{POD}/serviceAccountName": '"redis-keeper"',
            "/spec/template/metadata/labels/x": '"y"',
            "/spec/template/metadata/annotations/sidecar.istio.io~1userVolume": '"[]"',
        }.items()
    ),
    ("operator", "rate-limit", 'patch statefulset redis -p {"spec":{"replicas":1}}'),
    ("operator", "rate-limit", "create configmap x"),
    (
        "operator",
        "rate-limit",
        'patch hpa rls --type merge -p {"spec":{"scaleTargetRef":{"kind":"StatefulSet","name":"redis"}}}',
    ),
    ("operator", "rate-limit", "label configmap rls-rules app.kubernetes.io/part-of-"),
    ("operator deployer", "rate-limit", f"patch deployment rls --type merge -p {OWNED_BY_NOTHING}"),
    ("operator", "users", f"patch envoyfilter ratelimit --type merge -p {OWNED_BY_NOTHING}"),
    ("operator", "users", "annotate envoyfilter ratelimit x=y"),
    ("operator", "users", "label envoyfilter ratelimit app.kubernetes.io/part-of-"),
    ("operator", "users", "label envoyfilter optional-jwt istio.io/rev=off"),
    ("operator", "users", "delete envoyfilter ratelimit"),
    (
        "operator",
        "users",
        'patch envoyfilter ratelimit --type json -p [{"op":"remove","path":"/spec/configPatches/0"}]',
    ),
    ("deployer", "users", "label envoyfilter ratelimit istio.io/rev=off"),
]


def test_rights_are_what_the_page_says(cluster: Cluster, tree: Path) -> None:
    cluster.run(tree / "production")
    cluster.run(tree / "sidecar")
    time.sleep(2)  # until the API server has compiled the policies
    for allowed, cases in ((True, ALLOWED), (False, FORBIDDEN)):
        for users, namespace, command in cases:
            for user in users.split():
                try:
                    cluster.kubectl("-n", namespace, *command.split(), user=user)
                    said = ""
                except programs.Failed as error:
                    said = str(error)
                assert bool(said) is not allowed, (user, command, said)
                assert allowed or "orbidden" in said or "denied request" in said, (user, command, said)
