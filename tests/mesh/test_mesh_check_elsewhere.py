"""Findings at gateways, at a plain Envoy, and of what a dump does not have; and that no kind of finding lacks a test."""

import copy
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from examples.mesh.envoy import Envoy, EnvoyConfig
from examples.tokens import Issuer
from rls.mesh.catalogue import CATALOGUE
from rls.mesh.dump import read
from rls.mesh.filters import limited
from rls.mesh.findings import Severity
from rls.mesh.model import Kind, Proxy
from rls.mesh.report import lines
from rls.mesh.targets import Target, target
from rls.sources.load import load as load_rules
from tests.mesh.checked import RULES, found, wrong
from tests.mesh.dumps import config_dump
from tests.mesh.manifests import ISTIO, find, load
from tests.mesh.test_mesh_check_mistakes import per_route
from tests.mesh.test_mistakes import config
from tests.mesh.world import GATEWAY, TO_RLS, USERS_SIDECAR, WAYPOINT, rendered

RATE_LIMIT = "envoy.filters.http.ratelimit"


def codes(*proxies, rules=None):
    return [each.code for each in found(*proxies, rules=rules)]


def two_hosts():
    """Limits at the gateway, which has a second host."""
    objects = load("at-gateway")
    for server in find(objects, "Gateway", "mesh", "istio-ingress")["spec"]["servers"]:
        server["hosts"].append("other.example.com")
    other = copy.deepcopy(find(objects, "VirtualService", "users"))
    other["metadata"]["name"] = "other"
    other["spec"]["hosts"] = ["other.example.com"]
    return [*objects, other]


def of_gateway(objects, name="ratelimit"):
    return find(objects, "EnvoyFilter", name, "istio-ingress")["spec"]["configPatches"]


def test_a_virtual_host_without_limits_is_found(dump):
    objects = two_hosts()
    inside = of_gateway(objects)[0]["patch"]["value"]["typed_config"].pop("rate_limits")
    match = {"context": "GATEWAY", "routeConfiguration": {"vhost": {"name": "users.example.com:443"}}}
    value = {"rate_limits": inside}
    of_gateway(objects).append(
        {"applyTo": "VIRTUAL_HOST", "match": match, "patch": {"operation": "MERGE", "value": value}}
    )
    proxy = dump(objects, GATEWAY)

    (each,) = [each for each in found(proxy) if each.severity is not Severity.NOTE]

    assert (each.code, [place.host for place in each.places]) == (
        "some_routes_without_descriptor",
        ["other.example.com:443"],
    )
    text = list(lines([limited(proxy)], []))
    assert text[1:5] == [
        "  counts each request once in the domain mesh, as [company_id] and [remote_address]:",
        "    listener 0.0.0.0_8443, chain for users.example.com, other.example.com, port 8443, virtual host users.example.com:443",
        "  limits nothing:",
        "    listener 0.0.0.0_8443, chain for users.example.com, other.example.com, port 8443, virtual host other.example.com:443",
    ]


def test_a_virtual_host_at_which_the_filter_is_off_is_found(dump):
    objects = two_hosts()
    off = {RATE_LIMIT: {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}}
    match = {"context": "GATEWAY", "routeConfiguration": {"vhost": {"name": "other.example.com:443"}}}
    value = {"typed_per_filter_config": off}
    of_gateway(objects).append(
        {"applyTo": "VIRTUAL_HOST", "match": match, "patch": {"operation": "MERGE", "value": value}}
    )

    assert wrong(dump(objects, GATEWAY)) == ["filter_off_at_route"]


def inbound(listeners):
    """That of a sidecar for what comes in."""
    (found,) = (listener for listener in listeners if listener["name"] == "virtualInbound")
    return found


def managers(listeners):
    """Of chains for requests."""
    return [
        each["typed_config"]
        for listener in listeners
        for chain in listener["filter_chains"]
        for each in chain["filters"]
    ]


