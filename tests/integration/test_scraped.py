"""A real Prometheus scrapes a server under load, in both forms; what it says is compared with what was asked for."""

import shutil
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from examples.mesh.http import ask
from examples.mesh.processes import Process, free_port, wait_for
from rls.proto import rls_pb2
from tests.redis_server import RedisServer, missing, redis_binary, running
from tests.rls_process import RlsProcess

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: year, requests_per_unit: 10}
  - key: user
    value_to_metric: true
    rate_limit: {unit: year, requests_per_unit: 100}
"""
CONFIG = """\
global: {{scrape_interval: 2s, scrape_timeout: 2s}}
scrape_configs:
  - {{job_name: openmetrics, static_configs: [{{targets: ["{openmetrics}"]}}]}}
  - {{job_name: text, static_configs: [{{targets: ["{text}"]}}]}}
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)
COMPANY_HITS, USER_HITS = 25, 7


class Prometheus(Process):
    """One that scrapes *configuration*."""

    def __init__(self, folder: Path, configuration: str) -> None:
        program = shutil.which("prometheus") or missing("needs prometheus")
        file = folder / "prometheus.yaml"
        file.write_text(configuration)
        self.port = free_port()
        options = (f"--web.listen-address=127.0.0.1:{self.port}", f"--storage.tsdb.path={folder / 'data'}")
        features = "--enable-feature=exemplar-storage"
        super().__init__(
            "prometheus", [program, f"--config.file={file}", *options, features], folder / "prometheus.log"
        )
        self.wait_until(lambda: ask(self.port, "/-/ready").status == 200, "it is ready")

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API says."""
        return ask(self.port, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}").json()["data"]

    def value(self, query: str) -> float | None:
        """The one sample that *query* comes to; None where it comes to nothing."""
        found = self.ask("query", query=query)["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None


def without_openmetrics(target: str) -> ThreadingHTTPServer:
    """A relay to *target* that asks for no special form, as old scrapers do."""
    port = int(target.rpartition(":")[2])

    class Relay(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = ask(port, self.path)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def check(server: RlsProcess, key: str, value: str, times: int) -> None:
    method = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
    asked = rls_pb2.RateLimitRequest(domain="mesh")
    asked.descriptors.add().entries.add(key=key, value=value)
    with grpc.insecure_channel(server.addresses["grpc"]) as channel:
        call = channel.unary_unary(
            method,
            request_serializer=rls_pb2.RateLimitRequest.SerializeToString,
            response_deserializer=rls_pb2.RateLimitResponse.FromString,
        )
        for _ in range(times):
            call(asked, timeout=10, metadata=SAMPLED)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RlsProcess]:
    folder = tmp_path_factory.mktemp("scraped")
    with running(RedisServer(folder, redis_binary())) as redis:
        options = ("--backend", redis.url, "--backend-timeout", "5s", "--over-limit-cache-size", "0")
        with RlsProcess(folder, *options, rules=RULES) as process:
            check(process, "company_id", "acme", COMPANY_HITS)
            check(process, "user", 'Zoë "\\', USER_HITS)
            yield process


@pytest.fixture(scope="module")
def prometheus(server: RlsProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    relay = without_openmetrics(server.addresses["http"])
    targets = {"openmetrics": server.addresses["http"], "text": f"127.0.0.1:{relay.server_address[1]}"}
    with Prometheus(tmp_path_factory.mktemp("prometheus"), CONFIG.format(**targets)) as process:
        wait_for(lambda: process.value("count(rls_ready)") == len(targets), "it has scraped both", 60)
        yield process
    relay.shutdown()
    relay.server_close()


@pytest.mark.parametrize("job", ["openmetrics", "text"])
@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("up", 1),
        ('rls_hits_total{rule="company_id"}', COMPANY_HITS),
        ('rls_over_limit_total{rule="company_id"}', COMPANY_HITS - 10),
        ('rls_hits_total{rule="user",value="user_Zoë \\"\\\\\\\\"}', USER_HITS),
        ('rls_rule_limit{rule="company_id"}', 10),
        ('rls_rule_utilization_ratio{rule="company_id",period="current"}', COMPANY_HITS / 10),
        ('rls_rule_utilization_ratio{rule="user",period="current"}', USER_HITS / 100),
        ('rls_rule_info{rule="company_id",name="company",line="3"}', 1),
        ("rls_check_duration_seconds_count", COMPANY_HITS + USER_HITS),
        ('rls_check_duration_seconds_bucket{le="+Inf"}', COMPANY_HITS + USER_HITS),
        ('rls_requests_total{code="OVER_LIMIT"}', COMPANY_HITS - 10),
        ("count(rls_config_info)", 1),
    ],
)
def test_it_says_what_was_asked_for(prometheus: Prometheus, job: str, query: str, value: float) -> None:
    name, brace, labels = query.partition("{")
    if brace:
        query = f'{name}{{job="{job}",{labels}'
    elif "(" in name:
        query = name.replace(")", f'{{job="{job}"}})')
    else:
        query = f'{name}{{job="{job}"}}'
    prometheus.wait_until(lambda: prometheus.value(query) == pytest.approx(value), f"{query} is {value:g}", 60)


@pytest.mark.parametrize("name", ["rls_redis_queue_seconds", "rls_redis_round_trip_seconds", "rls_redis_batch_calls"])
def test_each_write_to_redis_is_measured(prometheus: Prometheus, name: str) -> None:
    """Each check waited for the one before it, so it had a write of its own; pings come on top."""
    enough = f'{name}_count{{job="text"}} >= {COMPANY_HITS + USER_HITS}'
    prometheus.wait_until(lambda: prometheus.value(enough), enough, 60)


def test_it_keeps_exemplars(prometheus: Prometheus) -> None:
    window = {"start": "0", "end": "9999999999"}
    found = prometheus.ask("query_exemplars", query="rls_check_duration_seconds_bucket", **window)
    traces = {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
    assert traces == {TRACE}
    assert {series["seriesLabels"]["job"] for series in found} == {"openmetrics"}


def test_it_finds_no_fault_with_the_page(prometheus: Prometheus) -> None:
    def errors() -> list[str]:
        targets: list[Mapping[str, str]] = prometheus.ask("targets")["activeTargets"]
        return [target["lastError"] for target in targets]

    prometheus.wait_until(lambda: errors() == ["", ""], "both scrapes succeed", 60)
    assert "Error on ingesting" not in prometheus.output()
