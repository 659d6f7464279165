"""A real Prometheus with the rules of k8s/alerts, a real Alertmanager with its configuration, and a receiver."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import yaml

from examples.mesh.http import ask
from examples.mesh.processes import Process, free_port
from tests.alerts.discovered import jobs_of
from tests.alerts.rules import ROOT, Object, rule_files
from tests.redis_server import missing

ALERTMANAGER = ROOT / "k8s" / "components" / "alertmanager" / "alertmanager.yaml"
FASTER = 30
"""A minute of a rule is two seconds in most tests."""
DAYS_FASTER = 4_320
"""A day of a rule is 20 seconds. What looks back for minutes sees too few scrapes then, and nothing."""
_DURATION = re.compile(r"(\d+)([smhd])\b")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def faster(text: str, times: int = FASTER) -> str:
    """The rules of *text* with all their durations divided by *times*, and nothing else changed.

    Those of windows, of offsets and of `for`; not the numbers that expressions compare with.
    """
    text = re.sub(r"(?<=\[)\w+(?=\])|(?<=offset )\w+", lambda found: _shortened(found[0], times), text)
    return re.sub(r"(?<=for: )\w+", lambda found: _shortened(found[0], times), text)


def _shortened(duration: str, times: int) -> str:
    number, unit = _DURATION.fullmatch(duration).groups()  # type: ignore[union-attr]
    return f"{round(int(number) * _SECONDS[unit] * 1_000 / times)}ms"


class Prometheus(Process):
    """Scrapes *targets*, whose labels are given by their address, and runs all rules, so many *times* faster.

    Every second, or for days as minutes five times a second.

    Args:
        paths: Other paths than `/metrics`, by address.
        pods: What else it finds, by the job of k8s/components/prometheus that scrapes and labels it.
        alertmanagers: Addresses.
    """

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, Mapping[str, str]],
        *,
        paths: Mapping[str, str] | None = None,
        pods: Mapping[str, Iterable[Object]] | None = None,
        alertmanagers: tuple[str, ...] = (),
        times: int = FASTER,
    ) -> None:
        program = shutil.which("prometheus") or missing("needs prometheus")
        folder.mkdir(exist_ok=True)
        self._targets = folder / "targets.json"
        self._paths = dict(paths or {})
        self.scrape(targets)
        rules = folder / "rules"
        rules.mkdir()
        for file in rule_files():
            (rules / file.name).write_text(faster(file.read_text(), times))
        self.port = free_port()
        config = folder / "prometheus.yaml"
        interval = "1s" if times == FASTER else "200ms"
        settings = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": "1s"},
            "rule_files": [f"{rules}/*.yaml"],
            "scrape_configs": [
                {
                    "job_name": "targets",
                    "file_sd_configs": [{"files": [str(self._targets)], "refresh_interval": "1s"}],
                },
                *jobs_of(folder, pods or {}),
            ],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]},
        }
        config.write_text(yaml.safe_dump(settings))
        # It knows its Alertmanagers only after some seconds, and would send again after a minute.
        options = [f"--config.file={config}", f"--storage.tsdb.path={folder}/data", "--rules.alert.resend-delay=1s"]
        super().__init__(
            "prometheus", [program, *options, f"--web.listen-address=127.0.0.1:{self.port}"], folder / "prometheus.log"
        )
        self.wait_until(lambda: ask(self.port, "/-/ready").status == 200, "it is ready")

    def scrape(self, targets: Mapping[str, Mapping[str, str]]) -> None:
        """Scrape these instead, within a second."""
        groups = [
            {"targets": [address], "labels": {"__metrics_path__": self._paths.get(address, "/metrics"), **labels}}
            for address, labels in targets.items()
        ]
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(groups))
        fresh.rename(self._targets)

    def query(self, expression: str) -> list[Object]:
        """The result of an instant query: label sets and values, or an error of the test."""
        answer = ask(self.port, f"/api/v1/query?query={quote(expression)}")
        found = answer.json()
        assert answer.status == 200, (expression, found)
        result: list[Object] = found["data"]["result"]
        return result

    def value(self, expression: str) -> float | None:
        """The one value of *expression*; None without one."""
        found = self.query(expression)
        assert len(found) <= 1, (expression, found)
        return float(found[0]["value"][1]) if found else None

    def rules(self) -> list[Object]:
        """All rules, with their health."""
        groups = ask(self.port, "/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def alerts(self) -> list[Object]:
        """Those that are pending or firing."""
        found: list[Object] = ask(self.port, "/api/v1/alerts").json()["data"]["alerts"]
        return found

    def firing(self, name: str, **labels: str) -> Object | None:
        """The alert *name* that fires and has *labels*."""
        for alert in self.alerts():
            if alert["state"] == "firing" and alert["labels"].items() >= {"alertname": name, **labels}.items():
                return alert
        return None


class Receiver:
    """Takes the messages of Alertmanager, by the name of their receiver."""

    def __init__(self) -> None:
        self.messages: list[Object] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.messages.append(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def alerts(self, receiver: str, name: str) -> list[Object]:
        """The alerts of that name that came to *receiver* so far."""
        return [
            alert
            for message in list(self.messages)
            if message["receiver"] == receiver
            for alert in message["alerts"]
            if alert["labels"]["alertname"] == name
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Alertmanager(Process):
    """With the project's configuration: all receivers lead to the port *receiver*, and it waits a second at most."""

    def __init__(self, folder: Path, receiver: int) -> None:
        program = (
            shutil.which("prometheus-alertmanager") or shutil.which("alertmanager") or missing("needs alertmanager")
        )
        text = ALERTMANAGER.read_text().replace("https://alerts.example.com/", f"http://127.0.0.1:{receiver}/")
        text = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", text)
        folder.mkdir(exist_ok=True)
        config = folder / "alertmanager.yaml"
        config.write_text(text)
        self.port = free_port()
        options = [f"--config.file={config}", f"--storage.path={folder}/data", "--cluster.listen-address="]
        super().__init__(
            "alertmanager",
            [program, *options, f"--web.listen-address=127.0.0.1:{self.port}"],
            folder / "alertmanager.log",
        )
        self.wait_until(lambda: ask(self.port, "/-/ready").status == 200, "it is ready")

    def fire(self, *alerts: Mapping[str, str]) -> None:
        """Let alerts with these labels fire."""
        body = json.dumps([{"labels": dict(labels)} for labels in alerts]).encode()
        answer = ask(self.port, "/api/v2/alerts", {"content-type": "application/json"}, method="POST", body=body)
        assert answer.status == 200, answer

    def inhibited(self) -> set[str]:
        """The names of alerts that nobody hears of since another one explains them."""
        alerts = ask(self.port, "/api/v2/alerts").json()
        return {alert["labels"]["alertname"] for alert in alerts if alert["status"]["inhibitedBy"]}
