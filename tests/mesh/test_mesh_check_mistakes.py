"""Each mistake that istiod and Envoy accept without any message is made, given to a real Envoy, and found in its dump."""

import base64
import copy
import json
from dataclasses import replace

import pytest

from rls.mesh.findings import Severity
from rls.sources.load import load as load_rules
from tests.mesh.dumps import endpoint
from tests.mesh.istiod import Port
from tests.mesh.manifests import find, load
from tests.mesh.test_mesh_check import RULES, dump, found, wrong  # noqa: F401 # a fixture
from tests.mesh.test_mistakes import MISTAKES, config, patch
from tests.mesh.world import (
    GATEWAY,
    HBONE_SIDECAR,
    RLS,
    RLS_SIDECAR,
    SERVICES,
    TO_RLS,
    USERS_SIDECAR,
    WAYPOINT,
    behind_load_balancer,
    mesh_config,
)

CODES = {
    "another_cluster": "no_cluster",
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
}
"""Of each of MISTAKES; where it is not here, no proxy has a filter."""


@pytest.mark.parametrize("make", [make for make, _ in MISTAKES], ids=lambda make: make.__name__)
def test_a_mistake_at_sidecars_is_found(make, dump):  # noqa: F811
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


def no_policy_for_tokens(objects):
    objects.remove(find(objects, "AuthorizationPolicy", "writing-needs-a-token"))


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
    ("late", of_limits(apply_on_stream_done=True), "counted_late"),
    ("hits", of_limits(hits_addend={"format": "%REQ(x-cost)%"}), "hits_format"),
    ("unverified", extension, "unverified_claim"),
    ("no policy", no_policy_for_tokens, "invalid_tokens_pass"),
    ("use_remote_address", merged_into_the_manager(use_remote_address=True), "gateway_is_client"),
    ("empty per route", per_route(), "empty_override"),
    ("disabled", off_at_hosts, "filter_off"),
    ("no address per route", per_route(rate_limits=[{"actions": [{"query_parameters": {
        "query_parameter_name": "n", "descriptor_key": "n"}}]}]), "not_always_a_descriptor"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "code"), [each[1:] for each in MORE], ids=[each[0] for each in MORE])
def test_another_mistake_at_sidecars_is_found(make, code, dump):  # noqa: F811
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
def test_a_mistake_with_old_istio_is_found(make, code, dump):  # noqa: F811
    objects = load()
    make(objects)

    proxy = dump(objects, replace(USERS_SIDECAR, version="1.27.0"))

    (each,) = [each for each in found(proxy) if each.code == code]
    assert each.change.file == "istio/envoyfilter-istio-1.27.yaml"


def test_a_disable_key_is_a_note_until_the_runtime_uses_it(dump):  # noqa: F811
    objects = load()
    for limit in patch("ratelimit-istio-1.27", 1)(objects)["patch"]["value"]["rate_limits"]:
        limit["disable_key"] = "mesh"
    old = replace(USERS_SIDECAR, version="1.27.0")
    layer = {"name": "base", "static_layer": {"ratelimit": {"mesh": {"http_filter_enabled": 0}}}}

    assert wrong(dump(objects, old)) == []
    assert "disable_key" in [each.code for each in found(dump(objects, old))]
    assert wrong(dump(objects, old, changed={"layered_runtime": {"layers": [layer]}})) == ["no_descriptor"]


def test_what_runtime_turns_off_is_found(dump):  # noqa: F811
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
def test_tunnels_that_are_counted_are_found(components, name, proxy, dump):  # noqa: F811
    objects = load(*components)
    tunnels(objects, name)

    assert wrong(dump(objects, proxy)) == ["tunnel_counted"]


def test_a_listener_without_limits_is_found(dump):  # noqa: F811
    objects = load()
    patch("ratelimit")(objects)["match"]["listener"]["name"] = "virtualInbound"

    assert "chain_without_filter" in wrong(dump(objects, HBONE_SIDECAR))


def test_a_cluster_that_no_annotation_names_is_found(dump):  # noqa: F811
    objects = load("at-gateway")
    for name in ("ratelimit", "ratelimit-istio-1.27"):
        del find(objects, "EnvoyFilter", name, "istio-ingress")["metadata"]["annotations"]

    (each,) = [
        each for each in found(dump(objects, replace(GATEWAY, only_named_clusters=True))) if each.code == "no_cluster"
    ]

    assert each.change.field == "annotation envoyfilter.istio.io/referenced-services"
    assert each.change.file == "istio/at-gateway/envoyfilter.yaml"


