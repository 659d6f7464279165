"""k8s/components/prometheus/prometheus.yaml in a real Prometheus, with what Kubernetes would say of pods from a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from examples.mesh.http import ask
from examples.mesh.processes import Process, free_port
from tests.alerts.discovered import CONFIG, pod, read_from
from tests.alerts.rules import Object
from tests.redis_server import missing
from tests.rls_process import RlsProcess

PAGE = b"""\
envoy_cluster_ratelimit_ok{cluster_name="inbound|9000||"} 1
envoy_cluster_upstream_rq_total{cluster_name="inbound|9000||"} 1
kube_deployment_spec_replicas{namespace="rate-limit",deployment="rls"} 2
kube_node_info{node="a"} 1
pilot_jwks_resolver_network_fetch_fail_total 6
pilot_xds 3
redis_up 1
"""


class Exporter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """It scrapes a server and an exporter that stands for all the others; `port` is its own."""
    folder = tmp_path_factory.mktemp("scraped")
    program = shutil.which("prometheus") or missing("needs prometheus")
    with ExitStack() as stack:
        exporter = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
        Thread(target=exporter.serve_forever, daemon=True).start()
        stack.callback(exporter.server_close)
        stack.callback(exporter.shutdown)
        rls = stack.enter_context(RlsProcess(folder))
        other = f"127.0.0.1:{exporter.server_address[1]}"
        found = {
            "pods": [
                pod(rls.addresses["http"], "rls-1", "rate-limit", "rls", "http"),
                pod(rls.addresses["grpc"], "rls-1", "rate-limit", "rls", "grpc"),
                pod(other, "rls-2", "rate-limit", "rls", "http", sidecar=True),
            ],
            "pods-in-mesh": [pod(other, "rls-2", "rate-limit", "rls", "http", sidecar=True)],
            "redis": [
                pod(other, "redis-0", "rate-limit", "redis", "metrics"),
                pod("127.0.0.1:1", "redis-0", "rate-limit", "redis", "redis"),
            ],
            "envoy": [pod(other, "users-1", "users", "users", "http-envoy-prom")],
            "istiod": [
                pod(other, "istiod-1", "istio-system", "", "http-monitoring"),
                pod("127.0.0.1:1", "istiod-1", "istio-system", "", "grpc-xds"),
            ],
            "kube-state-metrics": [pod(other, "ksm-1", "kube-system", "kube-state-metrics", "http-metrics")],
        }
        settings = yaml.safe_load(CONFIG.read_text())
        settings["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
        settings["scrape_configs"] = [
            read_from(folder, job, found[job["job_name"]]) if "kubernetes_sd_configs" in job else job
            for job in settings["scrape_configs"]
        ]
        config = folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(settings))
        port = free_port()
        options = [
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        process = stack.enter_context(Process("prometheus", [program, *options], folder / "prometheus.log"))
        process.port = port  # type: ignore[attr-defined]
        process.wait_until(lambda: ask(port, "/-/ready").status == 200, "it is ready")
        process.wait_until(lambda: len(values(process, "up == 1")) >= 5, "it has scraped", 60)
        yield process


def values(prometheus: Any, expression: str) -> list[Object]:
    found: Object = ask(prometheus.port, f"/api/v1/query?query={quote(expression)}").json()
    assert found["status"] == "success", found
    result: list[Object] = [one["metric"] for one in found["data"]["result"]]
    return result


def test_rls_is_scraped_at_its_http_port_alone(prometheus: Process) -> None:
    (found,) = values(prometheus, "rls_build_info")
    assert (found["job"], found["namespace"], found["pod"]) == ("rls", "rate-limit", "rls-1")
    assert {one["pod"] for one in values(prometheus, 'up{job="rls"}')} == {"rls-1"}


def test_without_a_mesh_all_else_is_scraped(prometheus: Process) -> None:
    """There are no certificates here, so the job that needs them cannot start; Prometheus says so."""
    assert "pods-in-mesh" in prometheus.output()
    assert values(prometheus, 'up{job="pods-in-mesh"}') == []
    assert values(prometheus, "rls_build_info")


def test_others_are_named_and_cut_down_to_what_is_needed(prometheus: Process) -> None:
    (redis,) = values(prometheus, 'redis_up{job="redis"}')
    assert (redis["namespace"], redis["pod"]) == ("rate-limit", "redis-0")
    names = {
        (one["job"], one["__name__"])
        for one in values(prometheus, '{job=~"envoy|istiod|kube-state-metrics",__name__!~"up|scrape_.+"}')
    }
    assert names == {
        ("envoy", "envoy_cluster_ratelimit_ok"),
        ("istiod", "pilot_jwks_resolver_network_fetch_fail_total"),
        ("kube-state-metrics", "kube_deployment_spec_replicas"),
    }


def test_kube_state_metrics_names_the_namespaces_itself(prometheus: Process) -> None:
    (found,) = values(prometheus, 'kube_deployment_spec_replicas{job="kube-state-metrics"}')
    assert found["namespace"] == "rate-limit"
