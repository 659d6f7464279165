"""What `rls` needs is added to the mesh configuration, and nothing that others have put there is lost."""

import json

import pytest
import yaml

from tests.scripts.cluster import AS_INSTALLED, IN_LINES, ROOT, TEXTS, WITH_A_PROVIDER, Cluster

OURS = yaml.safe_load((ROOT / "istio" / "values-istiod.yaml").read_text())["meshConfig"]
PROVIDERS = OURS["extensionProviders"]
(PROVIDER,) = (each for each in PROVIDERS if "envoyFileAccessLog" in each)
REGEXPS = OURS["defaultConfig"]["proxyStatsMatcher"]["inclusionRegexps"]

OTHER = {"name": "ext-authz", "envoyExtAuthzGrpc": {"service": "authz.security.svc.cluster.local", "port": 9000}}

BLOCKS = {name: text for name, text in TEXTS.items() if name not in IN_LINES}


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


def wanted(text):
    """What the text means, and ours at the end of its lists."""
    tree = yaml.safe_load(text) or {}
    tree["extensionProviders"] = [*(tree.get("extensionProviders") or []), *PROVIDERS]
    config = tree["defaultConfig"] = tree.get("defaultConfig") or {}
    matcher = config["proxyStatsMatcher"] = config.get("proxyStatsMatcher") or {}
    matcher["inclusionRegexps"] = [*(matcher.get("inclusionRegexps") or []), *REGEXPS]
    return tree


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_ours_is_added_to_what_is_there(cluster, text):
    cluster.put(text, labels={"team": "platform"})

    ran = cluster.run("--apply")

    assert (ran.returncode, ran.stderr) == (0, "")
    found = cluster.get()
    assert yaml.safe_load(found["data"]["mesh"]) == wanted(text)
    assert found["data"]["meshNetworks"] == "networks: {}"
    assert found["metadata"]["labels"] == {"team": "platform"}


@pytest.mark.parametrize("text", BLOCKS.values(), ids=BLOCKS)
def test_every_line_that_was_there_is_there_still_and_in_its_order(cluster, text):
    cluster.put(text)

    cluster.run("--apply")

    new = iter(cluster.text().splitlines())
    assert all(any(line == each for each in new) for line in text.splitlines())


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_second_time_changes_nothing(cluster, text):
    cluster.put(text)
    assert cluster.run("--apply").returncode == 0
    before = cluster.get()

    ran = cluster.run("--apply")

    assert (ran.returncode, ran.stdout) == (0, "istio-system/istio has all that rls needs: nothing to do.\n")
    assert cluster.get() == before


def test_without_apply_a_diff_is_shown_and_nothing_changed(cluster):
    cluster.put(WITH_A_PROVIDER)
    before = cluster.get()

    ran = cluster.run()

    assert ran.returncode == 1
    assert cluster.get() == before
    lines = ran.stdout.splitlines()
    assert lines[:2] == ["--- istio-system/istio", "+++ istio-system/istio with rls"]
    assert not [line for line in lines[2:] if line.startswith("-")]
    assert "+  - name: rls-access-log" in lines
    assert {f"+      - {regexp}" for regexp in REGEXPS} <= set(lines)
    assert lines[-1] == "Nothing was changed. --apply makes this change."


def test_comments_stay_where_they_are(cluster):
    cluster.put(WITH_A_PROVIDER)

    cluster.run("--apply")

    text = cluster.text()
    assert [line for line in text.splitlines() if "#" in line] == [
        line for line in WITH_A_PROVIDER.splitlines() if "#" in line
    ]
    # Ours is behind the last line of the provider, and before what follows it.
    assert text.index("port: 9000") < text.index("- name: rls-access-log") < text.index("# About the domain.")


@pytest.mark.parametrize(
    "text",
    [
        "a: &list\n  - {name: a, prometheus: {}}\nextensionProviders: *list\n",
        "base: &base\n  extensionProviders: [{name: a, prometheus: {}}]\n<<: *base\n",
        "extensionProviders: []\nextensionProviders:\n  - {name: a, prometheus: {}}\n",
    ],
    ids=["alias", "merge", "key twice"],
)
def test_what_would_reach_further_is_refused_and_told(cluster, text):
    cluster.put(text)

    ran = cluster.run("--apply")

    assert ran.returncode == 2
    assert cluster.text() == text
    assert "cannot be changed in place" in ran.stderr
    assert "name: rls-access-log" in ran.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("- a\n", "is no mapping"),
        ("extensionProviders: {a: b}\n", "extensionProviders of the mesh configuration is no list"),
        ("defaultConfig: text\n", "defaultConfig of the mesh configuration is no mapping"),
    ],
)
def test_what_is_no_mesh_configuration_is_refused(cluster, text, message):
    cluster.put(text)

    ran = cluster.run("--apply")

    assert ran.returncode == 2
    assert message in ran.stderr
    assert cluster.text() == text


OLD = {**PROVIDER, "envoyFileAccessLog": {"path": "/dev/stderr"}}


