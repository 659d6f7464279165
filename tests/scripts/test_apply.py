"""scripts/apply.py: after a change from any variant to any other, exactly the new one is there."""

import copy
import itertools
import re
import shutil
from pathlib import Path

import pytest
import yaml

from scripts import apply, programs
from tests.k8s.manifests import Object, rendered
from tests.k8s.nodes import ROOT
from tests.scripts.api import Api

VARIANTS = {
    "sidecar": (),
    "gateway": ("at-gateway", "behind-load-balancer"),
    "waypoint": ("waypoint", "fail-closed"),
}
EACH_AFTER_EACH = ["sidecar", "gateway", "waypoint", "gateway", "sidecar", "waypoint", "sidecar"]
SWITCH = re.compile(r"for namespace in (.+?); do\n\s*kubectl (.+) (istio\.io/rev\S+)\n")
SOMEBODY_ELSES = {
    "apiVersion": "networking.istio.io/v1alpha3",
    "kind": "EnvoyFilter",
    "metadata": {"name": "somebody-elses", "namespace": "users"},
}


def by_name(objects: list[Object]) -> list[Object]:
    return sorted(objects, key=lambda one: (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]))


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A kustomization of each."""
    folder = tmp_path_factory.mktemp("variants")
    shutil.copytree(ROOT / "istio", folder / "istio")
    for name, components in VARIANTS.items():
        (folder / name).mkdir()
        whole = {"resources": ["../istio"], "components": [f"../istio/{each}" for each in components]}
        (folder / name / "kustomization.yaml").write_text(yaml.safe_dump(whole))
    return {name: folder / name for name in VARIANTS}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    """With one object that is not ours."""
    api = Api(SOMEBODY_ELSES)
    monkeypatch.setattr(apply, "kubectl", api)
    return api


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["apply", *map(str, arguments)])
    return apply.main()


def test_a_change_leaves_exactly_the_new_variant(
    variants: dict[str, Path], api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {*itertools.pairwise(EACH_AFTER_EACH)} == {*itertools.permutations(VARIANTS, 2)}
    for name in EACH_AFTER_EACH:
        assert run(monkeypatch, variants[name]) == 0
        assert by_name(api.there()) == by_name([*rendered(variants[name]), SOMEBODY_ELSES]), name

    capsys.readouterr()
    assert run(monkeypatch, variants["sidecar"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said.pop().endswith(" objects applied, 0 deleted")
    assert all(line.endswith(" unchanged") for line in said)


def test_a_dry_run_changes_nothing(
    variants: dict[str, Path], api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, variants["sidecar"])
    before = copy.deepcopy(api.there())
    capsys.readouterr()

    run(monkeypatch, variants["gateway"], "--dry-run")

    said = capsys.readouterr().out
    assert "envoyfilter.networking.istio.io/ratelimit created" in said
    assert 'envoyfilter.networking.istio.io "ratelimit" deleted' in said
    assert api.there() == before


def test_what_is_applied_by_itself_stays(
    variants: dict[str, Path], api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The mesh's objects, namespaces, those of a restore that is under way, what Helm brought, and what has an owner."""
    for part in ("k8s", "config"):
        shutil.copytree(ROOT / part, tmp_path / part)
    overlay = tmp_path / "k8s" / "mine"
    overlay.mkdir()
    image = "images: [{name: registry.example.com/istio-rate-limiter, newName: registry.you.example/rls}]\n"
    ours = {"app.kubernetes.io/part-of": "istio-rate-limiter"}
    of_helm = {"name": "of-helm", "labels": ours | {"app.kubernetes.io/managed-by": "Helm"}}
    owned = {"name": "owned", "labels": ours, "ownerReferences": [{"name": "somebody"}]}
    others: list[Object] = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": each} for each in (of_helm, owned)]
    others += [each for part in ("namespaces", "restore") for each in rendered(ROOT / "k8s" / part)]
    others += [*rendered(variants["sidecar"]), SOMEBODY_ELSES]
    monkeypatch.setattr(apply, "kubectl", api := Api(*others))

    for components in (["network-policies", "redis-cluster"], ["redis-cluster"]):
        named = ", ".join(f"../components/{each}" for each in components)
        (overlay / "kustomization.yaml").write_text(f"resources: [../base]\ncomponents: [{named}]\n{image}")
        assert run(monkeypatch, overlay) == 0

    assert by_name(api.there()) == by_name([*others, *rendered(overlay)])


