"""Our manifests have none of the mistakes that nobody is told of, and each of them is found when it is made."""

import copy
from dataclasses import replace

import pytest

from tests.mesh.istiod import Port
from tests.mesh.manifests import find, load
from tests.mesh.mistakes import mistakes, mistakes_between
from tests.mesh.world import (
    GATEWAY,
    HBONE_SIDECAR,
    RLS,
    RLS_SIDECAR,
    SERVICES,
    USERS_SIDECAR,
    WAYPOINT,
    behind_load_balancer,
    mesh_config,
    rendered,
)


@pytest.mark.parametrize(
    ("components", "proxy"), [((), GATEWAY), (("at-gateway",), USERS_SIDECAR)], ids=["gateway", "sidecar"]
)
def test_where_the_other_limits_none_does(components, proxy):
    assert mistakes(rendered(load(*components), proxy), limits=False) == []


def test_rls_itself_is_not_limited():
    assert mistakes(rendered(load(), RLS_SIDECAR), limits=False) == []


@pytest.mark.parametrize(
    ("components", "gateway"),
    [((), GATEWAY), (("at-gateway",), GATEWAY), (("behind-load-balancer",), behind_load_balancer())],
    ids=["at sidecars", "at the gateway", "behind a load balancer"],
)
def test_gateway_and_sidecar_go_together(components, gateway):
    objects = load(*components)

    assert mistakes_between(rendered(objects, gateway), rendered(objects, USERS_SIDECAR)) == []


def patch(name, number=0, namespace="users"):
    """That patch of that EnvoyFilter, to be changed in place."""
    return lambda objects: find(objects, "EnvoyFilter", name, namespace)["spec"]["configPatches"][number]


def config(objects):
    return patch("ratelimit")(objects)["patch"]["value"]["typed_config"]


def another_cluster(objects):
    grpc = config(objects)["rate_limit_service"]["grpc_service"]["envoy_grpc"]
    grpc["cluster_name"] = grpc["cluster_name"].replace("rate-limit", "ratelimit")


def no_sub_filter(objects):
    del patch("ratelimit")(objects)["match"]["listener"]["filterChain"]["filter"]["subFilter"]


def insert_first(objects):
    patch("ratelimit")(objects)["patch"]["operation"] = "INSERT_FIRST"


def add(objects):
    patch("ratelimit")(objects)["patch"]["operation"] = "ADD"


def misspelt_requirement(objects):
    per_route = patch("optional-jwt", 1)(objects)["patch"]["value"]["typed_per_filter_config"]
    per_route["envoy.filters.http.jwt_authn"]["requirement_name"] = "optionl"


def no_requirement_map(objects):
    del find(objects, "EnvoyFilter", "optional-jwt")["spec"]["configPatches"][0]


def rules_instead_of_a_requirement(objects):
    filter_, _ = find(objects, "EnvoyFilter", "optional-jwt")["spec"]["configPatches"]
    del find(objects, "EnvoyFilter", "optional-jwt")["spec"]["configPatches"][1]
    filter_["patch"]["value"]["typed_config"] = {
        "rules": [{"match": {"prefix": "/"}, "requires": {"allow_missing_or_failed": {}}}]
    }


def only_missing(objects):
    typed = patch("optional-jwt")(objects)["patch"]["value"]["typed_config"]
    typed["requirement_map"]["optional"] = {"allow_missing": {}}


def no_request_authentication(objects):
    objects.remove(find(objects, "RequestAuthentication", "company-tokens"))


def after_jwt_authn_that_is_not_there(objects):
    no_request_authentication(objects)
    changed = patch("ratelimit")(objects)
    changed["patch"]["operation"] = "INSERT_AFTER"
    changed["match"]["listener"]["filterChain"]["filter"]["subFilter"]["name"] = "envoy.filters.http.jwt_authn"


def for_every_version(objects):
    for name in ("ratelimit", "ratelimit-istio-1.27"):
        for entry in find(objects, "EnvoyFilter", name)["spec"]["configPatches"]:
            entry["match"].pop("proxy", None)


def twice(objects):
    again = copy.deepcopy(find(objects, "EnvoyFilter", "ratelimit"))
    again["metadata"]["name"] = "ratelimit-by-another-team"
    objects.append(again)


def selector_of_another_namespace(objects):
    find(objects, "EnvoyFilter", "ratelimit")["metadata"]["namespace"] = "rate-limit"


def selector_of_another_label(objects):
    find(objects, "EnvoyFilter", "ratelimit")["spec"]["workloadSelector"] = {"labels": {"app": "user"}}


def outbound(objects):
    patch("ratelimit")(objects)["match"]["context"] = "SIDECAR_OUTBOUND"


def host_not_allowed(objects):
    (egress,) = find(objects, "Sidecar", "default")["spec"]["egress"]
    egress["hosts"].remove("rate-limit/rls.rate-limit.svc.cluster.local")


def merge_without_name(objects):
    objects.append(copy.deepcopy(find(load("behind-load-balancer"), "EnvoyFilter", "trusted-hops")))
    del patch("trusted-hops")(objects)["match"]["listener"]["filterChain"]["filter"]


