"""Each variant in `istio/` with each version of Istio: every request is counted once, or the combination is refused."""

import re
from dataclasses import replace

import pytest

from tests.mesh.manifests import load
from tests.mesh.mistakes import mistakes
from tests.mesh.world import GATEWAY, HBONE_SIDECAR, USERS_SIDECAR, WAYPOINT, rendered

LIMITING = {
    "sidecar": ((), USERS_SIDECAR),
    "sidecar with HBONE": ((), HBONE_SIDECAR),
    "gateway": (("at-gateway",), GATEWAY),
    "gateway with the clusters that are named": (("at-gateway",), replace(GATEWAY, only_named_clusters=True)),
    "waypoint": (("waypoint",), WAYPOINT),
}
BESIDES = [(), ("fail-closed",), ("behind-load-balancer",), ("numeric-company",), ("numeric-company", "fail-closed")]
# The oldest that was looked at, the last and the first around each change, and the newest.
VERSIONS = ["1.9.0", "1.24.6", "1.25.0", "1.26.8", "1.27.4", "1.28.0", "1.31.0", "1.31-alpha.3f", "1.32.0-vendor.1"]
UNTIL = {"waypoint": (1, 27), "gateway with the clusters that are named": (1, 26)}
"""The first release that limits there."""


def release(version):
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:2])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("besides", BESIDES, ids=lambda names: " ".join(names) or "alone")
@pytest.mark.parametrize("who", LIMITING)
def test_each_variant_limits_each_request_once_with_each_version(who, besides, version):
    """Or it is one that scripts/mesh_versions.py refuses."""
    components, proxy = LIMITING[who]

    found = mistakes(rendered(load(*components, *besides), replace(proxy, version=version)))

    if release(version) < UNTIL.get(who, (0, 0)):
        assert any("there is no" in text for text in found)
    else:
        assert found == []


@pytest.mark.parametrize("version", ["1.24.0", "1.26.8"])
@pytest.mark.parametrize("proxy", [USERS_SIDECAR, HBONE_SIDECAR, WAYPOINT], ids=["sidecar", "with HBONE", "waypoint"])
def test_before_1_27_files_for_waypoints_do_nothing(proxy, version):
    """istiod gives them to every proxy of the namespace then, as it ignores targetRefs."""
    objects = load("waypoint", "behind-load-balancer")

    taken = {patch.name for patch in rendered(objects, replace(proxy, version=version)).patches}

    assert not [name for name in taken if "-waypoint" in name]


def test_the_order_of_components_that_only_change_makes_no_difference():
    one, other = ("fail-closed", "numeric-company"), ("numeric-company", "fail-closed")

    assert load("waypoint", *one) == load("waypoint", *other)