def mesh_object(name: str, namespace: str, **metadata: object) -> Object:
    """With the labels of istio/."""
    labels = {"app.kubernetes.io/part-of": "istio-rate-limiter", "app.kubernetes.io/component": "mesh"}
    whole = {"name": name, "namespace": namespace, "labels": labels, **metadata}
    return {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": whole}


def test_what_may_be_another_teams_is_not_deleted(
    variants: dict[str, Path], api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as the filters that `rls istio` writes: without them, all requests of that team would pass unlimited."""
    api.add(mesh_object("ratelimit", "orders"))
    before = copy.deepcopy(api.there())

    assert run(monkeypatch, variants["sidecar"]) == 2
    assert "envoyfilter.networking.istio.io orders/ratelimit\n" in (said := capsys.readouterr().err)
    assert "--delete-in orders" in said
    assert api.there() == before

    assert run(monkeypatch, variants["sidecar"], "--delete-in", "orders") == 0
    assert by_name(api.there()) == by_name([*rendered(variants["sidecar"]), SOMEBODY_ELSES])


def test_what_belongs_to_helm_is_not_overwritten(
    variants: dict[str, Path], api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Helm would delete it with its release, though the kustomization has it."""
    of_helm = mesh_object("ratelimit", "users")
    of_helm["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    api.add(of_helm)

    assert run(monkeypatch, variants["sidecar"]) == 2
    assert "users/ratelimit\nbelong to a release of Helm" in capsys.readouterr().err
    assert api.there() == [SOMEBODY_ELSES, of_helm]


def test_nothing_is_applied_where_nothing_can_be_listed(
    variants: dict[str, Path], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the old filters would stay, and count each request twice."""

    def without_rights(*arguments: str, stdin: str = "") -> str:
        if arguments[0] == "get":
            raise programs.Failed("Error from server (Forbidden)")
        return api(*arguments, stdin=stdin)

    monkeypatch.setattr(apply, "kubectl", without_rights)
    assert run(monkeypatch, variants["sidecar"]) == 1
    assert api.there() == [SOMEBODY_ELSES]


def test_one_that_cannot_be_deleted_saves_no_other(
    variants: dict[str, Path], api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    going = mesh_object("going", "users", deletionTimestamp="2026-11-29T00:00:00Z")
    for each in (mesh_object("a-kept", "users"), mesh_object("old", "users"), going):
        api.add(each)

    def kept(*arguments: str, stdin: str = "") -> str:
        if arguments[-1] == "a-kept":
            raise programs.Failed("a webhook says no")
        return api(*arguments, stdin=stdin)

    monkeypatch.setattr(apply, "kubectl", kept)
    assert run(monkeypatch, variants["sidecar"]) == 1
    assert "a webhook says no" in capsys.readouterr().err
    left = {each["metadata"]["name"] for each in api.there() if each["kind"] == "EnvoyFilter"}
    assert {"a-kept", "going"} < left
    assert "old" not in left


def test_who_interrupts_it_reads_what_to_do(
    variants: dict[str, Path], api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: str, stdin: str = "") -> str:
        if arguments[0] == "delete":
            raise KeyboardInterrupt
        return api(*arguments, stdin=stdin)

    assert run(monkeypatch, variants["gateway"]) == 0
    monkeypatch.setattr(apply, "kubectl", interrupted)
    assert run(monkeypatch, variants["sidecar"]) == 1
    assert "Run it again" in capsys.readouterr().err

    monkeypatch.setattr(apply, "kubectl", api)
    assert run(monkeypatch, variants["sidecar"]) == 0
    assert by_name(api.there()) == by_name([*rendered(variants["sidecar"]), SOMEBODY_ELSES])


def test_it_knows_the_namespaces_of_the_manifests() -> None:
    files = [each for part in ("istio", "k8s") for each in (ROOT / part).rglob("*.yaml")]
    found = {
        name for each in files for name in re.findall(r"^(?:  )?namespace: (\S+)$", each.read_text(), re.MULTILINE)
    }
    assert found == {*apply.NAMESPACES}


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("k8s/overlays/production", 2, "make image IMAGE=registry.you.example/rls:0.1.0 OVERLAY="),
        ("k8s/restore", 2, "neither the whole of istio/ nor the whole of k8s/"),
        ("k8s/namespaces", 2, "neither the whole of istio/ nor the whole of k8s/"),
        ("k8s/nowhere", 1, "k8s/nowhere"),
    ],
)
def test_it_stops_before_anything_changes(
    path: str, code: int, text: str, api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, ROOT / path) == code
    assert text in capsys.readouterr().err
    assert api.there() == [SOMEBODY_ELSES]


def test_a_kubectl_that_fails_or_is_missing_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL", "false")
    with pytest.raises(programs.Failed, match="false apply: exit code 1"):
        programs.kubectl("apply")
    monkeypatch.setenv("KUBECTL", "/nowhere/kubectl")
    with pytest.raises(programs.Failed, match="cannot run /nowhere/kubectl"):
        programs.kubectl("apply")


def test_the_off_switch_of_the_page_is_for_every_variant(
    variants: dict[str, Path], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """istiod skips an object that has the label of another revision. An apply keeps the label; the page takes it away."""
    off, on = SWITCH.findall((ROOT / "docs" / "istio.md").read_text())
    for name, path in variants.items():
        assert run(monkeypatch, path) == 0
        limiting = {apply.Identity.of(one) for one in api.there() if "v3.RateLimit'" in str(one)}
        assert len(limiting) == 2, name
        for (namespaces, command, change), expected in ((off, limiting), (on, set())):
            for namespace in namespaces.split():
                api(*command.replace("$namespace", namespace).split(), change)
            assert run(monkeypatch, path) == 0
            labelled = {
                apply.Identity.of(one) for one in api.there() if "istio.io/rev" in one["metadata"].get("labels", {})
            }
            assert labelled == expected, name
        assert by_name(api.there()) == by_name([*rendered(path), SOMEBODY_ELSES])
