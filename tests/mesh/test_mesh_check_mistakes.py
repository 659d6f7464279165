"""Each mistake that istiod and Envoy accept without any message is made, given to a real Envoy, and found in its dump."""

import copy
from dataclasses import replace

import pytest

from tests.mesh.checked import found, wrong
from tests.mesh.manifests import find, load
from tests.mesh.test_mistakes import MISTAKES, config, patch
from tests.mesh.world import GATEWAY, HBONE_SIDECAR, USERS_SIDECAR, WAYPOINT

CODES = {
    "another_cluster": "other_cluster",
    "no_sub_filter": "before_tokens",
    "insert_first": "before_tokens",
    "add": "rejected",
    "misspelt_requirement": "no_requirement",
    "no_requirement_map": "no_requirement",
    "rules_instead_of_a_requirement": "second_rule",
    "only_missing": "other_requirement",
    "no_request_authentication": "no_tokens",
    "for_every_version": "counted_twice",
    "twice": "counted_twice",
    "host_not_allowed": "no_cluster",
    "no_address": "not_always_a_descriptor",
    "one_descriptor_of_both": "company_by_address",
    "another_payload": "claim_not_there",
    "another_source": "claim_source",
    "long_timeout": "timeout_long",
    "one_try": "one_try",
    "a_try_for_the_whole_timeout": "late_try",
}
"""Of each of MISTAKES; where it is not here, no proxy has a filter."""


@pytest.mark.parametrize("make", [make for make, _ in MISTAKES], ids=lambda make: make.__name__)
def test_a_mistake_at_sidecars_is_found(make, dump):
    objects = load()
    make(objects)

    assert CODES.get(make.__name__, "no_filter_anywhere") in wrong(dump(objects, USERS_SIDECAR))


def of_filter(**fields):
    return lambda objects: config(objects).update(fields)


def of_limits(**fields):
    return lambda objects: [limit.update(fields) for limit in config(objects)["rate_limits"]]


def extension(objects):
    """A token that nobody has verified."""
    kind = "type.googleapis.com/envoy.extensions.rate_limit_descriptors.jwt_claim.v3.Descriptor"
    typed = {"@type": kind, "descriptor_key": "company_id", "header_name": "authorization", "claim_name": "company_id"}
    config(objects)["rate_limits"][0]["actions"] = [{"extension": {"name": "jwt_claim", "typed_config": typed}}]


def of_tries(**fields):
    return lambda objects: config(objects)["rate_limit_service"]["grpc_service"]["retry_policy"].update(fields)


def the_same_twice(objects):
    limits = config(objects)["rate_limits"]
    limits.append(copy.deepcopy(limits[1]))


def disabled(objects):
    patch("ratelimit")(objects)["patch"]["value"]["disabled"] = True


def no_policy_for_tokens(objects):
    objects.remove(find(objects, "AuthorizationPolicy", "writing-needs-a-token"))


def scope(objects):
    """A claim that Istio has Envoy split into a list."""
    config(objects)["rate_limits"][0]["actions"][0]["metadata"]["metadata_key"]["path"][1]["key"] = "scope"


def no_policy_for_callers(objects):
    objects.remove(find(objects, "AuthorizationPolicy", "from-gateway"))


def merged_into_the_manager(**fields):
    def make(objects):
        objects.append(copy.deepcopy(find(load("behind-load-balancer"), "EnvoyFilter", "trusted-hops")))
        typed = patch("trusted-hops")(objects)["patch"]["value"]["typed_config"]
        del typed["xff_num_trusted_hops"]
        typed.update(fields)

    return make


def per_route(**fields):
    """A RateLimitPerRoute for each virtual host."""

    def make(objects):
        kind = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"
        value = {"typed_per_filter_config": {"envoy.filters.http.ratelimit": {"@type": kind, **fields}}}
        add_to_hosts(objects, value)

    return make


def add_to_hosts(objects, value):
    patches = find(objects, "EnvoyFilter", "ratelimit")["spec"]["configPatches"]
    match = {"context": "SIDECAR_INBOUND"}
    patches.append({"applyTo": "VIRTUAL_HOST", "match": match, "patch": {"operation": "MERGE", "value": value}})


def off_at_hosts(objects):
    kind = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
    add_to_hosts(
        objects, {"typed_per_filter_config": {"envoy.filters.http.ratelimit": {"@type": kind, "disabled": True}}}
    )


def nothing(numerator=0):
    return {"default_value": {"numerator": numerator, "denominator": "HUNDRED"}, "runtime_key": "limits"}


