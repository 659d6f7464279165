"""The objects in `istio/`: as kubectl reads them, as the rules and the servers expect them, as Envoy takes them."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from examples.mesh.envoy import find_envoy
from examples.mesh.processes import Missing
from examples.tokens import Issuer
from tests.certs import Authority
from tests.mesh.loopback import Placed
from tests.mesh.manifests import ISTIO, load, of
from tests.mesh.world import GATEWAY, HBONE_SIDECAR, REDIS_SIDECAR, RLS_SIDECAR, USERS_SIDECAR, WAYPOINT, rendered
from tests.redis_server import missing

ROOT = ISTIO.parent
COMPONENTS = sorted(path.parent.name for path in ISTIO.glob("*/kustomization.yaml"))
COMBINATIONS = [
    (),
    *((name,) for name in COMPONENTS),
    ("at-gateway", "behind-load-balancer", "fail-closed"),
    ("waypoint", "behind-load-balancer", "numeric-company", "fail-closed"),
    ("at-gateway", "numeric-company"),
]
combinations = pytest.mark.parametrize("components", COMBINATIONS, ids=lambda names: " ".join(names) or "alone")


def in_order(objects):
    return sorted(json.dumps(each, sort_keys=True) for each in objects)


@combinations
def test_what_is_tested_is_what_kubectl_applies(components, tmp_path):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        missing("needs kubectl")
    shutil.copytree(ISTIO, tmp_path / "istio")
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../istio"],
        "components": [f"../istio/{name}" for name in components],
    }
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay" / "kustomization.yaml").write_text(json.dumps(overlay))

    built = subprocess.run([kubectl, "kustomize", tmp_path / "overlay"], capture_output=True, text=True, check=False)

    assert built.stderr == ""
    assert in_order(yaml.safe_load_all(built.stdout)) == in_order(load(*components))


def test_every_file_is_used():
    for kustomization in [ISTIO / "kustomization.yaml", *ISTIO.glob("*/kustomization.yaml")]:
        named = set(yaml.safe_load(kustomization.read_text()).get("resources", ()))
        there = {path.name for path in kustomization.parent.glob("*.yaml") if not path.name.startswith("values-")}
        assert named == there - {"kustomization.yaml"}


@pytest.mark.parametrize(
    "version",
    ["1.9.0", "1.19.9", *(f"1.{minor}.3" for minor in range(20, 60)), "2.0.0", "1.27-dev", "1.28-alpha.0", "1.31"],
)
def test_each_version_takes_one_of_the_two_filters(version):
    taken = {
        patch.name.partition("[")[0]
        for patch in rendered(load(), replace(USERS_SIDECAR, version=version)).patches
        if "/ratelimit" in patch.name
    }

    old = tuple(map(int, re.findall("[0-9]+", version)[:2])) < (1, 28)
    assert taken == {"users/ratelimit-istio-1.27" if old else "users/ratelimit"}


def filters(objects, name="envoy.filters.http.ratelimit"):
    """What the HTTP filters of that name are configured with in all EnvoyFilters."""
    patches = [entry["patch"] for each in of(objects, "EnvoyFilter") for entry in each["spec"]["configPatches"]]
    return [patch["value"]["typed_config"] for patch in patches if patch.get("value", {}).get("name") == name]


def without_what_versions_differ_in(config):
    return {name: value for name, value in config.items() if name != "rate_limits"}


def test_all_files_say_the_same_of_the_filter():
    all_of_them = [load(), load("at-gateway"), load("waypoint")]
    found = [config for objects in all_of_them for config in filters(objects)]

    assert len(found) == 6
    assert all(without_what_versions_differ_in(config) == without_what_versions_differ_in(found[0]) for config in found)
    limits = [config["rate_limits"] for config in found if "rate_limits" in config]
    limits += [
        entry["patch"]["value"]["rate_limits"]
        for objects in all_of_them
        for each in of(objects, "EnvoyFilter")
        for entry in each["spec"]["configPatches"]
        if entry["applyTo"] == "VIRTUAL_HOST" and "rate_limits" in entry["patch"]["value"]
    ]
    assert len(limits) == 6
    assert all(each == limits[0] for each in limits)


def test_the_rules_make_company_else_ip_of_it():
    """The domain is the same, and each rule for a company replaces the one for addresses."""
    rules = yaml.safe_load((ROOT / "config" / "descriptors.yaml").read_text())
    (config,) = (config for config in filters(load()) if "rate_limits" in config)
    (address,) = (rule for rule in rules["descriptors"] if rule["key"] == "remote_address")
    companies = [rule for rule in rules["descriptors"] if rule["key"] == "company_id"]

    assert config["domain"] == rules["domain"]
    assert any("value" not in rule for rule in companies)
    for rule in companies:
        assert rule["rate_limit"]["replaces"] == [{"name": address["rate_limit"]["name"]}]


PROXIES = {
    "sidecar": ((), USERS_SIDECAR),
    "sidecar before 1.28": ((), replace(USERS_SIDECAR, version="1.27.0")),
    "sidecar of rls": ((), RLS_SIDECAR),
    "sidecar of Redis": ((), REDIS_SIDECAR),
    "gateway": ((), GATEWAY),
    "gateway that limits": (("at-gateway", "behind-load-balancer", "fail-closed"), replace(GATEWAY, trusted_proxies=1)),
    "sidecar behind a load balancer": (("behind-load-balancer", "fail-closed"), USERS_SIDECAR),
    "gateway before 1.28": (("at-gateway", "numeric-company"), replace(GATEWAY, version="1.24.0")),
    "waypoint": (("waypoint",), WAYPOINT),
    "waypoint of 1.27": (("waypoint", "numeric-company"), replace(WAYPOINT, version="1.27.0")),
    "waypoint with all": (("waypoint", "behind-load-balancer", "numeric-company", "fail-closed"), WAYPOINT),
    "sidecar with HBONE": ((), HBONE_SIDECAR),
    "sidecar with numeric companies": (("numeric-company",), USERS_SIDECAR),
}


def validate(tree, folder: Path):
    """What `envoy --mode validate` says of a bootstrap."""
    try:
        envoy = find_envoy()
    except Missing as error:
        missing(str(error))
    path = folder / "envoy.json"
    path.write_text(json.dumps(tree))
    command: list[str | Path] = [envoy, "--mode", "validate", "--config-path", path, "--log-level", "error"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stderr + ran.stdout


@pytest.mark.parametrize(("components", "proxy"), PROXIES.values(), ids=PROXIES)
def test_envoy_takes_it(components, proxy, tmp_path):
    placed = Placed(rendered(load(*components), proxy, jwks=Issuer().jwks()), {}, Authority(), tmp_path)

    status, output = validate(placed.tree, tmp_path)

    assert status == 0, output


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("failure_mode_deny", "failure_mode_denied", "no such field: 'failure_mode_denied'"),
        ("DRAFT_VERSION_03", "DRAFT_VERSION_3", "DRAFT_VERSION_3"),
        ("allow_missing_or_failed", "allow_missing_or_fail", "no such field: 'allow_missing_or_fail'"),
        ("ratelimit.v3.RateLimit", "ratelimit.v3.Ratelimit", "ratelimit.v3.Ratelimit"),
    ],
)
def test_what_is_misspelt_in_a_patch_fails_here(old, new, text, tmp_path):
    """istiod drops such fields with no more than a warning."""
    objects = json.loads(json.dumps(load()).replace(old, new))
    placed = Placed(rendered(objects, USERS_SIDECAR, jwks=Issuer().jwks()), {}, Authority(), tmp_path)

    status, output = validate(placed.tree, tmp_path)

    assert status != 0
    assert text in " ".join(output.split())
