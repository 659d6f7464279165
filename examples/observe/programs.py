"""Prometheus, Alertmanager and Jaeger, as processes with files of their own."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from examples.mesh.http import ask
from examples.mesh.processes import Missing, Process, free_port

Tree = dict[str, Any]


def find(variable: str, names: Sequence[str], how: str) -> str:
    """The program that the environment's *variable* names, or the first of *names* on the PATH.

    Raises:
        Missing: No such program is installed. The text is *how*: how to get it.
    """
    found = os.environ.get(variable) or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise Missing(f"{names[0]} is neither on the PATH nor named by {variable}. {how}")
    return found


def port_or_free(wanted: int) -> int:
    """*wanted*, or another where something listens on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
        return wanted


class _Server(Process):
    """A program that answers on *port* when it is ready."""

    def __init__(self, name: str, command: Sequence[str | Path], folder: Path, port: int, ready: str) -> None:
        self.port = port
        super().__init__(name, command, folder / f"{name}.log")
        try:
            self.wait_until(lambda: ask(port, ready).status == 200, "it is ready")
        except BaseException:
            self.kill()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Prometheus(_Server):
    """A Prometheus that scrapes *targets*: paths and addresses, by job.

    Args:
        folder: For its files; made.
        targets: By job: the path of the metrics, and ports of this machine.
        interval: Between two scrapes.
        rules: Files of recording and alerting rules.
        alertmanager: The port of an Alertmanager; 0 for none.
        port: Where it listens.
    """

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, tuple[str, Sequence[int]]],
        *,
        interval: str = "1s",
        rules: Sequence[Path] = (),
        alertmanager: int = 0,
        port: int = 0,
    ) -> None:
        program = find("PROMETHEUS", ["prometheus"], "Debian and Ubuntu: apt-get install prometheus")
        folder.mkdir()
        config: Tree = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "scrape_configs": [
                {
                    "job_name": job,
                    "metrics_path": path,
                    "static_configs": [{"targets": [f"127.0.0.1:{each}" for each in ports]}],
                }
                for job, (path, ports) in targets.items()
            ],
            "rule_files": [str(rule) for rule in rules],
        }
        if alertmanager:
            managers = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
            config["alerting"] = {"alertmanagers": [{"static_configs": managers}]}
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        port = port or free_port()
        command = [program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
        options = [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=warn"]
        super().__init__("prometheus", [*command, *options], folder, port, "/-/ready")

    def query(self, expr: str, at: float | None = None) -> list[Tree]:
        """The result of an instant query; *at* is in Unix seconds.

        Raises:
            ValueError: Prometheus does not accept the query; the text says why.
        """
        found = self._ask("query", {"query": expr} | ({} if at is None else {"time": f"{at:.3f}"}))
        if found["resultType"] == "scalar":
            return [{"metric": {}, "value": found["result"]}]
        result: list[Tree] = found["result"]
        return result

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[Tree]:
        """The result of a range query, in Unix seconds."""
        about = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        result: list[Tree] = self._ask("query_range", about)["result"]
        return result

    def label_values(self, label: str, match: str) -> list[str]:
        """What Grafana's `label_values(match, label)` finds."""
        found: list[str] = self._ask(f"label/{label}/values", {"match[]": match})
        return found

    def targets(self) -> list[Tree]:
        """What it scrapes, and how that went."""
        found: list[Tree] = self._ask("targets", {})["activeTargets"]
        return found

    def _ask(self, what: str, about: Mapping[str, str]) -> Any:
        answer = ask(self.port, f"/api/v1/{what}?{urlencode(about)}").json()
        if answer["status"] != "success":
            raise ValueError(f"{about}: {answer['error']}")
        return answer["data"]


class Alertmanager(_Server):
    """An Alertmanager; without *config*, it shows alerts and sends them nowhere."""

    def __init__(self, folder: Path, *, config: Path | None = None, port: int = 0) -> None:
        how = "Debian and Ubuntu: apt-get install prometheus-alertmanager"
        program = find("ALERTMANAGER", ["alertmanager", "prometheus-alertmanager"], how)
        folder.mkdir()
        if config is None:
            config = folder / "alertmanager.yml"
            config.write_text("route: {receiver: nobody, group_by: [alertname]}\nreceivers: [{name: nobody}]\n")
        port = port or free_port()
        command = [program, f"--config.file={config}", f"--storage.path={folder / 'data'}", "--cluster.listen-address="]
        options = [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        super().__init__("alertmanager", [*command, *options], folder, port, "/-/ready")


class Jaeger(_Server):
    """A Jaeger (version 2) that keeps traces in memory.

    Attributes:
        otlp_grpc: Where it takes spans by OTLP over gRPC.
        otlp_http: The same over HTTP.
    """

    HOW = "With Go: go install github.com/jaegertracing/jaeger/cmd/jaeger@v1.76.0"

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        program = find("JAEGER_BINARY", ["jaeger"], self.HOW)
        folder.mkdir()
        port = port or free_port()
        self.otlp_grpc, self.otlp_http, health = port_or_free(4317), port_or_free(4318), free_port()
        config: Tree = {
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query", "healthcheckv2"],
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
                # None of its own: its port may be taken.
                "telemetry": {"metrics": {"level": "none"}},
            },
            "extensions": {
                "healthcheckv2": {"use_v2": True, "http": {"endpoint": f"127.0.0.1:{health}"}},
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 100_000}}}},
                "jaeger_query": {
                    "storage": {"traces": "memory"},
                    "http": {"endpoint": f"127.0.0.1:{port}"},
                    "grpc": {"endpoint": f"127.0.0.1:{free_port()}"},
                },
            },
            "receivers": {
                "otlp": {
                    "protocols": {
                        "grpc": {"endpoint": f"127.0.0.1:{self.otlp_grpc}"},
                        "http": {"endpoint": f"127.0.0.1:{self.otlp_http}"},
                    }
                }
            },
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        }
        file = folder / "jaeger.yaml"
        file.write_text(json.dumps(config, indent=1))
        super().__init__("jaeger", [program, f"--config={file}"], folder, port, "/")
