"""Our manifests have none of the mistakes that nobody is told of, and each of them is found when it is made."""

import copy
from dataclasses import replace

import pytest

from tests.mesh.istiod import Port
from tests.mesh.manifests import find, load
from tests.mesh.mistakes import mistakes, mistakes_between
from tests.mesh.world import (
    GATEWAY,
    RLS,
    RLS_SIDECAR,
    SERVICES,
    USERS_SIDECAR,
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


def one_try(objects):
    del config(objects)["rate_limit_service"]["grpc_service"]["retry_policy"]


def a_try_for_the_whole_timeout(objects):
    config(objects)["rate_limit_service"]["grpc_service"]["retry_policy"]["retry_back_off"]["max_interval"] = "0.1s"


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
    (one_try, "a call without an answer is not made again, so that its request passes"),
    (
        a_try_for_the_whole_timeout,
        "a call that hangs is not made again: max_interval, the time of one try, is no shorter than the timeout",
    ),
]


@pytest.mark.parametrize(("make", "text"), MISTAKES, ids=[make.__name__ for make, _ in MISTAKES])
def test_a_mistake_is_found(make, text):
    objects = load()
    make(objects)

    assert EVERY + text in mistakes(rendered(objects, USERS_SIDECAR))


@pytest.mark.parametrize("version", ["1.24.0", "1.31.0"])
def test_keys_that_could_not_be_fetched_are_found(version):
    found = mistakes(rendered(load(), replace(USERS_SIDECAR, version=version), jwks=None))

    assert EVERY + "istiod could not fetch the keys, so that no token is valid" in found


def test_a_patch_of_what_the_pod_sends_is_found():
    objects = load()
    outbound(objects)

    assert "0.0.0.0_80: what the pod sends is counted" in mistakes(rendered(objects, USERS_SIDECAR))


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