def test_a_filter_for_what_the_pod_sends_is_found(dump):
    def outbound(listeners):
        copied = copy.deepcopy(inbound(listeners))
        copied |= {"name": "0.0.0.0_81", "traffic_direction": "OUTBOUND"}
        copied["address"]["socket_address"]["port_value"] = 81
        listeners.append(copied)

    assert wrong(dump(load(), USERS_SIDECAR, edit=outbound)) == ["outbound_limited"]


def test_a_gateway_that_believes_clients_is_found(dump):
    def believe(listeners):
        for manager in managers(listeners):
            manager["use_remote_address"] = False

    assert wrong(dump(load("at-gateway"), GATEWAY, edit=believe)) == ["gateway_trusts_clients"]


def test_filters_for_different_descriptors_are_a_note(dump):
    objects = load()
    again = copy.deepcopy(find(objects, "EnvoyFilter", "ratelimit"))
    again["metadata"]["name"] = "by-another-team"
    actions = [{"request_headers": {"header_name": ":path", "descriptor_key": "path"}}]
    again["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]["rate_limits"] = [{"actions": actions}]
    rules = load_rules([RULES]).rules
    proxy = dump([*objects, again], USERS_SIDECAR)

    assert codes(proxy) == ["two_filters"]
    assert codes(proxy, rules=rules) == ["no_rule", "two_filters"]


def test_a_descriptor_without_a_rule_and_a_domain_that_nobody_sends_are_found(dump, tmp_path):
    objects = load()
    actions = [{"request_headers": {"header_name": ":path", "descriptor_key": "path"}}]
    config(objects)["rate_limits"].append({"actions": actions})
    (tmp_path / "unused.yaml").write_text(
        "domain: unused\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1}}]"
    )
    rules = load_rules([RULES, tmp_path / "unused.yaml"]).rules

    assert codes(dump(objects, USERS_SIDECAR), rules=rules) == ["no_rule_for_descriptor", "unused_domain"]


def test_limits_that_an_old_istiod_drops_from_a_route_are_a_note(dump):
    objects = load()
    per_route()(objects)

    assert codes(dump(objects, USERS_SIDECAR)) == ["empty_override"]


def test_a_port_that_is_no_http_is_a_note(dump):
    """As istiod makes it for a port whose Service does not say its protocol."""
    proxy = dump(load(), USERS_SIDECAR, edit=lambda listeners: inbound(listeners)["filter_chains"].append(tcp(7000)))

    (each,) = found(proxy)

    assert (each.code, each.places[0].port) == ("tcp_port", 7000)


def tcp(port):
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    config_ = {"@type": kind, "stat_prefix": "raw", "cluster": "InboundPassthroughCluster"}
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config_}]
    return {"name": f"0.0.0.0_{port}", "filter_chain_match": {"destination_port": port}, "filters": filters}


def test_another_workload_without_limits_is_a_note(dump):
    objects = load()
    find(objects, "EnvoyFilter", "ratelimit")["spec"]["workloadSelector"] = {"labels": dict(USERS_SIDECAR.labels)}
    other = replace(USERS_SIDECAR, service_account="batch", labels={"app.kubernetes.io/name": "batch"})

    assert codes(dump(objects, USERS_SIDECAR), dump(objects, other)) == ["unlimited_pods"]


def test_keys_that_envoy_fetches_by_a_missing_cluster_are_found(dump):
    uri = {"uri": "https://tokens.example.com/jwks", "cluster": "outbound|443||tokens.example.com", "timeout": "5s"}

    def fetch(listeners):
        for manager in managers([inbound(listeners)]):
            (jwt,) = (each for each in manager["http_filters"] if each["name"].endswith("jwt_authn"))
            (provider,) = jwt["typed_config"]["providers"].values()
            del provider["local_jwks"]
            provider["remote_jwks"] = {"http_uri": uri}

    assert wrong(dump(load(), USERS_SIDECAR, edit=fetch)) == ["keys_cluster"]


