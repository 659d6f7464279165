"""`rls status`, `rls top` and `rls tail`, with real servers."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rls.api.client import Client
from rls.cli import app
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: per company, unit: year, requests_per_unit: 5}
  - key: remote_address
    shadow_mode: true
    rate_limit: {unit: year, requests_per_unit: 3}
"""
OTHER_RULES = RULES.replace("requests_per_unit: 5", "requests_per_unit: 2")
PATIENT = ("--backend-timeout", "5s")


def rls(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)


def ask(process: RlsProcess, key: str, value: str, times: int) -> None:
    with Client(process.addresses["grpc"]) as client:
        for _ in range(times):
            client.check(request(descriptor((key, value)), domain="mesh"), timeout=20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RlsProcess]:
    """It refused acme twice and umbrella once, in shadow mode an address once, and zeta used its limit up."""
    with RlsProcess(tmp_path_factory.mktemp("server"), rules=RULES) as process:
        for value, times in (("acme", 7), ("umbrella", 6), ("zeta", 5)):
            ask(process, "company_id", value, times)
        ask(process, "remote_address", "10.0.0.1", 4)
        yield process


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RlsProcess]:
    """A server with other rules that refused acme thrice."""
    with RlsProcess(tmp_path_factory.mktemp("other"), rules=OTHER_RULES) as process:
        ask(process, "company_id", "acme", 5)
        yield process


@pytest.fixture
def both(server: RlsProcess, other: RlsProcess) -> str:
    return f"{server.addresses['admin']},{other.addresses['admin']}"


def test_a_server_that_enforces(server: RlsProcess) -> None:
    result = rls("status", "--admin", server.addresses["admin"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert re.match(r"state +enforced since \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \(.+ ago\)$", lines[0])
    assert re.match(r"rules +2 rules in 1 domain, revision [0-9a-f]{12}, loaded ", lines[1])
    assert lines[2] == "backend   memory://"


def test_a_server_whose_redis_is_gone(tmp_path: Path) -> None:
    """The reason, the node, and an exit code for scripts."""
    redis = RedisServer(tmp_path, redis_binary())
    with RlsProcess(tmp_path, "--backend", redis.url, *PATIENT, rules=RULES) as process:
        admin = process.addresses["admin"]
        result = rls("status", "--admin", admin)
        assert result.exit_code == 1
        assert re.search(r"state +degraded since", result.output)
        assert re.search(r"backend_unavailable since .*: the backend cannot count", result.output)
        assert f": 0 of 1 node up; down: redis://127.0.0.1:{redis.port}" in result.output
        with running(redis):
            process.wait_until(lambda: rls("status", "--admin", admin).exit_code == 0, "Redis is there")


def test_pods_with_different_rules(both: str) -> None:
    result = rls("status", "--pods", both)
    assert result.exit_code == 1
    assert result.output.count("enforced") == 2
    assert "The pods have different rules in force: 2 revisions." in result.output


def test_a_pod_that_does_not_answer(server: RlsProcess) -> None:
    result = rls("status", "--pods", f"{server.addresses['admin']},127.0.0.1:1")
    assert result.exit_code == 1
    assert "no answer from 127.0.0.1:1" in result.output
    told = json.loads(rls("status", "--json", "--pods", f"{server.addresses['admin']},127.0.0.1:1").output)
    assert [one.get("state") for one in told] == ["enforced", None]
    assert told[1]["address"] == "127.0.0.1:1"


@pytest.mark.parametrize("command", ["status", "top", "tail"])
def test_no_server(command: str) -> None:
    result = rls(command, "--admin", "127.0.0.1:1", *(["--once"] if command == "tail" else []))
    assert result.exit_code == 3
    assert "rls: no answer from 127.0.0.1:1" in result.output
    assert "expected the address of its --admin, port 6070 by default" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tail", "--since", "x"), "rls: since=x: expected a duration as 90s, 5m, 2h or 1d, or a time"),
        (("top", "--window", "x"), "rls: window=x: expected one of: 5m, start"),
        (("top", "--by", "size"), "rls: --by is 'size': expected refused or hits or near or shadow"),
        (("top", "--limit", "0"), "rls: --limit: expected 1 or more"),
        (("top", "--entry", "foo"), "rls: --entry is 'foo': expected KEY=VALUE, such as company_id=acme"),
        (("tail", "--once", "--entry", "foo"), "rls: --entry is 'foo': expected KEY=VALUE, such as company_id=acme"),
        (
            ("top", "--rule", "companyid"),
            "rls: no rule companyid in force in the domain mesh: expected company_id or remote_address",
        ),
        (("top", "--domain", "msh"), "rls: no domain msh in force: expected mesh"),
        (("override", "list", "--domain", "msh"), "rls: no domain msh in force: expected mesh"),
    ],
)
def test_wrong_usage(server: RlsProcess, words: tuple[str, ...], said: str) -> None:
    result = rls(*words, "--admin", server.addresses["admin"])
    assert (result.exit_code, said in result.output) == (2, True), result.output


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("127.0.0.1:x", "--pods is '127.0.0.1:x': expected a port from 0 to 65535"),
        ("::1", "--pods is '::1': expected brackets around the IPv6 address: [::1]"),
        ("a..b", "--pods is 'a..b', which is no host name: expected kubectl, kubectl:NAMESPACE, or HOST[:PORT]"),
        ("127.0.0.1:1,", "--pods has an empty part: expected commas only between addresses"),
    ],
)
def test_pods_that_nobody_can_mean(which: str, said: str) -> None:
    result = rls("status", "--pods", which)
    assert (result.exit_code, said in result.output) == (2, True), result.output


