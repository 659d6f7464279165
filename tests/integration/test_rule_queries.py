"""Every expression of k8s/alerts, asked of a real Prometheus that scrapes a real server, and compared with what the test counted.

The expressions are taken as they are. Their windows begin before the server did, so they see every call of the test.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from rls.api.client import Client, UnansweredError
from tests.alerts.rules import alerts, groups
from tests.alerts.running import Prometheus
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    detailed_metric: true
    rate_limit: {unit: year, requests_per_unit: 5}
  - key: path
    shadow_mode: true
    rate_limit: {unit: year, requests_per_unit: 2}
  - key: remote_address
    rate_limit: {unit: year, requests_per_unit: 1000}
"""
LIMIT = 5
"""Of a company."""
SLOW = 5
"""Checks that Redis answers late."""
STRETCH = 0.25
"""Prometheus stretches the rate of a series towards the ends of its window, but not below 0: by what it was, and how old."""
GOAL = 0.01
"""Seconds that a check may take."""
RECORDED = {rule["record"]: rule["expr"].strip() for group in groups() for rule in group["rules"] if "record" in rule}
ALERTS = {alert.name: alert.rule["expr"] for alert in alerts()}
PLACE = {"job": "rls", "namespace": "rate-limit"}


def inlined(expression: str) -> str:
    """With the expressions of recorded series in their place, as they are only recorded from now on."""
    for name in sorted(RECORDED, key=len, reverse=True):
        expression = re.sub(rf"(?<![\w:]){name}(?![\w:\[])", f"({RECORDED[name]})", expression)
    return expression


def queries_of_the_page() -> list[str]:
    """What the runbooks ask of Prometheus: lines of `promql`, and expressions in the text."""
    page = OPERATIONS.read_text().partition("\n### Runbooks\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```promql\n(.*?)```", page, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    words = re.findall(r"`((?:rate|topk|sum|count|histogram_quantile)\([^`]+|\w+:rls_[^`]+|rls_\w+[ {][^`]*)`", page)
    return sorted({*lines, *words})


class Counted(NamedTuple):
    """What the test saw itself.

    Attributes:
        hits: By rule, or by value; without those of each value up to its first refusal, with which its series began.
        refused: As *hits*.
        seconds: Of all checks.
    """

    prometheus: Prometheus
    redis: RedisServer
    process: RlsProcess
    hits: Counter[str]
    refused: Counter[str]
    seconds: list[float]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    """A server that has answered some checks, the last of which Prometheus has seen."""
    folder = tmp_path_factory.mktemp("queries")
    with ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(folder, redis_binary())))
        options = ("--backend", redis.url, "--backend-timeout", "5s", "--max-concurrency", "0")
        process = stack.enter_context(RlsProcess(folder, *options, rules=RULES))
        targets = {process.addresses["http"]: PLACE | {"pod": "rls-1"}}
        prometheus = stack.enter_context(Prometheus(folder / "prometheus", targets))
        # It sees the counters of rules at 0 first.
        prometheus.wait_until(lambda: prometheus.value("rls_build_info") == 1, "it has scraped")
        client = stack.enter_context(Client(process.addresses["grpc"]))
        seen = Counted(prometheus, redis, process, Counter(), Counter(), [])
        for company in ("acme", "zeta"):
            asked = request(descriptor(("company_id", company)), domain="mesh")
            for _ in range(LIMIT + 1):
                seen.seconds.append(client.check(asked, timeout=10).seconds)
        scraped(prometheus, "rls_requests_total", len(seen.seconds))
        samples(prometheus, 6)
        plan = [("company_id", "acme", 40), ("company_id", "zeta", 10), ("path", "/", 8), ("remote_address", "::1", 20)]
        for key, value, times in plan:
            for _ in range(times):
                answer = client.check(request(descriptor((key, value)), domain="mesh"), timeout=10)
                seen.seconds.append(answer.seconds)
                name = f"{key}_{value}" if key == "company_id" else key
                seen.hits[name] += 1
                seen.refused[name] += answer.code == "OVER_LIMIT"
        for number in range(SLOW):  # Redis takes 50 ms for each of these
            redis.suspend()
            timer = threading.Timer(0.05, redis.resume)
            timer.start()
            answer = client.check(request(descriptor(("remote_address", str(number))), domain="mesh"), timeout=10)
            timer.join()
            seen.seconds.append(answer.seconds)
            seen.hits["remote_address"] += 1
        scraped(prometheus, "rls_requests_total", len(seen.seconds))
        samples(prometheus, 12)
        yield seen


def samples(prometheus: Prometheus, number: int) -> None:
    """Wait until each value has so many: the more there are, the less a rate is stretched."""
    expression = 'min(count_over_time(rls_over_limit_total{value!=""}[5m]))'
    prometheus.wait_until(lambda: (prometheus.value(expression) or 0) >= number, f"{number} samples", 60)


def scraped(prometheus: Prometheus, metric: str, expected: float) -> None:
    prometheus.wait_until(lambda: prometheus.value(f"sum({metric})") == expected, f"it has seen {expected} of {metric}")


@pytest.mark.parametrize("name", [*RECORDED, *ALERTS])
def test_prometheus_answers(name: str, counted: Counted) -> None:
    """Also where nothing is found: that is no error."""
    counted.prometheus.query(inlined((RECORDED | ALERTS)[name]))


@pytest.mark.parametrize("query", queries_of_the_page())
def test_prometheus_answers_what_runbooks_ask(query: str, counted: Counted) -> None:
    counted.prometheus.query(inlined(query))