def test_a_service_that_is_no_cluster_is_a_note(dump):
    objects = load()
    target = {"target_uri": "rls.rate-limit:8081", "stat_prefix": "rls"}
    config(objects)["rate_limit_service"]["grpc_service"] = {"google_grpc": target}

    assert codes(dump(objects, USERS_SIDECAR)) == ["unknown_service"]


def test_with_fail_closed_what_cannot_be_asked_is_500(dump):
    (each,) = found(dump(load("fail-closed"), USERS_SIDECAR, endpoints={TO_RLS: []}))

    assert each.code == "no_endpoints"
    assert each.traffic == "each call to rls fails: every request gets 500 (failure_mode_deny)"


def test_a_dump_without_routes_says_what_it_lacks(tmp_path):
    whole = json.loads(config_dump(rendered(load("at-gateway"), GATEWAY, jwks=Issuer().jwks()), tmp_path))
    whole["configs"] = [each for each in whole["configs"] if "Routes" not in each["@type"]]

    assert "no_routes" in wrong(read(json.dumps(whole), "gateway.json"))


@pytest.mark.parametrize(
    ("components", "proxy", "kind"), [((), USERS_SIDECAR, "sidecar"), (("waypoint",), WAYPOINT, "waypoint")]
)
def test_a_dump_without_the_bootstrap_is_known_by_its_listeners(components, proxy, kind, tmp_path):
    whole = json.loads(config_dump(rendered(load(*components), proxy, jwks=Issuer().jwks()), tmp_path))
    whole["configs"] = [each for each in whole["configs"] if "Bootstrap" not in each["@type"]]

    seen = read(json.dumps(whole), "dump.json")

    assert (seen.kind, wrong(seen)) == (kind, [])


def test_pods_that_are_alike_are_one_finding(dump):
    pods = [replace(dump(load(), USERS_SIDECAR, endpoints={TO_RLS: []}), name=f"users-{number}") for number in range(3)]

    (each,) = found(*pods)
    text = list(lines([limited(pod) for pod in pods], [each]))

    assert each.proxies == ("sidecar users/users-0", "sidecar users/users-1", "sidecar users/users-2")
    assert [line for line in text if line.startswith("sidecar")] == [
        f"sidecar users/users-{number}, Istio 1.31.0, from sidecar.json" for number in range(3)
    ]
    assert text[-6].startswith("error no_endpoints: sidecar users/users-0 and 2 more: ")
    assert sum("counts each request once" in line for line in text) == 1


def test_a_plain_envoy_is_understood(tmp_path):
    """One without istiod: its listeners, clusters and routes are static. It checks the health of rls, and nobody is there."""
    plain = EnvoyConfig(users=1, rls=[2], jwks=Issuer().jwks(), access_log=tmp_path / "access.log")
    with Envoy(plain, tmp_path) as envoy:
        proxy = read(envoy.admin("/config_dump?include_eds").body, "envoy.json")

    assert wrong(proxy) == ["no_endpoints"]
    assert list(lines([limited(proxy)], []))[:3] == [
        "envoy envoy.json, from envoy.json",
        "  counts each request once in the domain users, as [company_id] and [remote_address]:",
        "    listener inbound",
    ]


def test_each_file_to_change_is_there():
    """Of every kind of proxy, before and since Istio 1.28."""
    proxies = [Proxy("", kind, "", "", "", version) for kind, version in product(Kind, ("1.24.0", "1.31.0"))]
    named = {target(wanted, proxy)[1] for wanted, proxy in product(Target, proxies)}
    files = {name for name in named if name.startswith(("istio/", "k8s/"))}

    assert len(files) > 10
    assert [name for name in sorted(files) if not (ISTIO.parent / name).exists()] == []


def test_each_kind_of_finding_is_made_by_a_test():
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_mesh_check*.py"))

    assert [code for code in CATALOGUE if f'"{code}"' not in texts] == []
