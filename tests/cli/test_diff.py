"""`rls diff`: its texts, JSON and annotations, git revisions, recorded lists, and exit codes."""

from __future__ import annotations

import json
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from rls.cli import app
from tests.terminal import HOSTILE, commands, harm

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: minute, requests_per_unit: 60}
"""
LOWER = RULES.replace("60", "6")
TOP = {
    "by": "hits",
    "rows": [{"domain": "mesh", "entries": [{"key": "company_id", "value": "acme"}], "per_second": 0.5}],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(RULES)
    Path("lower.yaml").write_text(LOWER)
    Path("top.json").write_text(json.dumps(TOP))


def diff(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["diff", *arguments])


def test_no_difference() -> None:
    result = diff("rules.yaml", "rules.yaml")
    assert (result.exit_code, result.output) == (0, "no rule changed\n")


def test_json() -> None:
    result = diff("rules.yaml", "lower.yaml", "--json", "--top", "top.json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    (effect,) = found["effects"]
    assert (found["added"], found["changed"], found["removed"], found["domains"]) == (0, 1, 0, [])
    assert (effect["direction"], effect["before"], effect["after"]) == ("lower", "60/minute", "6/minute")
    assert (effect["counters"], effect["place"], effect["moved_from"]) == ("stay", "lower.yaml:3", None)
    (row,) = found["recorded"]
    assert (row["refused_before"], row["refused"], row["place"]) == (0.0, 0.8, "lower.yaml:3")


def test_rules_from_standard_input() -> None:
    """In either place, as in `git show main:rules.yaml | rls diff - rules.yaml`."""
    result = CliRunner().invoke(app, ["diff", "-", "lower.yaml"], input=RULES)
    assert (result.exit_code, result.stdout) == (1, diff("rules.yaml", "lower.yaml").stdout)
    result = CliRunner().invoke(app, ["diff", "rules.yaml", "-"], input=LOWER)
    assert (result.exit_code, result.stderr) == (1, "")
    assert " at <stdin>:3: " in result.stdout
    result = CliRunner().invoke(app, ["diff", "-", "rules.yaml"], input="")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("rls: <stdin>:1:1: the file holds no document")


def test_annotations() -> None:
    """A limit that falls is a warning, and stands at its line; one that rises is a notice."""
    warning = diff("rules.yaml", "lower.yaml", "--format", "github").stdout
    assert warning.startswith("::warning file=lower.yaml,line=3,col=5::lower: changed mesh company_id (company)")
    assert diff("lower.yaml", "rules.yaml", "--format", "github").stdout.startswith("::notice file=rules.yaml,line=3")


@pytest.mark.parametrize("limit", ["unit: minute, requests_per_unit: 60", "unlimited: true"])
def test_a_rule_that_is_no_longer_replaced_is_a_warning(limit: str) -> None:
    """The rule itself lets as much pass as before, but what it replaced refuses now."""
    rules = RULES.replace("unit: minute, requests_per_unit: 60", f"{limit}, replaces: [{{name: ip}}]")
    Path("before.yaml").write_text(rules)
    Path("after.yaml").write_text(RULES.replace("unit: minute, requests_per_unit: 60", limit))
    result = diff("before.yaml", "after.yaml")
    assert (result.exit_code, result.output.splitlines()[0]) == (1, "1 changed (1 stricter)")
    text = "unlimited" if "unlimited" in limit else "60/minute"
    assert (
        f"same limit, but stricter: changed mesh company_id (company) at after.yaml:3: {text}, replaces ip → {text}\n"
        in result.output
    )
    assert diff("before.yaml", "after.yaml", "--format", "github").stdout.startswith("::warning file=after.yaml,line=3")
    assert diff("after.yaml", "before.yaml").output.startswith("1 changed\nsame limit: changed")


def test_a_switch_of_a_domain_is_a_difference() -> None:
    Path("refund.yaml").write_text(f"refund_over_limit: true\n{RULES}")
    result = diff("rules.yaml", "refund.yaml")
    assert result.exit_code == 1
    assert "domain mesh: refund_over_limit is true, and was the server's default; counters stay\n" in result.stdout


def git(*arguments: str) -> None:
    known = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *known, *arguments], check=True, capture_output=True)


def test_a_revision_of_git() -> None:
    """Of a folder or a file, from wherever in the repository."""
    Path("config/more").mkdir(parents=True)
    Path("config/more/mesh.yaml").write_text(RULES)
    Path("config/other.yaml").write_text(RULES.replace("mesh", "other"))
    git("init", "--quiet")
    git("add", "config")
    git("commit", "--quiet", "--message", "rules")
    assert diff("git:HEAD:config", "config").exit_code == 0
    assert diff("git:HEAD:.", "config").exit_code == 0
    Path("config/more/mesh.yaml").write_text(LOWER)
    result = diff("git:HEAD:config/", "config")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, "1 changed (1 stricter)")
    assert diff("git:HEAD:config/more/mesh.yaml", "config/more/mesh.yaml").exit_code == 1
    assert (
        "removed other company_id (company) at HEAD:config/other.yaml:3" in diff("git:HEAD:config", "rules.yaml").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.yaml", "rules.yaml"], "none.yaml:1:1: cannot be read"),
        (["empty", "rules.yaml"], "empty:1:1: no rules in this directory, expected files named *.yaml or *.yml"),
        (["rules.yaml", "empty"], "empty:1:1: no rules in this directory, expected files named *.yaml or *.yml"),
        (["git:HEAD", "rules.yaml"], "cannot read git:HEAD: expected git:REVISION:PATH, such as git:HEAD~1:config"),
        (["git:HEAD:", "rules.yaml"], "cannot read git:HEAD:: expected git:REVISION:PATH, such as git:HEAD~1:config"),
        (["git:none:x", "rules.yaml"], "cannot read git:none:x: git says: "),
        (["rules.yaml", "top.json"], "top.json:1:"),
        (["rules.yaml", "lower.yaml", "--top", "none"], "--top is 'none': it cannot be read"),
        (
            ["rules.yaml", "lower.yaml", "--top", "rules.yaml"],
            "--top is 'rules.yaml': it is YAML, expected an answer of /api/v1/top",
        ),
        (["rules.yaml", "lower.yaml", "--top", "near.json"], "--top is 'near.json': it is ordered by `near`"),
        (["rules.yaml", "lower.yaml", "--top", "list.json"], "--top is 'list.json': it is no answer of /api/v1/top"),
        (["rules.yaml", "lower.yaml", "--format", "x"], "--format is 'x': expected text or json or github"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    Path("near.json").write_text(json.dumps({**TOP, "by": "near"}))
    Path("list.json").write_text("[]")
    Path("empty").mkdir()
    result = diff(*arguments)
    assert result.exit_code == 2
    assert f"rls: {message}" in result.stderr


class Answers(BaseHTTPRequestHandler):
    """A list at one path only."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/v1/top?by=hits" else 404)
        self.end_headers()
        self.wfile.write(json.dumps(TOP).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_list_from_a_server() -> None:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        found = diff("rules.yaml", "lower.yaml", "--top", f"{base}/api/v1/top?by=hits")
        missing = diff("rules.yaml", "lower.yaml", "--top", f"{base}/none")
        server.shutdown()
        thread.join()
    assert found.stdout.splitlines()[-2:] == [
        "of 1 recorded, at their rates: 1 would be refused in part",
        "  company_id=acme: 0.5 hits/s against 6/minute of mesh company_id (company) at lower.yaml:3: 80% refused, none before",
    ]
    assert missing.exit_code == 2
    assert "it cannot be read: " in missing.stderr


def test_hostile_text_reaches_no_terminal() -> None:
    Path("hostile.yaml").write_text(
        RULES
        + "  - key: company_id\n    value: "
        + json.dumps(HOSTILE)
        + "\n    rate_limit: {unit: day, requests_per_unit: 1}\n"
    )
    for form in ("text", "json", "github"):
        output = diff("rules.yaml", "hostile.yaml", "--format", form).output
        assert harm(output) == set()
        assert commands(output) == (["warning"] if form == "github" else [])