@pytest.mark.parametrize("command", [("status",), ("top",), ("tail", "--once")], ids=" ".join)
def test_pods_that_nobody_knows_do_not_answer(command: tuple[str, ...]) -> None:
    result = rls(*command, "--pods", "nowhere.invalid")
    assert result.exit_code == 3
    assert result.output.startswith("rls: --pods is 'nowhere.invalid': ")
    assert "expected kubectl, kubectl:NAMESPACE, or HOST[:PORT] that DNS resolves" in result.output


def test_a_name_stands_for_pods(server: RlsProcess) -> None:
    port = server.addresses["admin"].rpartition(":")[2]
    result = rls("status", "--pods", f"localhost:{port}")
    assert result.exit_code == 0, result.output


KUBECTL = """\
#!{python}
import json, sys, time
if "get" in sys.argv:
    pods = [("rls-1", "Running"), ("rls-2", "Running"), ("rls-3", "Pending")]
    print(json.dumps({{"items": [{{"metadata": {{"name": name}}, "status": {{"phase": phase}}}} for name, phase in pods]}}))
else:
    ports = {ports}
    name = next(word for word in sys.argv if word.startswith("pod/"))
    print(f"Forwarding from 127.0.0.1:{{ports[name]}} -> 6070", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: RlsProcess, other: RlsProcess) -> None:
    """Stands for kubectl, since there is no cluster: its two pods are *server* and *other*."""
    ports = {
        f"pod/rls-{number}": one.addresses["admin"].rpartition(":")[2] for number, one in enumerate((server, other), 1)
    }
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(python=sys.executable, ports=ports))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.usefixtures("kubectl")
def test_pods_through_kubectl() -> None:
    result = rls("top", "--pods", "kubectl:somewhere", "--json")
    rows = json.loads(result.output)["rows"]
    assert [(row["entries"][0]["value"], row["count"]) for row in rows] == [("acme", 5), ("umbrella", 1)]


@pytest.mark.parametrize("command", [("status",), ("top",), ("tail", "--once")], ids=" ".join)
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("", "kubectl is not installed"),
        ("echo connection refused >&2; exit 1", "kubectl get pods: connection refused"),
        ("""echo '{"items": []}'""", "no pod runs in namespace rate-limit with the label app.kubernetes.io/name=rls"),
    ],
    ids=["missing", "no cluster", "no pods"],
)
def test_kubectl_that_finds_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, said: str, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if program:
        (tmp_path / "kubectl").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "kubectl").chmod(0o755)
    result = rls(*command, "--pods", "kubectl")
    assert (result.exit_code, result.output) == (3, f"rls: --pods kubectl: {said}\n")


def test_who_is_refused_most(server: RlsProcess) -> None:
    result = rls("top", "--admin", server.addresses["admin"])
    heading, first, second = result.output.splitlines()
    assert heading.split() == ["entries", "rule", "limit", "refused", "per", "second", "of", "rule", "over", "since"]
    assert first.startswith("company_id=acme ")
    assert f"mesh company_id (per company) at {server.rules}:3" in first
    assert re.search(r" 5/year +2 +[\d.]+ +67% ", first)
    assert second.startswith("company_id=umbrella ")


def test_who_is_near_a_limit_and_whom_shadow_rules_would_refuse(server: RlsProcess) -> None:
    near = rls("top", "--admin", server.addresses["admin"], "--by", "near", "--entry", "company_id=zeta").output
    assert re.search(r"company_id=zeta .* 100% +5 of 5 ", near)
    assert "acme" not in near
    shadow = rls("top", "--admin", server.addresses["admin"], "--by", "shadow").output
    assert re.search(r"remote_address=10.0.0.1 .* 1 ", shadow)
    nobody = rls("top", "--admin", server.addresses["admin"], "--rule", "remote_address").output
    assert nobody == "Nobody was refused.\n"


def test_what_is_refused_is_printed_once(server: RlsProcess, other: RlsProcess, both: str) -> None:
    result = rls("tail", "--once", "--since", "1h", "--pods", both)
    lines = result.output.splitlines()
    assert len(lines) == 6
    times = [line.partition(" ")[0] for line in lines]
    assert times == sorted(times)
    expected = (
        rf"refused by mesh company_id \(per company\) at {server.rules}:3: 5 in 31536000 s, count 7, resets in \d+ s"
    )
    assert re.search(rf"Z {server.addresses['admin']} company_id=acme {expected}$", result.output, re.MULTILINE)
    assert sum(other.addresses["admin"] in line for line in lines) == 3
    chosen = rls("tail", "--once", "--since", "1h", "--entry", "company_id=umbrella", "--pods", both, "--json").output
    (row,) = map(json.loads, chosen.splitlines())
    assert (row["pod"], row["entries"][0]["value"]) == (server.addresses["admin"], "umbrella")


def test_tail_warns_of_a_rule_that_is_not_in_force_and_goes_on(server: RlsProcess) -> None:
    result = rls("tail", "--admin", server.addresses["admin"], "--once", "--rule", "nope")
    assert (result.exit_code, result.stdout) == (0, "")
    expected = "rls: warning: no rule nope in force in the domain mesh: expected company_id or remote_address\n"
    assert result.stderr == expected


def test_a_rule_is_known_if_one_pod_has_it(server: RlsProcess, tmp_path: Path) -> None:
    rules = RULES.replace("remote_address", "path")
    with RlsProcess(tmp_path, rules=rules) as newer:
        pods = f"{server.addresses['admin']},{newer.addresses['admin']}"
        for rule in ("path", "remote_address"):
            result = rls("top", "--pods", pods, "--rule", rule)
            assert (result.exit_code, result.output) == (0, "Nobody was refused.\n")
        unknown = rls("top", "--pods", f"{pods},127.0.0.1:1", "--rule", "paht")
    assert (unknown.exit_code, unknown.stderr.partition(":")[2].partition(":")[0]) == (
        2,
        " no rule paht in force in the domain mesh",
    )


class Terminal:
    """A program that runs on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 200))
        self.modes = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rls", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "200", "LINES": "40"},
        )
        self.text = ""

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str) -> None:
        """Until *text* was written, after what was waited for before."""
        end = time.monotonic() + 60
        while text not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self._ours], [], [], 1)[0]:
                self.text += os.read(self._ours, 65_536).decode()
        self.text = self.text.rpartition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def is_restored(self) -> bool:
        """Whether the terminal is as it was."""
        return termios.tcgetattr(self._theirs) == self.modes


