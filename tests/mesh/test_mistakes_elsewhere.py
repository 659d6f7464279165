"""Mistakes at gateways, at waypoints and in tunnels, and those of two proxies that do not go together."""

from dataclasses import replace

import pytest

from tests.mesh.manifests import find, load
from tests.mesh.mistakes import mistakes, mistakes_between
from tests.mesh.test_mistakes import patch
from tests.mesh.world import GATEWAY, HBONE_SIDECAR, USERS_SIDECAR, WAYPOINT, behind_load_balancer, rendered


@pytest.mark.parametrize(
    ("components", "name", "proxy"),
    [(("waypoint",), "ratelimit-waypoint", WAYPOINT), ((), "ratelimit", HBONE_SIDECAR)],
    ids=["waypoint", "sidecar"],
)
def test_tunnels_that_are_counted_are_found(components, name, proxy):
    objects = load(*components)
    patches = find(objects, "EnvoyFilter", name)["spec"]["configPatches"]
    patches[0]["match"]["listener"].pop("name", None)
    del patches[1:]

    assert mistakes(rendered(objects, proxy)) == ["connect_terminate: each tunnel of a peer is counted"]


def test_a_name_of_a_listener_that_leaves_another_without_limits_is_found():
    """A sidecar with HBONE takes requests in two listeners."""
    objects = load()
    patch("ratelimit")(objects)["match"]["listener"]["name"] = "virtualInbound"

    assert "virtualInbound-catchall-http: there is no rate limit filter" in mistakes(rendered(objects, HBONE_SIDECAR))
    assert mistakes(rendered(objects, USERS_SIDECAR)) == []


@pytest.mark.parametrize(
    ("component", "names", "namespace", "proxy"),
    [
        (
            "at-gateway",
            ("ratelimit", "ratelimit-istio-1.27"),
            "istio-ingress",
            replace(GATEWAY, only_named_clusters=True),
        ),
        ("waypoint", ("ratelimit-waypoint", "ratelimit-waypoint-istio-1.27"), "users", WAYPOINT),
    ],
    ids=["gateway", "waypoint"],
)
def test_a_cluster_that_no_annotation_names_is_found(component, names, namespace, proxy):
    """One annotation would do: istiod reads it of every EnvoyFilter for the proxy, whatever its patches are for."""
    objects = load(component)
    for name in names:
        del find(objects, "EnvoyFilter", name, namespace)["metadata"]["annotations"]

    found = mistakes(rendered(objects, proxy))

    assert any("there is no cluster outbound|8081||rls.rate-limit.svc.cluster.local" in text for text in found)


@pytest.mark.parametrize(
    "target_refs",
    [None, [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "users"}]],
    ids=["none", "another"],
)
def test_a_waypoint_without_its_target_refs_is_found(target_refs):
    objects = load("waypoint")
    spec = find(objects, "EnvoyFilter", "ratelimit-waypoint")["spec"]
    del spec["targetRefs"]
    if target_refs:
        spec["targetRefs"] = target_refs

    found = mistakes(rendered(objects, WAYPOINT))

    assert any(text.endswith("there is no rate limit filter") for text in found)


def test_the_context_waypoint_is_found():
    objects = load("waypoint")
    patch("ratelimit-waypoint")(objects)["match"]["context"] = "WAYPOINT"

    assert any(text.endswith("there is no rate limit filter") for text in mistakes(rendered(objects, WAYPOINT)))


def test_limits_at_the_gateway_and_at_sidecars_are_found():
    objects = [*load(), *(each for each in load("at-gateway") if each["metadata"]["namespace"] == "istio-ingress")]

    found = mistakes_between(rendered(objects, GATEWAY), rendered(objects, USERS_SIDECAR))

    assert found == ["gateway and sidecar both count in the domain mesh"]


def test_a_waypoint_behind_a_load_balancer_sees_the_client():
    objects = load("waypoint", "behind-load-balancer")

    assert mistakes_between(rendered(objects, behind_load_balancer()), rendered(objects, WAYPOINT)) == []


def test_a_waypoint_that_takes_the_load_balancer_for_the_client_is_found():
    found = mistakes_between(rendered(load("waypoint"), behind_load_balancer()), rendered(load("waypoint"), WAYPOINT))

    assert found == ["the gateway trusts 1 proxies before it, and the sidecar skips [0]"]


def test_a_sidecar_that_takes_the_load_balancer_for_the_client_is_found():
    found = mistakes_between(rendered(load(), behind_load_balancer()), rendered(load(), USERS_SIDECAR))

    assert found == ["the gateway trusts 1 proxies before it, and the sidecar skips [0]"]