@pytest.mark.parametrize(
    "text",
    [
        yaml.safe_dump({"extensionProviders": [OTHER, OLD, {"name": "zipkin", "zipkin": {"service": "z", "port": 1}}]}),
        f"extensionProviders: {json.dumps([OTHER, OLD])}\n",
        f"# ours\n{yaml.safe_dump({'extensionProviders': [OLD]})}# the end\n",
    ],
    ids=["among others", "in one line", "alone"],
)
def test_ours_that_differs_is_shown_and_replaced_only_when_told_to(cluster, text):
    cluster.put(text)

    ran = cluster.run("--apply")

    assert ran.returncode == 2
    assert "extensionProviders has an entry 'rls-access-log' already, and it differs" in ran.stderr
    assert "-  path: /dev/stderr" in ran.stderr
    assert cluster.text() == text

    assert cluster.run("--apply", "--replace").returncode == 0
    found = yaml.safe_load(cluster.text())["extensionProviders"]
    there = [PROVIDER if each == OLD else each for each in yaml.safe_load(text)["extensionProviders"]]
    assert found == [*there, *(each for each in PROVIDERS if each != PROVIDER)]
    assert [line for line in text.splitlines() if "#" in line] == [
        line for line in cluster.text().splitlines() if "#" in line
    ]


HELM = {
    "labels": {"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "istiod-1.31.2"},
    "annotations": {"meta.helm.sh/release-name": "istiod-prod", "meta.helm.sh/release-namespace": "istio-system"},
}


def test_what_helm_owns_is_left_to_helm_at_the_version_that_is_installed(cluster):
    cluster.put(WITH_A_PROVIDER, **HELM)

    shown, ran = cluster.run(), cluster.run("--apply")

    assert (shown.returncode, ran.returncode) == (1, 2)
    assert cluster.text() == WITH_A_PROVIDER
    for text in (shown.stdout, ran.stderr):
        assert "helm upgrade istiod-prod istio/istiod -n istio-system --reuse-values" in text
        assert "--version 1.31.2" in text
    assert "--apply" not in shown.stdout


def test_where_the_version_of_the_chart_is_unknown_it_is_asked_for(cluster):
    cluster.put(AS_INSTALLED, labels={"app.kubernetes.io/managed-by": "Helm"})

    assert "--version VERSION  # helm list -n istio-system" in cluster.run().stdout


def test_what_istioctl_owns_is_left_to_istioctl(cluster):
    cluster.put(AS_INSTALLED, labels={"install.operator.istio.io/owning-resource": "unknown"})

    ran = cluster.run("--apply")

    assert ran.returncode == 2
    assert "belongs to istioctl" in ran.stderr
    assert cluster.text() == AS_INSTALLED


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_values_for_helm_have_the_whole_lists(cluster, text, tmp_path):
    """Helm replaces lists, so that what is missing from the values would be lost."""
    cluster.put(text, **HELM)
    file = tmp_path / "values.yaml"

    ran = cluster.run("--values", str(file))

    assert ran.returncode == 1
    expected = wanted(text)
    assert yaml.safe_load(file.read_text()) == {
        "meshConfig": {
            "extensionProviders": expected["extensionProviders"],
            "defaultConfig": {
                "proxyStatsMatcher": {
                    "inclusionRegexps": expected["defaultConfig"]["proxyStatsMatcher"]["inclusionRegexps"]
                }
            },
        }
    }
    assert not [line for line in ran.stdout.splitlines()[2:] if line.startswith("-")]
    assert cluster.text() == text


def test_a_change_made_meanwhile_is_not_overwritten(cluster):
    """Between reading and writing somebody else adds a provider."""
    cluster.put(AS_INSTALLED)
    meanwhile = cluster.folder / "meanwhile"
    cluster.put(WITH_A_PROVIDER, name="another")
    changed = cluster.get("another")
    changed["metadata"] |= {"name": "istio", "resourceVersion": "8"}
    (cluster.folder / "later.json").write_text(json.dumps(changed))
    double = cluster.kubectl.read_text()
    meanwhile.write_text(double)
    meanwhile.chmod(0o755)
    cluster.kubectl.write_text(
        f'#!/bin/sh\n[ "$3" = replace ] && cp {cluster.folder}/later.json {cluster.folder}/istio-system.istio.json\n'
        f'exec {meanwhile} "$@"\n'
    )

    ran = cluster.run("--apply")

    assert ran.returncode == 2
    assert "the object has been modified" in ran.stderr
    assert cluster.text() == WITH_A_PROVIDER


def test_another_revision_and_namespace(cluster):
    cluster.put(AS_INSTALLED, name="istio-canary", namespace="mesh")

    ran = cluster.run("--apply", "--namespace", "mesh", "--configmap", "istio-canary")

    assert ran.returncode == 0
    assert "rls-access-log" in cluster.get("istio-canary", "mesh")["data"]["mesh"]


def test_a_configmap_that_is_not_there_and_a_kubectl_that_is_not(cluster, tmp_path):
    ran = cluster.run("--apply")
    assert ran.returncode == 2
    assert 'configmaps "istio" not found' in ran.stderr

    ran = cluster.run(KUBECTL=str(tmp_path / "none"))
    assert ran.returncode == 2
    assert "cannot run" in ran.stderr
