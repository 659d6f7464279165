"""`rls replay`: what it prints and draws, and its exit codes."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from rls.cli import app
from tests.terminal import HOSTILE, commands, harm

START = 1_796_000_000
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: minute, requests_per_unit: 3}
  - key: remote_address
    shadow_mode: true
    rate_limit: {unit: minute, requests_per_unit: 2}
"""
LINES = [
    {"time": START + 12 * number, "company_id": f"c{number % 2}", "address": "10.0.0.1", "flags": "-"}
    for number in range(60)
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder, with rules, stricter ones, and a log."""
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(RULES)
    Path("strict.yaml").write_text(RULES.replace("requests_per_unit: 3", "requests_per_unit: 1"))
    write("access.log", LINES)


def write(name: str, lines: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def replay(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["replay", *arguments], input=stdin)


def test_a_second_rule_set_is_compared() -> None:
    """Exit code 1: a request is newly refused."""
    result = replay("access.log", "--config", "strict.yaml", "--against", "rules.yaml")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "newly refused 35, no longer refused 0\n" in result.stdout
    assert "Newly refused: by strict.yaml, not by rules.yaml" in result.stdout
    assert replay("access.log", "--config", "rules.yaml", "--against", "strict.yaml").exit_code == 0


def test_json_has_what_the_text_has() -> None:
    found = json.loads(replay("access.log", "--config", "strict.yaml", "--json", "--top", "1").stdout)
    (side,) = found["rules"]
    assert (found["requests"], side["refused"], side["unlimited"], side["error"]) == (60, 35, 0, 0)
    first, second = side["by_rule"]
    assert first["place"] == "strict.yaml:3"
    assert (first["refused"]["count"], first["shadow"]) == (35, None)
    assert (second["refused"], second["shadow"]["count"]) == (None, 35)
    (top,) = side["top"]
    assert (top["requests"], top["entries"]) == (18, [{"key": "company_id", "value": "c0"}])
    assert (top["first"], top["last"]) == ("2026-11-30T00:53:44.000Z", "2026-11-30T01:04:56.000Z")


def test_a_log_from_standard_input() -> None:
    packed = gzip.compress(Path("access.log").read_bytes())
    result = replay("-", "--config", "rules.yaml", stdin=packed)
    assert result.exit_code == 0
    assert result.stdout.startswith("60 requests in <stdin>, 2026-11-30 00:53:20 to 01:05:08 UTC\n")


def test_lines_that_cannot_be_read_are_shown() -> None:
    Path("access.log").write_text("hello\n" + Path("access.log").read_text())
    result = replay("access.log", "--config", "rules.yaml")
    assert "lines: 1 could not be read\n  access.log:1: it is neither JSON nor" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["access.log"], "--config is missing: expected --config RULES, with the rules to play"),
        (["none.log", "--config", "rules.yaml"], "cannot read none.log: No such file or directory"),
        (["access.log", "--config", "none.yaml"], "none.yaml:1:1: cannot be read"),
        (["access.log", "--config", "rules.yaml", "--timezone", "Mars"], "--timezone is 'Mars': expected a time zone"),
        (["access.log", "--config", "rules.yaml", "--descriptor", "x"], "--descriptor is 'x': expected KEY=FIELD"),
        (["access.log", "--config", "rules.yaml", "--only", "x"], "--only is 'x': expected FIELD=VALUE"),
        (["access.log", "--config", "rules.yaml", "--format", "x"], "--format is 'x': expected auto, json, decisions, istio, envoy, or a format string such as '[%START_TIME%] %REQ(:PATH)%'"),
        (["access.log", "--config", "rules.yaml", "--only", "code=1"], "nothing was played: --only leaves every line out"),
        (
            ["access.log", "--config", "rules.yaml", "--descriptor", "company_id=jwt"],
            "nothing was played: no line has a descriptor, since the fields are missing; see --descriptor",
        ),
        (["rules.yaml", "--config", "rules.yaml"], "nothing was played: no line could be read"),
        (["access.log", "--config", "rules.yaml", "--svg", "none/x.svg"], "cannot write none/x.svg"),
    ],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], message: str) -> None:
    result = replay(*arguments)
    assert result.exit_code == 2
    assert f"rls: {message}" in result.stderr


def test_each_format_that_a_mistake_lists_works() -> None:
    message = replay("access.log", "--config", "rules.yaml", "--format", "text").stderr
    listed = message.partition(": expected ")[2].partition(", or ")[0].split(", ")
    assert listed == ["auto", "json", "decisions", "istio", "envoy"]
    for form in listed:
        assert "--format" not in replay("access.log", "--config", "rules.yaml", "--format", form).stderr


def test_a_result_that_means_little_is_said_to() -> None:
    """Where no rule matched, and where the log lacks the requests that passed."""
    result = replay("access.log", "--config", "rules.yaml", "--descriptor", "user=company_id")
    assert result.stderr == "rls: no request met a limit of rules.yaml: see --domain and --descriptor\n"
    line = {
        "time": START,
        "domain": "mesh",
        "rule": "company_id",
        "descriptor": ["company_id=a"],
        "outcome": "over_limit",
    }
    more = {"limit": 3, "window": 60, "hits": 1, "answered_by": "redis", "seconds": 0.001, "revision": "a"}
    write("decisions", [line | more])
    result = replay("decisions", "--config", "rules.yaml")
    assert result.exit_code == 0
    assert "this decision log has refusals only" in result.stderr


def test_a_decision_log_is_doubtful_where_requests_have_several_descriptors() -> None:
    """It has one descriptor of each, so other counters miss requests: said in each form of the result."""
    line = {"domain": "mesh", "rule": "company_id", "descriptor": ["company_id=a"], "outcome": "ok", "hits": 1}
    more = {"limit": 3, "window": 60, "answered_by": "redis", "seconds": 0.001, "revision": "a"}
    write("decisions", [line | more | {"time": START + at} for at in range(3)])
    note = (
        "a decision log has one descriptor of each request: if requests have several, counters are too low and too few "
        "requests are refused; replay the access log instead"
    )
    for options in ([], ["--json"], ["--html", "x.html"]):
        result = replay("decisions", "--config", "rules.yaml", *options)
        assert (result.exit_code, result.stderr) == (0, f"rls: {note}\n")
    assert json.loads(replay("decisions", "--config", "rules.yaml", "--json").stdout)["notes"] == [note]
    assert f"<p><strong>Note:</strong> {note}</p>" in Path("x.html").read_text()
    assert json.loads(replay("access.log", "--config", "rules.yaml", "--json").stdout)["notes"] == []
    replay("access.log", "--config", "rules.yaml", "--html", "x.html")
    assert "Note:" not in Path("x.html").read_text()


def test_rules_with_several_domains() -> None:
    """A decision log says which domain was asked; of an access log it must be said."""
    Path("rules.yaml").write_text(f"{RULES}---\n{RULES.replace('mesh', 'other')}")
    line = {"time": START, "domain": "other", "rule": "company_id", "descriptor": ["company_id=a"], "outcome": "ok"}
    more = {"limit": 3, "window": 60, "hits": 9, "answered_by": "redis", "seconds": 0.001, "revision": "a"}
    write("decisions", [line | more])
    (rule,) = json.loads(replay("decisions", "--config", "rules.yaml", "--json").stdout)["rules"][0]["by_rule"]
    assert (rule["domain"], rule["refused"]["count"]) == ("other", 1)
    result = replay("access.log", "--config", "rules.yaml")
    assert result.exit_code == 2
    assert "the rules have the domains mesh, other: expected --domain NAME with one of them" in result.stderr
    assert replay("access.log", "--config", "rules.yaml", "--domain", "other").exit_code == 0


def test_the_picture_and_the_page() -> None:
    """Well-formed, with all numbers, and with nothing from elsewhere; what a client sent is text in them."""
    evil = "</style><script>alert(1)</script>"
    write("access.log", [*LINES, *[LINES[-1] | {"company_id": evil}] * 5])
    names = ["access.log", "--config", "strict.yaml", "--against", "rules.yaml", "--svg", "x.svg", "--html", "x.html"]
    assert replay(*names).exit_code == 1
    picture, page = Path("x.svg").read_text(), Path("x.html").read_text()
    texts = [text for part in ET.fromstring(picture).iter() if (text := (part.text or "").strip())]
    assert {"65 requests replayed", "39 (60.0 %) refused by strict.yaml", "2 (3.1 %) refused by rules.yaml"} <= set(
        texts
    )
    assert picture.count("prefers-color-scheme: dark") == 1
    assert picture in page.replace("<!doctype html>", "")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_terminal_shows_how_far_it_is_and_colours() -> None:
    """And the bar is gone at the end."""
    master, slave = os.openpty()
    command = [sys.executable, "-m", "rls", "replay", "access.log", "--config", "strict.yaml"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=env) as process:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the program has ended
            while more := os.read(master, 65_536):
                shown += more
    os.close(master)
    assert process.returncode == 0
    bar, end, rest = shown.decode().partition("60 requests in access.log")
    assert end
    assert " % " in bar
    assert "requests" in bar
    assert "\x1b[2K" in bar  # erased
    assert "\x1b[31m█" in rest


def test_hostile_text_reaches_no_terminal() -> None:
    write("access.log", [LINES[0] | {"company_id": HOSTILE}] * 9)
    result = replay("access.log", "--config", "rules.yaml")
    assert "…" in result.stdout or "owned" in result.stdout
    assert (harm(result.stdout), commands(result.stdout)) == (set(), [])
