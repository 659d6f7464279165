"""Mistakes of tokens, of the cluster of rls, of several proxies together and of rules: made, and found in dumps."""

import base64
import json
from dataclasses import replace

import pytest

from rls.mesh.findings import Severity
from rls.sources.load import load as load_rules
from tests.mesh.checked import RULES, found, wrong
from tests.mesh.dumps import endpoint
from tests.mesh.istiod import Port
from tests.mesh.manifests import find, load
from tests.mesh.test_mistakes import config
from tests.mesh.world import (
    GATEWAY,
    RLS,
    RLS_SIDECAR,
    SERVICES,
    TO_RLS,
    USERS_SIDECAR,
    WAYPOINT,
    behind_load_balancer,
    mesh_config,
)

FAILED = (
    base64.urlsafe_b64encode(b"Error-IstiodFailedToFetchJwksUri-https://tokens.example.com/jwks").decode().rstrip("=")
)
DISCARDED = (
    "0xObjM0UvS_oaazjpEYlAbwctEJ4L8pH3OuTb7qth7gUwqet-EzQB4dgFdvSdMgrLnSncQGRjpEYz3F3viIbH-3EN3TxSlPNviHxeOdyiBVfumN8dMxbL"
    "vVJUpfNOnvmMxJcl-8NNjAwcOjk4otSALaYgYYyOPyvKtgVdrQr-FoubWX4yrjxW-MJ2-7OBeepUUNOsVwGV23YX03sVkkyvY3otRflkBcY3_HKpBxJl9w"
    "k2GyOShN4_PNUF9-vwfnvOXMbCDX-w4PTef4geeb_GiT40YCKHTKMSPVanGRn5GExIWmki-mmqh94-mPTJyBR74ShspL3BxPZitDL574T1w"
)


PUBLIC_SECRET = (
    "vqS7RN4b34i3_5YyhygtBe33gI6GK_0ldW8WMZaunS28T-WAzJOAoZ7E9Y0mHS8vcDES0eZIUpp6Ft9sRPhOlzQfo_7l-3DnaD9LxJVKdXjE1jugxfI9YX1q"
    "JpD9S9wRZxQIhPky9UzZDkpFh_KpL6pZUt4cbPtW0VCctjqvpI11yHNk4CEbzw-RRFLMJkLFJqgPa2JPzGZ-TqJdkSDQ7UtRiKzjRcWGnAdLsTq6WabDA1Fn"
    "1JVI9TWu-YDbLufDUDco46qyPgpxAqcRQG39cWZAQzMwNEZ-Yec_WiqDYqGTU6K8BBWeEIuMhiWfxGmtqX35rb9Qk_qeYDsqqT95Pw"
)


def key(modulus):
    return {"e": "AQAB", "kid": "abc", "kty": "RSA", "n": modulus}


@pytest.mark.parametrize(
    ("keys", "codes"),
    [
        # An Envoy of today rejects what the oldest istiods wrote, and an empty set.
        ([key(FAILED)], ["rejected", "no_keys"]),
        ([key(PUBLIC_SECRET)], ["no_keys", "public_secret"]),
        ([key(DISCARDED)], ["no_keys"]),
        ([], ["rejected", "no_keys"]),
    ],
    ids=["oldest", "old", "new", "none"],
)
def test_keys_that_istiod_could_not_fetch_are_found(keys, codes, dump):
    assert wrong(dump(load(), USERS_SIDECAR, jwks=json.dumps({"keys": keys}))) == codes


# Who is asked.


def test_a_port_that_is_not_said_to_be_grpc_is_found(dump):
    services = [*SERVICES[:1], replace(RLS, ports=[Port(8081, 8081, "http")])]

    assert wrong(dump(load(), USERS_SIDECAR, services=services)) == ["not_http2"]


@pytest.mark.parametrize(
    "endpoints",
    [[], [{**endpoint("10.244.1.5", 8081), "health_status": "UNHEALTHY"}]],
    ids=["none", "unhealthy"],
)
def test_a_service_without_ready_pods_is_found(endpoints, dump):
    assert wrong(dump(load(), USERS_SIDECAR, endpoints={TO_RLS: endpoints})) == ["no_endpoints"]


def test_a_dump_without_endpoints_is_not_taken_for_no_endpoints(dump):
    proxy = dump(load(), USERS_SIDECAR, query="")

    assert wrong(proxy) == []
    assert [each.code for each in found(proxy)] == ["no_endpoints_in_dump"]


def a_cluster_of_ones_own(kind):
    """As many pages tell: a cluster that an EnvoyFilter adds, for the address of the Service, without mTLS."""
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": f"type.googleapis.com/{name}", "explicit_http_config": {"http2_protocol_options": {}}}
    made = {"name": OWN, "type": kind, "connect_timeout": "1s", "typed_extension_protocol_options": {name: http2}}
    if kind == "ORIGINAL_DST":
        return {**made, "lb_policy": "CLUSTER_PROVIDED"}
    address = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8081}}}}
    return {**made, "load_assignment": {"cluster_name": OWN, "endpoints": [{"lb_endpoints": [address]}]}}


