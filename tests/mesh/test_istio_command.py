"""`rls istio`: what it writes for the rules and the mesh of this project is what `istio/` has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from rls.cli import app, istio_words
from tests.mesh.manifests import Object, find, load, of

ROOT = Path(__file__).parents[2]
RULES = """\
domain: shop
descriptors:
  - key: company_id
    rate_limit: {unit: minute, requests_per_unit: 100}
    descriptors:
      - key: path
        value: /checkout
        rate_limit: {unit: minute, requests_per_unit: 5}
      - key: path
        rate_limit: {unit: minute, requests_per_unit: 50}
  - key: generic_key
    value: everybody
    rate_limit: {unit: second, requests_per_unit: 1000}
  - key: tier
    value: gold
    descriptors:
      - key: api_key
        rate_limit: {unit: minute, requests_per_unit: 7}
"""


def istio(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["istio", *words])


def written(*words: str) -> list[Object]:
    result = istio(*words)
    assert result.exit_code == 0, result.output
    return list(yaml.safe_load_all(result.output))


@pytest.fixture
def rules(tmp_path: Path) -> str:
    (tmp_path / "rules.yaml").write_text(RULES)
    return str(tmp_path / "rules.yaml")


@pytest.mark.parametrize(
    ("at", "component"), [("sidecar", ""), ("gateway", "at-gateway"), ("waypoint", "waypoint")], ids=lambda one: one
)
def test_for_our_rules_it_writes_our_files(at: str, component: str) -> None:
    """Those that the matrix runs in real Envoys: docs/istio.md."""
    shipped = of(load(*([component] if component else [])), "EnvoyFilter")
    expected = [one for one in shipped if one["metadata"]["name"].startswith("ratelimit")]
    made = written(str(ROOT / "config" / "descriptors.yaml"), "--claim", "company_id=company_id", "--at", at)

    def by_name(objects: list[Object]) -> list[Object]:
        return sorted(objects, key=lambda one: str(one["metadata"]["name"]))

    assert by_name(made) == by_name(expected)


@pytest.mark.parametrize(("version", "name"), [("1.27.3", "ratelimit-istio-1.27"), ("1.28", "ratelimit")])
def test_one_version_of_istio(rules: str, version: str, name: str) -> None:
    sources = ("--claim", "company_id=company_id", "--constant", "tier", "--header", "api_key=x-api-key")
    (only,) = written(rules, *sources, "--istio", version)
    assert only["metadata"]["name"] == name


def test_each_descriptor_that_a_rule_matches_is_sent_once(rules: str) -> None:
    sources = ("--claim", "company_id=org.company", "--constant", "tier", "--query", "api_key=key")
    new, _ = written(rules, *sources, "--fail-closed", "--timeout", "50ms", "--service", "rls.limits.svc:9000")
    config = new["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]
    claim = {
        "metadata": {
            "descriptor_key": "company_id",
            "source": "DYNAMIC",
            "metadata_key": {
                "key": "envoy.filters.http.jwt_authn",
                "path": [{"key": "payload"}, {"key": "org"}, {"key": "company"}],
            },
        }
    }
    path = {"request_headers": {"header_name": ":path", "descriptor_key": "path"}}
    gold = {"generic_key": {"descriptor_key": "tier", "descriptor_value": "gold"}}
    key = {"query_parameters": {"query_parameter_name": "key", "descriptor_key": "api_key"}}
    assert config["rate_limits"] == [
        {"actions": [claim]},
        {"actions": [claim, path]},
        {"actions": [{"generic_key": {"descriptor_value": "everybody"}}]},
        {"actions": [gold, key]},
    ]
    assert (config["domain"], config["timeout"], config["failure_mode_deny"]) == ("shop", "0.05s", True)
    grpc = config["rate_limit_service"]["grpc_service"]
    assert grpc["retry_policy"]["retry_back_off"]["max_interval"] == "0.04s", "it leaves time for the second try"
    assert grpc["envoy_grpc"]["cluster_name"] == "outbound|9000||rls.limits.svc.cluster.local"


def test_names_of_claims_may_have_dots(rules: str) -> None:
    """Identity providers name their own claims by addresses."""
    sources = ("--claim", r"company_id=org.https://a\.example/company", "--constant", "tier", "--query", "api_key=key")
    new, _ = written(rules, *sources)
    limits = new["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]["rate_limits"]
    steps = [each["key"] for each in limits[0]["actions"][0]["metadata"]["metadata_key"]["path"]]
    assert steps == ["payload", "org", "https://a.example/company"]


def test_a_gateway_and_a_waypoint_of_other_names(rules: str) -> None:
    sources = ("--claim", "company_id=c", "--header", "tier=x-tier", "--header", "api_key=x-key", "-n", "edge")
    gateway = written(rules, *sources, "--at", "gateway", "--workload", "app=edge,istio=edge")
    assert gateway[0]["spec"]["workloadSelector"] == {"labels": {"app": "edge", "istio": "edge"}}
    assert {one["metadata"]["namespace"] for one in gateway} == {"edge"}
    (waypoint, _) = written(rules, *sources, "--at", "waypoint", "--workload", "edge")
    assert waypoint["spec"]["targetRefs"][0]["name"] == "edge"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing says where Envoy gets company_id, tier, api_key from: expected --claim company_id=CLAIM, "),
        (("--claim", "company_id"), "--claim is 'company_id': expected KEY=NAME"),
        (("--at", "pod"), "--at is 'pod': expected sidecar or gateway or waypoint"),
        (("--domain", "mesh"), "--domain is 'mesh': expected one of the rules: shop"),
        (("--service", "rls"), "--service is 'rls': expected NAME.NAMESPACE.svc, such as rls.rate-limit.svc:8081"),
        (("--service", "rls.limits.svc:99999"), "--service is 'rls.limits.svc:99999': expected NAME.NAMESPACE.svc"),
        (("--service", "rls.My_NS.svc"), "--service is 'rls.My_NS.svc': expected NAME.NAMESPACE.svc"),
        (("--timeout", "fast"), "--timeout is 'fast': expected a duration such as 10ms, 5s or 1m30s"),
        (("--timeout", "5m"), "--timeout is '5m': expected from 2ms to 60s, for so long a proxy holds each request"),
        (("--timeout", "0ms"), "--timeout is '0ms': expected from 2ms to 60s"),
        (("--at", "gateway", "--workload", "edge"), "--workload is 'edge': expected LABEL=NAME"),
        (("--at", "gateway", "--workload", "a=b c"), "--workload is 'a=b c': expected LABEL=NAME"),
        (("--at", "waypoint", "--workload", "a=b"), "--workload is 'a=b': expected the name of the waypoint's Gateway"),
        (("--workload", "foo"), "--workload is 'foo': expected it with --at gateway or --at waypoint"),
        (("--namespace", "Bad_NS"), "--namespace is 'Bad_NS': expected a namespace of Kubernetes"),
        (("--header", "tier=x y"), "--header is 'tier=x y': expected KEY=HEADER with the name of a header"),
        (("--header", "tier=:tier"), "--header is 'tier=:tier': expected KEY=HEADER with the name of a header"),
        (("--claim", "tier=a..b"), "--claim is 'tier=a..b': expected KEY=CLAIM, or KEY=A.B for the claim B in A"),
        (("--query", "tier=a", "--query", "tier=b"), "--query is 'tier=b': expected tier once, it is a already"),
        (("--query", "tier=a", "--claim", "tier=b"), "--claim and --query name tier: expected one of them"),
        (("--header", "generic_key=x"), "generic_key has the rules' values: expected no option for it"),
    ],
)
def test_mistakes(rules: str, words: tuple[str, ...], said: str) -> None:
    result = istio(rules, *words)
    assert result.exit_code == 2
    assert f"rls: {said}" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--istio", "next"), "--istio is 'next': expected a version of Istio, such as 1.28"),
        (("--istio", "1.26", "--at", "waypoint"), "expected 1.27 or newer, whose waypoints take filters"),
    ],
)
def test_versions_that_cannot_be(words: tuple[str, ...], said: str) -> None:
    result = istio(str(ROOT / "config" / "descriptors.yaml"), "--claim", "company_id=company_id", *words)
    assert result.exit_code == 2
    assert said in result.stderr


SOURCES = ("--claim", "company_id=company_id", "--constant", "tier", "--header", "api_key=x-api-key")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--istio", "1.99"), "Istio 1.99 was not tried, 1.24 to 1.31 were: see docs/istio.md"),
        (("--istio", "1.31"), ""),
        (
            ("--query", "nope=x"),
            "--query nope has no effect: the rules have no key nope, they have api_key, company_id, generic_key, path, tier",
        ),
    ],
)
def test_what_is_odd_is_said_and_written(rules: str, words: tuple[str, ...], said: str) -> None:
    result = istio(rules, *SOURCES, *words)
    assert result.exit_code == 0
    assert result.stderr == (f"rls: warning: {said}\n" if said else "")
    assert list(yaml.safe_load_all(result.stdout))


def test_the_versions_that_were_tried_are_those_of_the_page() -> None:
    (heading,) = [
        line for line in (ROOT / "docs" / "istio.md").read_text().splitlines() if line.startswith("| limits at |")
    ]
    minors = [int(minor) for minor in re.findall(r"\b1\.(\d+) \|", heading)]
    assert (min(minors), max(minors)) == istio_words.TRIED


def test_a_header_for_a_key_that_has_an_action_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES.replace("company_id", "remote_address"))
    new, _ = written(str(path), "--constant", "tier", "--query", "api_key=key", "--header", "remote_address=x-client")
    limits = new["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]["rate_limits"]
    assert limits[0] == {
        "actions": [{"request_headers": {"header_name": "x-client", "descriptor_key": "remote_address"}}]
    }


def test_rules_without_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("domain: shop\ndescriptors: []\n")
    result = istio(str(tmp_path / "rules.yaml"))
    assert result.exit_code == 2
    assert "the domain shop has no rules: expected one at least" in result.stderr


def test_rules_with_mistakes(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("domain: [")
    result = istio(str(tmp_path / "rules.yaml"))
    assert result.exit_code == 2
    assert f"rls: {tmp_path}/rules.yaml:2:1: nothing where a value must be, expected one\n" == result.stderr


def test_a_constant_needs_values_in_the_rules() -> None:
    result = istio(str(ROOT / "config" / "descriptors.yaml"), "--constant", "company_id")
    assert result.exit_code == 2
    assert "nothing says where Envoy gets company_id from" in result.stderr


def test_the_files_name_the_same_objects_as_the_page() -> None:
    """The names above are those of `istio/`, so that one replaces the other."""
    assert find(load(), "EnvoyFilter", "ratelimit")
    assert find(load("at-gateway"), "EnvoyFilter", "ratelimit", "istio-ingress")
    assert find(load("waypoint"), "EnvoyFilter", "ratelimit-waypoint")
