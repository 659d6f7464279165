"""One rule through all places that name it: they agree, or can be joined by metrics."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from rls.api.client import Client
from rls.api.messages import Answer
from rls.cli import app
from tests.otlp import Received, attributes, http_receiver
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    value: acme
    value_to_metric: true
    rate_limit: {name: company-acme, unit: year, requests_per_unit: 2}
  - key: company_id
    value_to_metric: true
    rate_limit: {unit: year, requests_per_unit: 2}
"""
SHOWN = ("--limited-by-header", "x-limited-by", "--problem-json", "--ietf-headers", "--log-format", "json")


@pytest.fixture(scope="module")
def collector() -> Iterator[Received]:
    with http_receiver() as received:
        yield received


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Received) -> Iterator[RlsProcess]:
    folder = tmp_path_factory.mktemp("rls")
    logged = ("--decision-log", str(folder / "decisions"))
    env = collector.variables | {"OTEL_TRACES_SAMPLER": "always_on"}
    with RlsProcess(folder, *SHOWN, *logged, rules=RULES, env=env) as process:
        yield process


@pytest.fixture(scope="module")
def identity(server: RlsProcess) -> dict[str, str]:
    """What the rule must be called."""
    return {"domain": "mesh", "rule": "company_id_acme", "name": "company-acme", "place": f"{server.rules}:3"}


@pytest.fixture(scope="module")
def refused(server: RlsProcess) -> Answer:
    with Client(server.addresses["grpc"]) as client:
        asked = request(descriptor(("company_id", "acme")), domain="mesh")
        *_, last = [client.check(asked, timeout=10) for _ in range(3)]
    assert last.code == "OVER_LIMIT"
    return last


def series(server: RlsProcess, name: str, **labels: str) -> list[Mapping[str, str]]:
    """The labels of the series of that *name* that have *labels*."""
    return [
        sample.labels
        for family in text_string_to_metric_families(server.get("/metrics").body.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def test_the_access_logs_metadata(refused: Answer, identity: dict[str, str]) -> None:
    assert {key: refused.metadata.get(key) for key in identity} == identity


def test_headers_and_the_body_of_a_refusal(refused: Answer, identity: dict[str, str]) -> None:
    headers, body = dict(refused.headers), json.loads(refused.raw_body)
    assert headers["x-limited-by"] == identity["rule"]
    assert (body["domain"], body["rule"]) == (identity["domain"], identity["rule"])
    assert body["violated-policies"] == [identity["name"]]
    assert headers["RateLimit-Policy"].startswith(f'"{identity["name"]}";')
    limit = refused.statuses[0].limit
    assert limit is not None
    assert limit.name == identity["name"]


@pytest.mark.usefixtures("refused")
def test_metrics_join_all_names(server: RlsProcess, identity: dict[str, str]) -> None:
    path, _, line = identity["place"].rpartition(":")
    own = {key: identity[key] for key in ("domain", "rule")}
    assert series(server, "rls_rule_info", **own) == [own | {"name": identity["name"], "file": path, "line": line}]
    for name in (
        "rls_hits_total",
        "rls_over_limit_total",
        "rls_rule_limit",
        "rls_rule_last_over_limit_timestamp_seconds",
    ):
        assert series(server, name, **own) == [own], name


def test_the_rules_in_force(server: RlsProcess, identity: dict[str, str]) -> None:
    found = server.get("/rlconfig?format=json", of="admin").json()
    assert identity in [{key: one[key] for key in identity} for one in found]
    text = server.get("/rlconfig", of="admin").body.decode()
    assert f"{identity['domain']}.{identity['rule']}: " in text


@pytest.mark.usefixtures("refused")
def test_the_decision_log(server: RlsProcess, identity: dict[str, str]) -> None:
    file = server.rules.with_name("decisions")
    server.wait_until(lambda: '"over_limit"' in file.read_text(), "the refusal is logged")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert next({key: line[key] for key in identity} for line in lines if line["outcome"] == "over_limit") == identity


@pytest.mark.usefixtures("refused")
def test_spans(server: RlsProcess, collector: Received, identity: dict[str, str]) -> None:
    def found() -> list[dict[str, object]]:
        spans = [attributes(span.attributes) for span in collector.spans]
        return [one for one in spans if one.get("rls.domain") and one.get("rls.outcome") == "over_limit"]

    first = server.wait_until(found, "the span of the refusal has come")[0]
    names = {"domain": "rls.domain", "rule": "rls.rule", "name": "rls.rule.name", "place": "rls.rule.place"}
    assert {key: first[name] for key, name in names.items()} == identity


def test_the_log_of_a_load(tmp_path: Path) -> None:
    with RlsProcess(tmp_path, *SHOWN, rules=RULES) as server:
        server.rules.write_text(RULES.replace("requests_per_unit: 2", "requests_per_unit: 3", 1))
        known = f"mesh company_id_acme (company-acme) at {server.rules}:3"
        server.wait_until(lambda: f"changed {known}" in server.output(), "the log has the change")


@pytest.mark.usefixtures("refused")
def test_what_rls_call_says(server: RlsProcess, identity: dict[str, str]) -> None:
    result = CliRunner().invoke(app, ["call", server.addresses["grpc"], "--domain", "mesh", "company_id=acme"])
    known = f"{identity['domain']} {identity['rule']} ({identity['name']}) at {identity['place']}"
    assert f"limited by rule {known}, at descriptor company_id=acme" in result.stdout


def test_a_value_that_makes_a_rules_path_has_a_label_of_its_own(server: RlsProcess) -> None:
    """A client chooses its values, and shall not speak for a rule."""
    with Client(server.addresses["grpc"]) as client:
        client.check(request(descriptor(("company_id", "acme.x")), domain="mesh"), timeout=10)
    found = series(server, "rls_hits_total", rule="company_id")
    assert {"domain": "mesh", "rule": "company_id", "value": "company_id_acme.x"} in found
    page = server.get("/metrics").body.decode()
    lines = [line.rpartition(" ")[0] for line in page.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))
    assert not re.search(r'rule="company_id_acme\.x"', page)


def test_a_mistake_in_a_rule_names_its_place(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES.replace("requests_per_unit: 2", "requests_per_unit: -2", 1))
    result = CliRunner().invoke(app, ["check", str(file)])
    assert f"{file}:5:" in result.output + result.stderr
