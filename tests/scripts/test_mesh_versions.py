"""A version of Istio with which a variant limits nothing is refused before it is applied."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh.manifests import ISTIO
from tests.redis_server import missing

ROOT = Path(__file__).parents[2]


class Overlay:
    """A copy of `istio/` with an overlay, and an istioctl that tells what a file says."""

    def __init__(self, folder):
        if shutil.which("kubectl") is None:
            missing("needs kubectl")
        self.folder = folder
        shutil.copytree(ISTIO, folder / "istio")
        self.istioctl = folder / "istioctl"
        self.istioctl.write_text(f'#!/bin/sh\n[ "$*" = "version -o json" ] || exit 64\ncat {folder}/version.json\n')
        self.istioctl.chmod(0o755)

    def run(self, *components, istiods=("1.31.0",), proxies=(), **environment):
        told = {
            "clientVersion": {"version": "1.31.0"},
            "meshVersion": [{"Component": "istiod", "Revision": "", "Info": {"version": each}} for each in istiods],
            "dataPlaneVersion": [{"ID": name, "IstioVersion": version} for name, version in proxies],
        }
        (self.folder / "version.json").write_text(json.dumps(told))
        (self.folder / "overlay").mkdir(exist_ok=True)
        overlay = {"resources": ["../istio"], "components": [f"../istio/{name}" for name in components]}
        (self.folder / "overlay" / "kustomization.yaml").write_text(json.dumps(overlay))
        return subprocess.run(
            [sys.executable, "-m", "scripts.mesh_versions", str(self.folder / "overlay")],
            cwd=ROOT,
            env={**os.environ, "ISTIOCTL": str(self.istioctl), **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def overlay(tmp_path):
    return Overlay(tmp_path)


def sidecar(version, pod="users-1", namespace="users"):
    return f"sidecar~10.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local", version


def router(version):
    return "router~10.0.0.2~istio-ingress-1.istio-ingress~istio-ingress.svc.cluster.local", version


def waypoint(version, name="users-waypoint"):
    return f"waypoint~10.0.0.3~{name}-7d9f-abcde.users~users.svc.cluster.local", version


@pytest.mark.parametrize(
    "version", ["1.24.6", "1.26.0", "1.27.4", "1.28.0", "1.31.0", "1.31-alpha.3f", "1.28.3-vendor"]
)
@pytest.mark.parametrize("components", [(), ("at-gateway",), ("numeric-company", "fail-closed")], ids=" ".join)
def test_where_each_version_limits_it_is_well(overlay, components, version):
    ran = overlay.run(*components, istiods=[version], proxies=[sidecar(version), router(version)])

    assert (ran.returncode, ran.stderr) == (0, "")
    place = "router istio-ingress/*" if "at-gateway" in components else "sidecar users/*"
    assert f"ok       {place}: 1 of {version}: each request is counted once" in ran.stdout


@pytest.mark.parametrize(
    ("version", "status"), [("1.24.6", 1), ("1.25.0", 1), ("1.26.8", 1), ("1.27.0", 0), ("1.28.0", 0), ("1.31.0", 0)]
)
@pytest.mark.parametrize("proxies", [True, False], ids=["there", "not there yet"])
def test_a_waypoint_before_1_27_is_refused(overlay, version, status, proxies):
    ran = overlay.run("waypoint", istiods=[version], proxies=[waypoint(version)] if proxies else [])

    assert ran.returncode == status
    assert ("REFUSED  waypoint users/users-waypoint" in ran.stdout) == bool(status)
    assert ("Upgrade, or use at-gateway" in ran.stdout) == bool(status)


@pytest.mark.parametrize("components", [(), ("at-gateway",)], ids=["at sidecars", "at the gateway"])
def test_a_waypoint_where_limits_are_elsewhere_is_refused(overlay, components):
    """It takes no filter for sidecars, and only the gateway may call the pods."""
    there = [sidecar("1.31.0"), router("1.31.0"), waypoint("1.31.0"), ("waypoint~10.0.0.3~w-1-2.other~x", "1.31.0")]

    ran = overlay.run(*components, proxies=there)

    assert ran.returncode == 1
    (line,) = (line for line in ran.stdout.splitlines() if line.startswith("REFUSED"))
    assert line.startswith("REFUSED  waypoint users/users-waypoint: it limits nothing")


@pytest.mark.parametrize(
    ("version", "said"),
    [
        *(("1.24.6", True), ("1.26.8", True), ("1.27.7", True), ("1.28.4", True), ("1.29.0", True), ("1.28", True)),
        *(("1.27.8", False), ("1.28.5", False), ("1.29.1-vendor", False), ("1.30.0", False), ("1.31", False)),
    ],
)
def test_an_istiod_whose_placeholder_for_keys_is_public_is_told(overlay, version, said):
    ran = overlay.run(istiods=[version], proxies=[sidecar(version)])

    assert ran.returncode == 0
    assert (f"warning  istiod {version}: while it cannot fetch keys" in ran.stdout) == said


def test_an_old_waypoint_under_a_new_istiod_is_refused(overlay):
    ran = overlay.run("waypoint", proxies=[waypoint("1.31.0"), waypoint("1.26.8")])

    assert ran.returncode == 1
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["REFUSED", "ok"]


def test_proxies_that_it_is_not_about_do_not_matter(overlay):
    others = [
        sidecar("1.26.0"),
        waypoint("1.26.0", name="another"),
        sidecar("1.9.0", namespace="elsewhere"),
        ("ztunnel~10.0.0.9~ztunnel-1.istio-system~istio-system.svc.cluster.local", "1.26.0"),
        ("agentgateway-1.other", ""),
    ]

    ran = overlay.run("waypoint", proxies=[waypoint("1.31.0"), *others])

    assert (ran.returncode, ran.stdout.count("\n")) == (0, 1)


def test_an_istiod_that_is_older_than_its_proxies_is_refused(overlay):
    """As after a rollback: the proxy takes the filter for new versions, and istiod drops what it does not know of it."""
    ran = overlay.run(istiods=["1.27.4"], proxies=[sidecar("1.28.0"), sidecar("1.27.4", "users-2")])

    assert ran.returncode == 1
    assert "1 of 1.28.0: nothing is limited: istiod is older than 1.28" in ran.stdout
    assert "1 of 1.27.4: each request is counted once" in ran.stdout


def test_during_an_upgrade_both_shapes_are_well(overlay):
    proxies = [sidecar("1.27.4"), sidecar("1.28.0", "users-2"), sidecar("1.28.0", "users-3")]

    ran = overlay.run(istiods=["1.27.4", "1.28.0"], proxies=proxies)

    assert ran.returncode == 0
    assert "2 of 1.28.0" in ran.stdout


def test_ids_without_a_kind_are_told_by_namespace_and_name(overlay):
    ran = overlay.run("waypoint", proxies=[("users-waypoint-7d9f-abcde.users", "1.26.0"), ("users-1.users", "1.31.0")])

    assert ran.returncode == 1
    assert "1 of 1.26.0: nothing is limited" in ran.stdout


def test_a_version_for_which_there_is_no_filter_is_refused(overlay):
    for file in overlay.folder.glob("istio/envoyfilter-istio-1.27.yaml"):
        file.write_text("")

    ran = overlay.run(istiods=["1.27.0"], proxies=[sidecar("1.27.0")])

    assert ran.returncode == 1
    assert "nothing is limited: no EnvoyFilter is for this version" in ran.stdout


def test_filters_for_every_version_count_twice(overlay):
    for file in overlay.folder.glob("istio/envoyfilter*.yaml"):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if "proxyVersion" not in line))

    ran = overlay.run(proxies=[sidecar("1.31.0")])

    assert ran.returncode == 1
    assert "each request counts 2 times: ratelimit, ratelimit-istio-1.27" in ran.stdout


def test_a_gateway_of_an_istiod_that_ignores_the_annotation_is_told(overlay):
    ran = overlay.run("at-gateway", istiods=["1.24.6"], proxies=[router("1.24.6")])

    assert ran.returncode == 0
    assert "do not set PILOT_FILTER_GATEWAY_CLUSTER_CONFIG" in ran.stdout
    assert "PILOT" not in overlay.run("at-gateway", istiods=["1.26.0"], proxies=[router("1.26.0")]).stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"istiods": []}, "istioctl finds no istiod"),
        ({"istiods": ["unknown"]}, "'unknown' is no version of Istio"),
        ({"ISTIOCTL": "/nowhere/istioctl"}, "cannot run /nowhere/istioctl"),
        ({"KUBECTL": "/bin/false"}, "/bin/false kustomize"),
    ],
)
def test_what_cannot_be_told_is_said(overlay, given, message):
    ran = overlay.run(**given)

    assert ran.returncode == 2
    assert message in ran.stderr
