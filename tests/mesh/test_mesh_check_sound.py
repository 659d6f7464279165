"""What looks like a mistake and is none, and what configurations of others say: read as Envoy reads them."""

import copy
from dataclasses import replace

import pytest

from rls.core.match import match as core_match
from rls.core.model import Entry
from rls.mesh.checks.rules import rules_for
from rls.sources.load import load as load_rules
from tests.mesh.checked import RULES, found, wrong
from tests.mesh.manifests import find, load
from tests.mesh.test_mistakes import config, patch
from tests.mesh.world import USERS_SIDECAR

RULE_SET = load_rules([RULES]).rules


def test_two_limits_that_exclude_each_other_by_a_header_leave_no_request_out(dump):
    """Company by a header that jwt_authn writes from the claim, else address: the form for servers without `replaces`."""
    present = {"name": "x-company", "present_match": True}
    absent = {"descriptor_value": "none", "expect_match": False, "headers": [present]}
    company = {"actions": [{"request_headers": {"header_name": "x-company", "descriptor_key": "company_id"}}]}
    objects = load()
    config(objects)["rate_limits"] = [company, {"actions": [{"header_value_match": absent}, {"remote_address": {}}]}]

    assert wrong(dump(objects, USERS_SIDECAR)) == []


def old_filter(objects, **per_route):
    """With limits on virtual hosts, and what a route says of them."""
    kind = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"
    value = patch("ratelimit-istio-1.27", 1)(objects)["patch"]["value"]
    value["typed_per_filter_config"] = {"envoy.filters.http.ratelimit": {"@type": kind, **per_route}}


@pytest.mark.parametrize(("option", "codes"), [("INCLUDE", []), ("OVERRIDE", []), ("IGNORE", ["no_descriptor"])])
def test_limits_of_virtual_hosts_are_as_the_route_says(option, codes, dump):
    objects = load()
    old_filter(objects, vh_rate_limits=option)

    assert wrong(dump(objects, replace(USERS_SIDECAR, version="1.27.0"))) == codes


def test_the_domain_of_a_route_wins(dump):
    objects = load()
    old_filter(objects, domain="other")

    (text,) = (each.message for each in found(dump(objects, replace(USERS_SIDECAR, version="1.27.0")), rules=RULE_SET))

    assert text == "the rules have no domain other; they have mesh"


@pytest.mark.parametrize(
    ("matcher", "codes"),
    [
        ({"reject_all": True}, ["hidden_statistics"]),
        ({"exclusion_list": {"patterns": [{"contains": ".ratelimit."}]}}, ["hidden_statistics"]),
        ({"exclusion_list": {"patterns": [{"suffix": "ratelimit.OK", "ignore_case": True}]}}, ["hidden_statistics"]),
        ({"exclusion_list": {"patterns": [{"exact": "server.live"}]}}, []),
        ({"inclusion_list": {"patterns": [{"prefix": "cluster.inbound"}, {"prefix": "cluster.Inbound"}]}}, []),
    ],
)
def test_statistics_are_matched_as_envoy_does(matcher, codes, dump):
    assert wrong(dump(load(), USERS_SIDECAR, changed={"stats_config": {"stats_matcher": matcher}})) == codes


FIXED = """\
domain: mesh
descriptors:
  - key: plan
    value: gold
    rate_limit: {unit: day, requests_per_unit: 1}
  - key: plan
    value: "s*"
    rate_limit: {unit: day, requests_per_unit: 2}
  - key: plan
    rate_limit: {unit: day, requests_per_unit: 3}
  - key: zone
    value: a
    descriptors:
      - key: plan
        rate_limit: {unit: day, requests_per_unit: 4}
"""


def test_fixed_values_reach_the_rule_that_a_request_reaches(tmp_path):
    (tmp_path / "rules.yaml").write_text(FIXED)
    domain = load_rules([tmp_path / "rules.yaml"]).rules.domains["mesh"]
    shapes = [(("plan", "gold"),), (("plan", "silver"),), (("plan", "bronze"),), (("zone", "a"), ("plan", "x"))]

    for shape in shapes:
        match = core_match(domain, tuple(Entry(*entry) for entry in shape))
        assert match is not None
        assert rules_for(domain, shape) == {match.rule}
    assert rules_for(domain, (("zone", "b"), ("plan", None))) == set()
    assert len(rules_for(domain, (("plan", None),))) == 3


def test_a_filter_of_another_team_is_no_mistake(dump):
    """It asks a service of its own, and only about some requests; ours limits the others."""
    objects = load()
    theirs = copy.deepcopy(patch("ratelimit")(objects))
    value = theirs["patch"]["value"]
    value["name"] = "team.ratelimit"
    value["typed_config"] |= {
        "domain": "team",
        "rate_limits": [{"actions": [{"request_headers": {"header_name": "x-key", "descriptor_key": "key"}}]}],
    }
    service = {"envoy_grpc": {"cluster_name": "outbound|8081||limits.team.svc.cluster.local"}}
    value["typed_config"]["rate_limit_service"]["grpc_service"] |= service
    find(objects, "EnvoyFilter", "ratelimit")["spec"]["configPatches"].append(theirs)
    proxy = dump(objects, USERS_SIDECAR)
    to_rls = proxy.clusters["outbound|8081||rls.rate-limit.svc.cluster.local"]
    name = service["envoy_grpc"]["cluster_name"]
    proxy = replace(proxy, clusters={**proxy.clusters, name: replace(to_rls, name=name)})

    assert [each.code for each in found(proxy, rules=RULE_SET)] == ["two_filters"]