FAILED = (
    base64.urlsafe_b64encode(b"Error-IstiodFailedToFetchJwksUri-https://tokens.example.com/jwks").decode().rstrip("=")
)
DISCARDED = (
    "0xObjM0UvS_oaazjpEYlAbwctEJ4L8pH3OuTb7qth7gUwqet-EzQB4dgFdvSdMgrLnSncQGRjpEYz3F3viIbH-3EN3TxSlPNviHxeOdyiBVfumN8dMxbL"
    "vVJUpfNOnvmMxJcl-8NNjAwcOjk4otSALaYgYYyOPyvKtgVdrQr-FoubWX4yrjxW-MJ2-7OBeepUUNOsVwGV23YX03sVkkyvY3otRflkBcY3_HKpBxJl9w"
    "k2GyOShN4_PNUF9-vwfnvOXMbCDX-w4PTef4geeb_GiT40YCKHTKMSPVanGRn5GExIWmki-mmqh94-mPTJyBR74ShspL3BxPZitDL574T1w"
)


def key(modulus):
    return {"e": "AQAB", "kid": "abc", "kty": "RSA", "n": modulus}


@pytest.mark.parametrize("keys", [[key(FAILED)], [key(DISCARDED)], []], ids=["before 1.30", "newer", "none"])
def test_keys_that_istiod_could_not_fetch_are_found(keys, dump):  # noqa: F811
    jwks = json.dumps({"keys": keys})

    # An Envoy of today rejects what istiods of the past wrote, and an empty set.
    rejected = [] if keys == [key(DISCARDED)] else ["rejected"]
    assert wrong(dump(load(), USERS_SIDECAR, jwks=jwks)) == [*rejected, "no_keys"]


# Who is asked.


def test_a_port_that_is_not_said_to_be_grpc_is_found(dump):  # noqa: F811
    services = [*SERVICES[:1], replace(RLS, ports=[Port(8081, 8081, "http")])]

    assert wrong(dump(load(), USERS_SIDECAR, services=services)) == ["not_http2"]


@pytest.mark.parametrize(
    "endpoints",
    [[], [{**endpoint("10.244.1.5", 8081), "health_status": "UNHEALTHY"}]],
    ids=["none", "unhealthy"],
)
def test_a_service_without_ready_pods_is_found(endpoints, dump):  # noqa: F811
    assert wrong(dump(load(), USERS_SIDECAR, endpoints={TO_RLS: endpoints})) == ["no_endpoints"]


def test_a_dump_without_endpoints_is_not_taken_for_no_endpoints(dump):  # noqa: F811
    proxy = dump(load(), USERS_SIDECAR, query="")

    assert wrong(proxy) == []
    assert [each.code for each in found(proxy)] == ["no_endpoints_in_dump"]


def a_cluster_of_ones_own(kind):
    """As many pages tell: a cluster that an EnvoyFilter adds, for the address of the Service, without mTLS."""
    options = {"explicit_http_config": {"http2_protocol_options": {}}}
    protocols = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
    protocols = {name: {"@type": f"type.googleapis.com/{name}", **value} for name, value in protocols.items()}
    made = {"name": OWN, "type": kind, "connect_timeout": "1s", "typed_extension_protocol_options": protocols}
    if kind == "ORIGINAL_DST":
        return {**made, "lb_policy": "CLUSTER_PROVIDED"}
    address = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8081}}}}
    return {**made, "load_assignment": {"cluster_name": OWN, "endpoints": [{"lb_endpoints": [address]}]}}


OWN = "outbound|8081|own|rls.rate-limit.svc.cluster.local"


@pytest.mark.parametrize(
    ("kind", "codes"), [("STRICT_DNS", {"pinned", "plain_cluster"}), ("ORIGINAL_DST", {"original_dst"})]
)
def test_a_cluster_that_istiod_does_not_make_is_found(kind, codes, dump):  # noqa: F811
    objects = load()
    config(objects)["rate_limit_service"]["grpc_service"]["envoy_grpc"]["cluster_name"] = OWN

    assert set(wrong(dump(objects, USERS_SIDECAR, more_clusters=[a_cluster_of_ones_own(kind)]))) == codes


def test_a_cluster_without_the_certificate_that_rls_asks_for_is_found(dump):  # noqa: F811
    """Where the dump of the proxy of rls says that it takes mTLS only."""
    objects = load()
    config(objects)["rate_limit_service"]["grpc_service"]["envoy_grpc"]["cluster_name"] = OWN
    users = dump(objects, USERS_SIDECAR, more_clusters=[a_cluster_of_ones_own("STRICT_DNS")])

    codes = wrong(users, dump(objects, RLS_SIDECAR))

    assert codes == ["no_client_certificate", "pinned"]