MORE = [
    ("off", of_filter(filter_enabled=nothing()), "filter_off"),
    ("shadow", of_filter(filter_enforced=nothing()), "shadow"),
    ("half", of_filter(filter_enabled=nothing(50)), "part_of_requests"),
    ("internal", of_filter(request_type="internal"), "only_some_callers"),
    ("short", of_filter(timeout="0.005s"), "timeout_short"),
    ("without an end", of_filter(timeout="0s"), "timeout_long"),
    ("disabled by default", disabled, "filter_off"),
    ("no hits", of_limits(hits_addend={"number": 0}), "counts_nothing"),
    ("ten pauses", of_tries(retry_back_off={"base_interval": "0.01s"}), "late_try"),
    ("shed calls again", of_tries(retry_on="unavailable,resource-exhausted"), "repeats_shed_calls"),
    ("the same limit twice", the_same_twice, "counted_twice"),
    ("late", of_limits(apply_on_stream_done=True), "counted_late"),
    ("hits", of_limits(hits_addend={"format": "%REQ(x-cost)%"}), "hits_format"),
    ("scope", scope, "claim_is_list"),
    ("unverified", extension, "unverified_claim"),
    ("no policy", no_policy_for_tokens, "invalid_tokens_pass"),
    ("no policy for callers", no_policy_for_callers, "anybody_may_call"),
    ("use_remote_address", merged_into_the_manager(use_remote_address=True), "gateway_is_client"),
    ("disabled", off_at_hosts, "filter_off"),
    ("no address per route", per_route(rate_limits=[{"actions": [{"query_parameters": {
        "query_parameter_name": "n", "descriptor_key": "n"}}]}]), "not_always_a_descriptor"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "code"), [each[1:] for each in MORE], ids=[each[0] for each in MORE])
def test_another_mistake_at_sidecars_is_found(make, code, dump):
    objects = load()
    make(objects)

    assert code in wrong(dump(objects, USERS_SIDECAR))


def other_stage(objects):
    patch("ratelimit-istio-1.27")(objects)["patch"]["value"]["typed_config"]["stage"] = 1


def another_host(objects):
    """The port in its name is that of the Service."""
    patch("ratelimit-istio-1.27", 1)(objects)["match"]["routeConfiguration"] = {"vhost": {"name": "inbound|http|9000"}}


def one_host(objects):
    """That of the declared port; all others pass."""
    patch("ratelimit-istio-1.27", 1)(objects)["match"]["routeConfiguration"] = {"vhost": {"name": "inbound|http|80"}}


def for_newer_istio(objects):
    del patch("ratelimit")(objects)["match"]["proxy"]
    objects.remove(find(objects, "EnvoyFilter", "ratelimit-istio-1.27"))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (other_stage, "other_stage"),
        (another_host, "no_descriptor"),
        (one_host, "no_descriptor"),
        (for_newer_istio, "no_descriptor"),
    ],
)
def test_a_mistake_with_old_istio_is_found(make, code, dump):
    objects = load()
    make(objects)

    proxy = dump(objects, replace(USERS_SIDECAR, version="1.27.0"))

    (each,) = [each for each in found(proxy) if each.code == code]
    assert each.change.file == "istio/envoyfilter-istio-1.27.yaml"


def test_a_disable_key_is_a_note_until_the_runtime_uses_it(dump):
    objects = load()
    for limit in patch("ratelimit-istio-1.27", 1)(objects)["patch"]["value"]["rate_limits"]:
        limit["disable_key"] = "mesh"
    old = replace(USERS_SIDECAR, version="1.27.0")
    layer = {"name": "base", "static_layer": {"ratelimit": {"mesh": {"http_filter_enabled": 0}}}}

    assert wrong(dump(objects, old)) == []
    assert "disable_key" in [each.code for each in found(dump(objects, old))]
    assert wrong(dump(objects, old, changed={"layered_runtime": {"layers": [layer]}})) == ["no_descriptor"]


def test_what_runtime_turns_off_is_found(dump):
    layer = {"name": "base", "static_layer": {"ratelimit": {"http_filter_enabled": 0}}}

    assert wrong(dump(load(), USERS_SIDECAR, changed={"layered_runtime": {"layers": [layer]}})) == ["filter_off"]


def tunnels(objects, name):
    patches = find(objects, "EnvoyFilter", name)["spec"]["configPatches"]
    patches[0]["match"]["listener"].pop("name", None)
    del patches[1:]


@pytest.mark.parametrize(
    ("components", "name", "proxy"),
    [(("waypoint",), "ratelimit-waypoint", WAYPOINT), ((), "ratelimit", HBONE_SIDECAR)],
    ids=["waypoint", "sidecar"],
)
def test_tunnels_that_are_counted_are_found(components, name, proxy, dump):
    objects = load(*components)
    tunnels(objects, name)

    assert wrong(dump(objects, proxy)) == ["tunnel_counted"]


def test_a_listener_without_limits_is_found(dump):
    objects = load()
    patch("ratelimit")(objects)["match"]["listener"]["name"] = "virtualInbound"

    assert "chain_without_filter" in wrong(dump(objects, HBONE_SIDECAR))


def test_a_cluster_that_no_annotation_names_is_found(dump):
    objects = load("at-gateway")
    for name in ("ratelimit", "ratelimit-istio-1.27"):
        del find(objects, "EnvoyFilter", name, "istio-ingress")["metadata"]["annotations"]

    (each,) = [
        each for each in found(dump(objects, replace(GATEWAY, only_named_clusters=True))) if each.code == "no_cluster"
    ]

    assert each.change.field == "annotation envoyfilter.istio.io/referenced-services"
    assert each.change.file == "istio/at-gateway/envoyfilter.yaml"
