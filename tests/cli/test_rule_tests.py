"""`rls test`: failures say what, where and why; reports for machines; exit codes."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from rls.cli import app

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: minute, requests_per_unit: 2, replaces: [{name: ip}]}
  - {key: ip, rate_limit: {name: ip, unit: minute, requests_per_unit: 1}}
  - {key: tried, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 0}}
  - {key: free, rate_limit: {unlimited: true}}
"""
GOOD = """\
about: A company has two requests a minute.
config: rules.yaml
steps:
  - {ask: {company_id: acme}, times: 2, answer: OK}
  - {ask: {company_id: acme}, answer: OVER_LIMIT, limited_by: company}
  - {at: 1m, ask: {company_id: acme}, answer: OK}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


def run(*arguments: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["test", *arguments])


def failures_of(folder: Path, *steps: str, head: str = "config: rules.yaml") -> list[str]:
    """What is printed of a test with *steps*, without its file name and sentence."""
    (folder / "t.yaml").write_text("\n".join([f"about: x\n{head}\nsteps:", *(f"  - {step}" for step in steps)]))
    done = run("t.yaml")
    assert done.exit_code == (1 if done.stdout else 0)
    found: list[str] = done.stdout.replace("t.yaml:", "").replace(": x:", ":").splitlines()
    return found


def test_tests_that_pass_print_nothing_but_a_summary(folder: Path) -> None:
    (folder / "a.yaml").write_text(f"{GOOD}---\n{GOOD}")
    (folder / "deep").mkdir()
    (folder / "deep" / "b.yml").write_text(GOOD.replace("rules.yaml", "../rules.yaml"))
    done = run("a.yaml", "deep", "a.yaml")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "3 passed, 0 failed; 2 files\n")


@pytest.mark.parametrize(
    ("step", "failure"),
    [
        ("{ask: {company_id: a}, answer: OVER_LIMIT}", "4:28: answer: expected OVER_LIMIT, got OK"),
        ("{ask: {company_id: a}, error: 14 away}", "4:28: error: expected 14 away, got the answer OK"),
        ("{ask: [], answer: OK}", "4:15: answer: expected OK, got the error 3 rate limit descriptor list must not be empty"),
        ("{ask: {ip: a}, answer: OK, statuses: [{remaining: 1}]}", "4:44: statuses[1].remaining: expected 1, got 0"),
        ("{ask: {ip: a}, answer: OK, statuses: [{limit: 2/minute}]}", "4:44: statuses[1].limit: expected 2/minute, got 1/minute"),
        ("{ask: {ip: a}, answer: OK, statuses: [{rule: company}]}", "4:44: statuses[1].rule: expected company, got ip"),
        ("{ask: {ip: a}, answer: OK, statuses: [{rule: null}]}", "4:44: statuses[1].rule: expected null, got ip"),
        ("{ask: {no: a}, answer: OK, statuses: [{rule: ip}]}", "4:44: statuses[1].rule: expected ip, got null"),
        ("{ask: {free: a}, answer: OK, statuses: [OK]}", "4:34: statuses[1]: expected OK, got OK unlimited"),
        ("{ask: {ip: a}, answer: OK, statuses: []}", "4:32: statuses: expected 0 of them, got 1 of them"),
        ("{ask: {ip: a}, answer: OK, limited_by: ip}", "4:32: limited_by: expected ip, got null"),
        ("{ask: {ip: a}, answer: OK, headers: {a: b}}", '4:32: headers: expected {"a": "b"}, got {}'),
        ("{ask: {ip: a}, answer: OK, body: {a: b}}", '4:32: body: expected {"a": "b"}, got {"a": null}'),
        ("{ask: {ip: a}, answer: OK, metadata: {a: 1}}", '4:32: metadata: expected {"a": 1}, got {}'),
        ("{ask: {ip: a}, answer: OK, keys: []}", '4:32: keys: expected [], got ["r1|mesh|ip=a|60|1700000040"]'),
        ("{ask: {tried: a}, answer: OK, shadowed: true}", "4:35: shadowed: expected true, got false"),
        ("{ask: {ip: a}, answer: OK, domain: mess}", "4:5: known: expected true, got false"),
        ("{load: 'domains: mesh', problems: []}", "4:6: problems: expected rules without mistakes, got rules.yaml:"),
    ],
)  # fmt: skip
def test_each_expectation_can_fail_and_says_where(folder: Path, step: str, failure: str) -> None:
    first, *_ = failures_of(folder, step)
    assert first.startswith(failure)


def test_a_failure_says_which_rules_applied(folder: Path) -> None:
    found = failures_of(
        folder,
        "{ask: {company_id: acme}, answer: OK}",
        "{at: 5s, ask: [{company_id: acme}, {ip: a}, {free: x}, {none: x}], times: 2, answer: OK}",
    )
    assert found == [
        "5:82: answer: expected OK, got OVER_LIMIT",
        "    asked in the domain mesh, 5 s after the start, request 2 of the step",
        "    company_id=acme: rule mesh company_id (company) at rules.yaml:3: OVER_LIMIT, 0 of 2/minute left",
        "    ip=a: its rule is replaced by another rule of the request",
        "    free=x: rule mesh free at rules.yaml:7: unlimited",
        "    none=x: no rule matches",
    ]


def test_rules_come_from_the_test_or_from_the_command_line(folder: Path) -> None:
    (folder / "t.yaml").write_text(GOOD.replace("config: rules.yaml\n", ""))
    assert run("--config", "rules.yaml", "t.yaml").exit_code == 0
    done = run("t.yaml")
    assert done.exit_code == 1
    assert "rules: expected `rules` or `config` here, or --config, got none of them" in done.stdout
    assert "no such file or directory: nowhere" in failures_of(folder, "{at: 1}", head="config: nowhere")[0]
    assert "expected rules without mistakes, got" in failures_of(folder, "{at: 1}", head="rules: 'domains: x'")[0]


def test_the_domain_is_that_of_the_rules(folder: Path) -> None:
    rules = "rules: '{domain: edge, descriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 0}}]}'"
    assert failures_of(folder, "{ask: {a: b}, answer: OVER_LIMIT}", head=rules) == []
    assert failures_of(folder, "{ask: {a: b}, answer: OK, known: false}", head=f"{rules}\ndomain: mesh") == []


def test_reports_for_machines(folder: Path) -> None:
    bad = GOOD.replace("times: 2", "times: 3")
    (folder / "t.yaml").write_text(f"{GOOD}---\n{bad}")
    (folder / "u.yaml").write_text("steps: [")
    done = run("--json", "--junit", "report.xml", "t.yaml", "u.yaml")
    assert done.exit_code == 1
    good, failed, mistaken = json.loads(done.stdout)
    assert (good["passed"], good["line"], good["failures"]) == (True, 1, [])
    (failure,) = failed["failures"]
    assert (failed["passed"], failed["about"], failure["line"], failure["what"]) == (False, good["about"], 11, "answer")
    assert (failure["expected"], failure["got"]) == ("OK", "OVER_LIMIT")
    assert mistaken["file"] == "u.yaml"

    suites = ET.parse("report.xml").getroot()
    assert [(one.get("name"), one.get("tests"), one.get("failures"), one.get("errors")) for one in suites] == [
        ("t.yaml", "2", "1", "0"),
        ("u.yaml", "1", "0", "1"),
    ]
    assert [case.get("line") for case in suites[0]] == ["1", "8"]
    (reported,) = suites[0][1]
    assert reported.get("message") == "answer: expected OK, got OVER_LIMIT"
    assert str(reported.text).startswith("t.yaml:11:")


def test_wrong_usage(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "t.yaml").write_text(GOOD)
    for arguments, told in (
        (["nothing.yaml"], "no such file or directory: nothing.yaml"),
        (["t.yaml", "--config", "none"], "no such file or directory: none"),
        (["empty"], "no file ends in .yaml or .yml in: empty"),
        (["t.yaml", "--junit", "none/r.xml"], "--junit: cannot write none/r.xml: No such file or directory"),
    ):
        done = run(*arguments)
        assert (done.exit_code, told in done.stderr) == (2, True), done.stderr


def test_what_a_test_says_gives_no_commands_to_a_terminal_or_a_ci(folder: Path) -> None:
    (folder / "t.yaml").write_text(
        r'about: "\e[31m::error::\n##[x]"' + "\nrules: ''\nsteps: [{ask: {a: b}, answer: OK}]"
    )
    done = run("t.yaml", "--junit", "report.xml")
    assert "\x1b" not in done.stdout
    assert "##[" not in done.stdout
    ET.parse("report.xml")
