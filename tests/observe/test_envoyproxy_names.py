"""The recording rules that give back the metric names of envoyproxy/ratelimit, tried by Prometheus' own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from rls.api.client import Client
from rls.core.model import Code
from tests.redis_server import missing
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs" / "envoyproxy-metric-names.rules.yaml"
OURS = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: year, requests_per_unit: 2}
    descriptors:
      - key: path
        value: /api/*
        rate_limit: {unit: year, requests_per_unit: 10}
  - key: remote_address
    detailed_metric: true
    shadow_mode: true
    rate_limit: {unit: year, requests_per_unit: 1}
"""


def promtool(*arguments: str | Path) -> str:
    """What it says; it must find nothing wrong."""
    program = shutil.which("promtool") or missing("needs promtool, of Prometheus")
    ran = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_prometheus_takes_the_rules() -> None:
    assert "FAILED" not in promtool("check", "rules", RULES)


def test_what_they_make_of_several_pods() -> None:
    promtool("test", "rules", Path(__file__).with_name("envoyproxy_names.yaml"))


def recorded(page: str, folder: Path, expected: dict[str, float]) -> None:
    """Fails unless the rules make the series *expected* of *page*, of those of each name all."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    series = [
        {
            "series": sample.name + "{" + ",".join(f"{key}={quoted(value)}" for key, value in labels) + "}",
            "values": f"{sample.value}+0x1",
        }
        for sample in samples
        if sample.name.startswith("rls_")
        for labels in [sorted((sample.labels | {"pod": "a"}).items())]
    ]
    names = sorted({one.partition("{")[0] for one in expected})
    asked = [
        {
            "expr": name,
            "eval_time": "1m",
            "exp_samples": [
                {"labels": labels, "value": value}
                for labels, value in expected.items()
                if labels.partition("{")[0] == name
            ],
        }
        for name in names
    ]
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": asked}],
    }
    file = folder / "page.yaml"
    file.write_text(yaml.safe_dump(test))
    promtool("test", "rules", file)


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def test_what_they_make_of_a_servers_own_page(tmp_path: Path) -> None:
    with RlsProcess(tmp_path, rules=OURS) as server:
        with Client(server.addresses["grpc"]) as client:
            company = descriptor(("company_id", "acme"))
            path = descriptor(("company_id", "acme"), ("path", "/api/a"))
            address = descriptor(("remote_address", "10.1.2.3"))
            answers = [client.check(request(company, path, address, domain="mesh"), timeout=10) for _ in range(3)]
            with pytest.raises(Exception, match="INVALID_ARGUMENT"):
                client.check(request(domain="mesh"), timeout=10)
        page = server.get("/metrics").body.decode()
    assert [answer.code for answer in answers] == [Code.OK.name, Code.OK.name, Code.OVER_LIMIT.name]
    hits, over = "ratelimit_service_rate_limit_total_hits", "ratelimit_service_rate_limit_over_limit"
    errors = "ratelimit_service_should_rate_limit_error"
    recorded(
        page,
        tmp_path,
        {
            f'{hits}{{domain="mesh",key1="company_id",pod="a"}}': 3,
            f'{hits}{{domain="mesh",key1="company_id",key2="path_/api/*",pod="a"}}': 3,
            f'{hits}{{domain="mesh",key1="remote_address_10_1_2_3",pod="a"}}': 3,
            f'{over}{{domain="mesh",key1="company_id",pod="a"}}': 1,
            f'{over}{{domain="mesh",key1="company_id",key2="path_/api/*",pod="a"}}': 0,
            f'{over}{{domain="mesh",key1="remote_address_10_1_2_3",pod="a"}}': 2,
            'ratelimit_service_rate_limit_shadow_mode{domain="mesh",key1="remote_address_10_1_2_3",pod="a"}': 2,
            'ratelimit_service_total_requests{grpc_method="ShouldRateLimit",pod="a"}': 4,
            f'{errors}{{err_type="redis_error",pod="a"}}': 0,
            f'{errors}{{err_type="service_error",pod="a"}}': 1,
            'ratelimit_service_response_time_seconds_count{grpc_method="ShouldRateLimit",pod="a"}': 3,
            'ratelimit_service_global_shadow_mode{pod="a"}': 0,
            'ratelimit_service_config_load_success{pod="a"}': 1,
            'ratelimit_service_config_load_error{pod="a"}': 0,
        },
    )
