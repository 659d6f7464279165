"""The logs' way to Elasticsearch: its files. Fluentd, Elasticsearch and Kibana are not run."""

import http.server
import json
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from rls.observe.decision_log import FIELDS
from tests.k8s.manifests import K8S
from tests.k8s.nodes import ROOT, program

LOGGING = K8S / "components" / "logging"
FLUENTD = (LOGGING / "fluent.conf").read_text()
TEMPLATE = json.loads((LOGGING / "index_template.json").read_text())
PROPERTIES = TEMPLATE["template"]["mappings"]["properties"]
SEARCHES = [json.loads(line) for line in (LOGGING / "searches.ndjson").read_text().splitlines()]


def test_lines_of_the_container_runtime_are_taken_apart() -> None:
    (expression,) = re.findall(r"^\s*expression /(.*)/$", FLUENTD, re.MULTILINE)
    pattern = re.compile(expression.replace("(?<", "(?P<"))
    found = pattern.match('2026-11-29T01:02:03.123456789Z stdout F {"outcome":"over_limit"}')

    assert found is not None
    assert found.groupdict() == {
        "time": "2026-11-29T01:02:03.123456789Z",
        "stream": "stdout",
        "logtag": "F",
        "log": '{"outcome":"over_limit"}',
    }


def test_directives_are_closed() -> None:
    opened: list[str] = []
    for name in re.findall(r"^\s*<(/?\w+)", FLUENTD, re.MULTILINE):
        if name.startswith("/"):
            assert opened.pop() == name[1:]
        else:
            opened.append(name)
    assert opened == []


def test_a_time_that_is_a_text_is_not_taken_for_seconds() -> None:
    """Fluentd's parser of JSON takes the field `time` for seconds since 1970, unless another name is set."""
    assert re.search(r"<parse>\s+@type json\s+(#.*\s+)*time_key none_of_them\s+</parse>", FLUENTD)
    assert "none_of_them" not in PROPERTIES


def test_decisions_have_their_fields_in_the_template() -> None:
    assert FIELDS.keys() <= PROPERTIES.keys()
    # By these Fluentd knows a decision.
    assert {"outcome", "answered_by"} <= FIELDS.keys()


def test_envoys_access_log_has_its_fields_in_the_template() -> None:
    config = yaml.safe_load((ROOT / "istio" / "values-istiod.yaml").read_text())["meshConfig"]
    (labels,) = (
        each["envoyFileAccessLog"]["logFormat"]["labels"]
        for each in config["extensionProviders"]
        if "envoyFileAccessLog" in each
    )
    assert labels.keys() <= PROPERTIES.keys()


def test_saved_searches_ask_for_fields_that_are_there() -> None:
    fields = {*PROPERTIES, *(f"kubernetes.{name}" for name in PROPERTIES["kubernetes"]["properties"]), "errors"}
    for search in SEARCHES:
        source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
        (reference,) = search["references"]
        asked = set(re.findall(r"(\w+) :", source["query"]["query"]))
        assert asked, search["id"]
        assert asked | set(search["attributes"]["columns"]) <= fields, search["id"]
        assert source["indexRefName"] == reference["name"]
        assert reference["id"] in (LOGGING / "setup.sh").read_text()
    assert len({search["id"] for search in SEARCHES}) == len(SEARCHES)


class Recorder(http.server.BaseHTTPRequestHandler):
    """Takes everything, and keeps it."""

    asked: list[tuple[str, str, str | None, bytes]]

    def do_PUT(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append((self.command, self.path, self.headers["authorization"], body))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.e2e
def test_the_job_brings_all_of_it_with_its_password(tmp_path: Path) -> None:
    program("curl")
    asked: list[tuple[str, str, str | None, bytes]] = []
    handler = type("Own", (Recorder,), {"asked": asked})
    (tmp_path / "password").write_text("secret")
    script = (
        (LOGGING / "setup.sh").read_text().replace("/credentials/", f"{tmp_path}/").replace("/scripts/", f"{LOGGING}/")
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        env = {
            "PATH": os.environ["PATH"],
            "ELASTICSEARCH_URL": url,
            "KIBANA_URL": url,
            "SETUP_USER": "rate-limit-setup",
        }
        done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False)
        server.shutdown()

    assert done.returncode == 0, done.stderr
    assert [(command, path) for command, path, _, _ in asked] == [
        ("PUT", "/_ilm/policy/rate-limit"),
        ("PUT", "/_index_template/rate-limit"),
        ("POST", "/api/data_views/data_view"),
        ("POST", "/api/saved_objects/_import?overwrite=true"),
    ]
    assert {password for _, _, password, _ in asked} == {"Basic cmF0ZS1saW1pdC1zZXR1cDpzZWNyZXQ="}
    bodies = [body for _, _, _, body in asked]
    assert json.loads(bodies[1]) == TEMPLATE
    assert json.loads(bodies[2])["data_view"]["title"] == TEMPLATE["index_patterns"][0]
    assert (LOGGING / "searches.ndjson").read_bytes() in bodies[3]