def test_no_rule_fails_where_it_runs(counted: Counted) -> None:
    prometheus = counted.prometheus
    prometheus.wait_until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()), "all rules have run")
    assert len(prometheus.rules()) == len(RECORDED) + len(ALERTS)


def by(prometheus: Prometheus, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The values of *expression* by these labels."""
    return {
        tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1])
        for one in prometheus.query(inlined(expression))
    }


def is_rate_of(rate: float, number: float) -> bool:
    """Whether *number* in five minutes is that rate, which Prometheus stretches: by up to a scrape at each end."""
    return number <= rate * 300 * (1 + 1e-9) <= 3 * number


def test_refused_hits_are_those_that_were_refused(counted: Counted) -> None:
    """A rule in shadow mode refuses nothing."""
    refused = by(counted.prometheus, "job_rule:rls_refused_hits:rate5m", "rule", "value")
    hits = by(counted.prometheus, "job_rule:rls_hits:rate5m", "rule", "value")
    names = {
        ("company_id", "company_id_acme"): "company_id_acme",
        ("company_id", "company_id_zeta"): "company_id_zeta",
        ("path", ""): "path",
        ("remote_address", ""): "remote_address",
    }
    assert {key for key, value in hits.items() if value} == set(names)
    assert counted.refused["company_id_acme"] == 40
    for key, name in names.items():
        assert refused[key] / hits[key] == pytest.approx(counted.refused[name] / counted.hits[name], rel=STRETCH)
        assert is_rate_of(hits[key], counted.hits[name])


def test_the_tenant_that_hammers_has_its_share(counted: Counted) -> None:
    expression = ALERTS["RlsTenantHammers"].replace("> 1\n", "> 0\n")
    assert expression != ALERTS["RlsTenantHammers"]
    shares = by(counted.prometheus, expression, "domain", "rule", "value")
    expected = counted.refused["company_id_acme"] / counted.refused.total()
    assert shares == {("mesh", "company_id", "company_id_acme"): pytest.approx(expected, rel=STRETCH)}


def test_the_share_of_slow_checks_is_that_of_the_checks_that_were_slow(counted: Counted) -> None:
    """The server cannot be slower than its client saw it, and was as slow as Redis."""
    slow = by(counted.prometheus, "job:rls_checks_slow:ratio_rate5m", "job")[("rls",)]
    most = sum(seconds > GOAL for seconds in counted.seconds)
    assert SLOW / len(counted.seconds) - 1e-9 <= slow <= most / len(counted.seconds) + 1e-9


def test_checks_are_all_counted(counted: Counted) -> None:
    assert counted.prometheus.value("sum(rls_check_duration_seconds_count)") == len(counted.seconds)
    assert is_rate_of(by(counted.prometheus, "job:rls_checks:rate5m", "job")[("rls",)], len(counted.seconds))


def test_a_rule_is_near_its_limit_as_far_as_its_counters_are(counted: Counted) -> None:
    near = by(counted.prometheus, ALERTS["RlsNearLimit"], "rule")
    expected = {
        ("company_id",): (counted.hits["company_id_acme"] + LIMIT + 1) / LIMIT,
        ("path",): counted.hits["path"] / 2,
    }
    assert near == pytest.approx(expected)


def test_company_hits_are_those_of_companies(counted: Counted) -> None:
    companies = by(counted.prometheus, "job_domain:rls_company_hits:rate15m", "domain")[("mesh",)]
    everything = counted.prometheus.value("sum(rate(rls_hits_total[15m]))")
    assert everything is not None
    own = counted.hits["company_id_acme"] + counted.hits["company_id_zeta"]
    assert companies / everything == pytest.approx(own / counted.hits.total(), rel=STRETCH)


def test_redis_is_as_slow_as_it_was(counted: Counted) -> None:
    """More than a hundredth of the checks waited for 50 ms."""
    ((_, seconds),) = by(counted.prometheus, ALERTS["RlsRedisSlow"], "job").items()
    assert 0.02 < seconds <= 0.1


def test_the_share_of_unanswered_calls_is_that_of_errors(tmp_path: Path) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(tmp_path, redis_binary())))
        options = ("--backend", redis.url, "--on-backend-error", "error", "--max-concurrency", "0")
        process = stack.enter_context(RlsProcess(tmp_path, *options, "--backend-timeout", "5s", rules=RULES))
        targets = {process.addresses["http"]: PLACE | {"pod": "rls-1"}}
        prometheus = stack.enter_context(Prometheus(tmp_path / "prometheus", targets))
        prometheus.wait_until(lambda: prometheus.value("rls_build_info") == 1, "it has scraped")
        client = stack.enter_context(Client(process.addresses["grpc"]))
        asked = request(descriptor(("remote_address", "::1")), domain="mesh")
        for _ in range(30):
            client.check(asked, timeout=10)
        redis.kill()
        process.wait_until(lambda: process.get("/readyz").status == 503, "it misses Redis")
        failed = 0
        for _ in range(10):
            with pytest.raises(UnansweredError):
                client.check(asked, timeout=10)
            failed += 1
        with pytest.raises(UnansweredError, match="INVALID_ARGUMENT"):
            client.check(request(domain="mesh"), timeout=10)
        scraped(prometheus, "rls_request_errors_total", failed + 1)

        unanswered = by(prometheus, "job:rls_checks_unanswered:ratio_rate5m", "job")
        assert unanswered == {("rls",): pytest.approx(failed / (30 + failed))}
        errors = by(prometheus, ALERTS["RlsRequestErrors"], "reason")
        assert set(errors) == {("backend",)}
        lost = by(prometheus, ALERTS["RlsBackendErrors"], "job")
        assert lost == {("rls",): pytest.approx(failed / (30 + failed))}
