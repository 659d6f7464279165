"""`make observe`, as its Makefile calls it: it says where to look, and Ctrl-C stops all."""

import os
import re
import shutil
import signal
import socket
import sys
from contextlib import ExitStack
from functools import partial

import pytest

from examples.mesh.http import ask
from examples.mesh.processes import Missing, Process, wait_for
from examples.observe.programs import find, port_or_free
from tests.e2e.mesh import no_process_in
from tests.redis_server import missing

pytestmark = pytest.mark.e2e


@pytest.fixture
def prometheus():
    try:
        find("PROMETHEUS", ["prometheus"], "")
    except Missing as error:
        missing(str(error))


def up(prometheus: int) -> list[str]:
    """Of each target, whether it was scraped: "1"."""
    found = ask(prometheus, "/api/v1/query?query=up").json()["data"]["result"]
    return [each["value"][1] for each in found]


def has_spans(jaeger: int) -> bool:
    return {"envoy", "rls"} <= {*(ask(jaeger, "/api/services").json()["data"] or ())}


def test_it_says_where_to_look_and_ctrl_c_stops_all(tmp_path, prometheus):
    with ExitStack() as held:
        port = held.enter_context(socket.socket())
        try:
            port.bind(("127.0.0.1", 9090))
            port.listen()
        except OSError:
            pass  # somebody else has taken it: as good
        command = [sys.executable, "-m", "examples.observe"]
        observe = held.enter_context(Process("observe", command, tmp_path / "log", new_group=True))
        observe.wait_until(lambda: "Grafana is not run here" in observe.output(), "all runs", 90)
        said = observe.output()
        (where,) = map(int, re.findall(r"│ Prometheus\s+│ http://127\.0\.0\.1:(\d+)", said))
        assert where != 9090
        wait_for(lambda: up(where) == ["1"] * 4, "all is scraped", 60)
        (envoy,) = map(int, re.findall(r"│ Envoy\s+│ http://127\.0\.0\.1:(\d+)", said))
        wait_for(lambda: ask(envoy, "/users").status in {200, 429}, "Envoy answers")
        has_jaeger = bool(os.environ.get("JAEGER_BINARY") or shutil.which("jaeger"))
        assert ("│ Jaeger " in said) == has_jaeger
        assert ("Not running: jaeger" in said) != has_jaeger
        for jaeger in map(int, re.findall(r"│ Jaeger\s+│ http://127\.0\.0\.1:(\d+)", said)):
            wait_for(partial(has_spans, jaeger), "Envoy and rls have brought spans", 60)

        observe.send(signal.SIGINT)

        assert observe.wait(60) == 0
        assert observe.output().endswith("All that was started is stopped.\n")
        wait_for(lambda: no_process_in(observe.pid), "nothing is left")


def test_a_program_that_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAEGER_BINARY", raising=False)

    with pytest.raises(Missing, match=r"^jaeger is neither on the PATH nor named by JAEGER_BINARY\. With Go: "):
        find("JAEGER_BINARY", ["jaeger"], "With Go: …")
    monkeypatch.setenv("JAEGER_BINARY", "/somewhere/jaeger")
    assert find("JAEGER_BINARY", ["jaeger"], "") == "/somewhere/jaeger"


def test_a_port_that_is_taken_is_not_given():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert port_or_free(taken) != taken