OWN = "outbound|8081|own|rls.rate-limit.svc.cluster.local"


@pytest.mark.parametrize(
    ("kind", "codes"), [("STRICT_DNS", {"pinned", "plain_cluster"}), ("ORIGINAL_DST", {"original_dst"})]
)
def test_a_cluster_that_istiod_does_not_make_is_found(kind, codes, dump):
    objects = load()
    config(objects)["rate_limit_service"]["grpc_service"]["envoy_grpc"]["cluster_name"] = OWN

    assert set(wrong(dump(objects, USERS_SIDECAR, more_clusters=[a_cluster_of_ones_own(kind)]))) == codes


def test_a_cluster_without_the_certificate_that_rls_asks_for_is_found(dump):
    """Where the dump of the proxy of rls says that it takes mTLS only."""
    objects = load()
    config(objects)["rate_limit_service"]["grpc_service"]["envoy_grpc"]["cluster_name"] = OWN
    users = dump(objects, USERS_SIDECAR, more_clusters=[a_cluster_of_ones_own("STRICT_DNS")])

    codes = wrong(users, dump(objects, RLS_SIDECAR))

    assert codes == ["no_client_certificate", "pinned"]


def test_pods_of_rls_without_a_proxy_that_the_mesh_takes_for_strict_are_found(dump):
    """Their endpoints are not labelled for mTLS, so Envoy sends plain text."""
    plain = [endpoint("10.244.1.5", 8081, mtls=False)]

    assert wrong(dump(load(), USERS_SIDECAR, endpoints={TO_RLS: plain})) == []
    assert wrong(dump(load(), USERS_SIDECAR, endpoints={TO_RLS: plain}), dump(load(), RLS_SIDECAR)) == [
        "no_client_certificate"
    ]


# What can be seen.


def test_hidden_statistics_are_found(dump):
    hidden = mesh_config()
    del hidden["defaultConfig"]

    assert wrong(dump(load(), USERS_SIDECAR, config=hidden)) == ["hidden_statistics"]


def test_an_access_log_without_the_rule_is_a_note(dump):
    objects = load()
    objects.remove(find(objects, "Telemetry", "access-log"))

    assert [each.code for each in found(dump(objects, USERS_SIDECAR))] == ["no_log_of_rules"]


# Several proxies.


def test_shipped_proxies_together_have_no_mistake(dump):
    objects = load()
    proxies = [dump(objects, proxy) for proxy in (GATEWAY, USERS_SIDECAR, RLS_SIDECAR)]

    assert found(*proxies, rules=load_rules([RULES]).rules) == []


def test_limits_at_the_gateway_and_at_sidecars_are_found(dump):
    there = load()
    objects = [*there, *(each for each in load("at-gateway") if each not in there)]

    assert wrong(dump(objects, GATEWAY), dump(objects, USERS_SIDECAR)) == ["counted_at_two_proxies"]


@pytest.mark.parametrize(
    ("components", "proxy"), [((), USERS_SIDECAR), (("waypoint",), WAYPOINT)], ids=["sidecar", "waypoint"]
)
def test_a_proxy_that_takes_the_load_balancer_for_the_client_is_found(components, proxy, dump):
    objects = load(*components)

    assert wrong(dump(objects, behind_load_balancer()), dump(objects, proxy)) == ["balancer_is_client"]


def test_a_proxy_that_lets_clients_choose_their_address_is_found(dump):
    objects = load("behind-load-balancer")

    assert wrong(dump(objects, GATEWAY), dump(objects, USERS_SIDECAR)) == ["client_chooses_address"]
    assert wrong(dump(objects, behind_load_balancer()), dump(objects, USERS_SIDECAR)) == []


def test_a_pod_of_a_version_without_a_filter_is_found(dump):
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
            {"no_rule", "unreachable_rule"},
        ),
        (
            NO_REPLACES,
            {"no_replaces"},
        ),
    ],
    ids=["domain", "keys", "replaces"],
)
def test_rules_that_do_not_go_with_the_filter_are_found(text, codes, dump, tmp_path):
    (tmp_path / "rules.yaml").write_text(text)

    assert set(wrong(dump(load(), USERS_SIDECAR), rules=load_rules([tmp_path / "rules.yaml"]).rules)) == codes


def test_notes_are_no_mistakes(dump):
    objects = load()
    objects.remove(find(objects, "EnvoyFilter", "optional-jwt"))

    assert [(each.severity, each.code) for each in found(dump(objects, USERS_SIDECAR))] == [
        (Severity.NOTE, "invalid_tokens_rejected")
    ]