def no_address(objects):
    del config(objects)["rate_limits"][1]


def one_descriptor_of_both(objects):
    limits = config(objects)["rate_limits"]
    limits[0]["actions"] += limits.pop()["actions"]


def another_payload(objects):
    config(objects)["rate_limits"][0]["actions"][0]["metadata"]["metadata_key"]["path"].pop(0)


def another_source(objects):
    config(objects)["rate_limits"][0]["actions"][0]["metadata"]["source"] = "ROUTE_ENTRY"


def long_timeout(objects):
    config(objects)["timeout"] = "10s"


def no_telemetry(objects):
    objects.remove(find(objects, "Telemetry", "access-log"))


EVERY = "0.0.0.0_9000: "
MISTAKES = [
    (another_cluster, "there is no cluster outbound|8081||rls.ratelimit.svc.cluster.local, so every request passes"),
    (no_sub_filter, "the rate limit filter stands before jwt_authn, and sees no company"),
    (insert_first, "the rate limit filter stands before jwt_authn, and sees no company"),
    (add, "the rate limit filter stands behind the router"),
    (misspelt_requirement, "inbound|http|80: there is no requirement optionl, so every request gets 403"),
    (no_requirement_map, "inbound|http|80: there is no requirement optional, so every request gets 403"),
    (rules_instead_of_a_requirement, "only the first of jwt_authn's rules is looked at"),
    (only_missing, "inbound|http|80: the requirement optional is another than allow_missing_or_failed"),
    (no_request_authentication, "no token is verified, so that there is no company"),
    (after_jwt_authn_that_is_not_there, "there is no rate limit filter"),
    (for_every_version, "each request is counted 2 times"),
    (twice, "each request is counted 2 times"),
    (selector_of_another_namespace, "there is no rate limit filter"),
    (selector_of_another_label, "there is no rate limit filter"),
    (outbound, "there is no rate limit filter"),
    (host_not_allowed, "there is no cluster outbound|8081||rls.rate-limit.svc.cluster.local, so every request passes"),
    (merge_without_name, "there is no rate limit filter"),
    (no_address, "inbound|http|80: a request without a valid token has no descriptor, and passes"),
    (one_descriptor_of_both, "inbound|http|80: companies are counted apart by their addresses"),
    (another_payload, "inbound|http|80: the company is looked for where jwt_authn does not put it"),
    (another_source, "inbound|http|80: the company is not looked for in the dynamic metadata"),
    (long_timeout, "a request may be held for 10s"),
]


@pytest.mark.parametrize(("make", "text"), MISTAKES, ids=[make.__name__ for make, _ in MISTAKES])
def test_a_mistake_is_found(make, text):
    objects = load()
    make(objects)

    assert EVERY + text in mistakes(rendered(objects, USERS_SIDECAR))


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


def test_an_access_log_without_the_rule_is_found():
    objects = load()
    no_telemetry(objects)

    assert mistakes(rendered(objects, USERS_SIDECAR)) == ["no access log names the rule that refused"]


def test_hidden_statistics_are_found():
    config = mesh_config()
    del config["defaultConfig"]

    assert "the statistic failure_mode_allowed is hidden" in mistakes(rendered(load(), USERS_SIDECAR, config=config))


def test_a_port_that_is_not_said_to_be_grpc_is_found():
    services = [*SERVICES[:1], replace(RLS, ports=[Port(8081, 8081, "rls")])]

    (text,) = {text.partition(": ")[2] for text in mistakes(rendered(load(), USERS_SIDECAR, services=services))}

    assert text == "the cluster outbound|8081||rls.rate-limit.svc.cluster.local does not speak HTTP/2"


def test_a_field_that_an_older_istiod_drops_is_found():
    objects = load()
    del patch("ratelimit")(objects)["match"]["proxy"]
    objects.remove(find(objects, "EnvoyFilter", "ratelimit-istio-1.27"))

    found = mistakes(rendered(objects, replace(USERS_SIDECAR, version="1.27.0")))

    assert EVERY + "inbound|http|80: no descriptor is made, so every request passes" in found


@pytest.mark.parametrize("name", ["inbound|http|9000", "users.users.svc.cluster.local:80"])
def test_a_virtual_host_that_is_not_there_is_found(name):
    """The port in its name is that of the Service."""
    objects = load()
    patch("ratelimit-istio-1.27", 1)(objects)["match"]["routeConfiguration"] = {"vhost": {"name": name}}

    found = mistakes(rendered(objects, replace(USERS_SIDECAR, version="1.27.0")))

    assert "the patch users/ratelimit-istio-1.27[1] matches nothing" in found


def test_a_stage_of_its_own_is_found():
    objects = load()
    patch("ratelimit-istio-1.27")(objects)["patch"]["value"]["typed_config"]["stage"] = 1

    found = mistakes(rendered(objects, replace(USERS_SIDECAR, version="1.27.0")))

    assert EVERY + "inbound|http|80: the stage of a rate limit is not that of the filter" in found


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