def test_pods_of_rls_without_a_proxy_that_the_mesh_takes_for_strict_are_found(dump):  # noqa: F811
    """Their endpoints are not labelled for mTLS, so Envoy sends plain text."""
    plain = [endpoint("10.244.1.5", 8081, mtls=False)]

    assert wrong(dump(load(), USERS_SIDECAR, endpoints={TO_RLS: plain})) == []
    assert wrong(dump(load(), USERS_SIDECAR, endpoints={TO_RLS: plain}), dump(load(), RLS_SIDECAR)) == [
        "no_client_certificate"
    ]


# What can be seen.


def test_hidden_statistics_are_found(dump):  # noqa: F811
    hidden = mesh_config()
    del hidden["defaultConfig"]

    assert wrong(dump(load(), USERS_SIDECAR, config=hidden)) == ["hidden_statistics"]


def test_an_access_log_without_the_rule_is_a_note(dump):  # noqa: F811
    objects = load()
    objects.remove(find(objects, "Telemetry", "access-log"))

    assert [each.code for each in found(dump(objects, USERS_SIDECAR))] == ["no_log_of_rules"]


# Several proxies.


def test_shipped_proxies_together_have_no_mistake(dump):  # noqa: F811
    objects = load()
    proxies = [dump(objects, proxy) for proxy in (GATEWAY, USERS_SIDECAR, RLS_SIDECAR)]

    assert found(*proxies, rules=load_rules([RULES]).rules) == []


def test_limits_at_the_gateway_and_at_sidecars_are_found(dump):  # noqa: F811
    there = load()
    objects = [*there, *(each for each in load("at-gateway") if each not in there)]

    assert wrong(dump(objects, GATEWAY), dump(objects, USERS_SIDECAR)) == ["counted_at_two_proxies"]


@pytest.mark.parametrize(
    ("components", "proxy"), [((), USERS_SIDECAR), (("waypoint",), WAYPOINT)], ids=["sidecar", "waypoint"]
)
def test_a_proxy_that_takes_the_load_balancer_for_the_client_is_found(components, proxy, dump):  # noqa: F811
    objects = load(*components)

    assert wrong(dump(objects, behind_load_balancer()), dump(objects, proxy)) == ["balancer_is_client"]


def test_a_proxy_that_lets_clients_choose_their_address_is_found(dump):  # noqa: F811
    objects = load("behind-load-balancer")

    assert wrong(dump(objects, GATEWAY), dump(objects, USERS_SIDECAR)) == ["client_chooses_address"]
    assert wrong(dump(objects, behind_load_balancer()), dump(objects, USERS_SIDECAR)) == []


def test_a_pod_of_a_version_without_a_filter_is_found(dump):  # noqa: F811
    objects = load()
    objects.remove(find(objects, "EnvoyFilter", "ratelimit-istio-1.27"))

    assert wrong(dump(objects, USERS_SIDECAR), dump(objects, replace(USERS_SIDECAR, version="1.27.0"))) == [
        "pod_without_filter"
    ]


# Rules.

NO_REPLACES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: day, requests_per_unit: 9}
  - key: remote_address
    rate_limit: {unit: day, requests_per_unit: 1}
"""


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (
            "domain: other\ndescriptors: [{key: company_id, rate_limit: {unit: day, requests_per_unit: 1}}]",
            {"unknown_domain"},
        ),
        (
            "domain: mesh\ndescriptors: [{key: remote_addr, rate_limit: {unit: day, requests_per_unit: 1}}]",
            {"no_rule_for_descriptor", "unreachable_rule"},
        ),
        (
            NO_REPLACES,
            {"no_replaces"},
        ),
    ],
    ids=["domain", "keys", "replaces"],
)
def test_rules_that_do_not_go_with_the_filter_are_found(text, codes, dump, tmp_path):  # noqa: F811
    (tmp_path / "rules.yaml").write_text(text)

    assert set(wrong(dump(load(), USERS_SIDECAR), rules=load_rules([tmp_path / "rules.yaml"]).rules)) == codes


def test_notes_are_no_mistakes(dump):  # noqa: F811
    objects = load()
    objects.remove(find(objects, "EnvoyFilter", "optional-jwt"))

    assert [(each.severity, each.code) for each in found(dump(objects, USERS_SIDECAR))] == [
        (Severity.NOTE, "invalid_tokens_rejected")
    ]