class OtherVersion(BaseHTTPRequestHandler):
    """A pod whose rows lack what rows of this version have."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        row = {"domain": "mesh", "rule": "company_id", "entries": [], "count": 9, "error": 0, "limit": "5/year"}
        top = {"by": "refused", "pod": "old", "instance": "old", "unlisted_at_most": 0, "rows": [row]}
        self.wfile.write(json.dumps(top).encode())


def test_top_of_several_pods_leaves_out_one_of_another_version(server: RlsProcess) -> None:
    """As in a roll-out. Where it is the only one, what it says is shown."""
    with HTTPServer(("127.0.0.1", 0), OtherVersion) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{other.server_port}"
        result = rls("top", "--pods", f"{server.addresses['admin']},{address}")
        alone = rls("top", "--admin", address)
        other.shutdown()
    assert result.exit_code == 0
    assert f"rls: {address}: not the answer of this version" in result.output
    assert "company_id=acme" in result.output
    assert " 9 " in alone.output


def test_top_on_a_terminal_obeys_keys(server: RlsProcess) -> None:
    terminal = Terminal("top", "--admin", server.addresses["admin"])
    try:
        terminal.wait_for("company_id=acme")
        terminal.wait_for("by refused")
        terminal.press("n")
        terminal.wait_for("company_id=zeta")
        terminal.press("r/umbrella")
        terminal.wait_for("filter: umbrella")
        terminal.press("\n")
        terminal.wait_for("only 'umbrella'")
        terminal.press("q")
        assert terminal.process.wait(60) == 0
        assert terminal.is_restored
    finally:
        terminal.close()


def test_tail_prints_while_it_happens(server: RlsProcess) -> None:
    terminal = Terminal("tail", "--admin", server.addresses["admin"], "--entry", "company_id=later")
    try:
        ask(server, "company_id", "later", 5)
        end = time.monotonic() + 60
        while "company_id=later refused by" not in terminal.text:
            assert time.monotonic() < end
            ask(server, "company_id", "later", 1)
            if select.select([terminal._ours], [], [], 0.5)[0]:
                terminal.text += os.read(terminal._ours, 65_536).decode()
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(60) == 0
    finally:
        terminal.close()
