import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rls.cli import app
from tests.terminal import HOSTILE, commands, harm

GOOD = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: minute, requests_per_unit: 3}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch) -> Path:
    """The current folder, in which files are named as they are told."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> None:
    Path(name).write_text(text)


def check(*arguments: str, stdin: str | None = None):
    return CliRunner().invoke(app, ["check", *arguments], input=stdin)


def test_nothing_to_find() -> None:
    write("good.yaml", GOOD)
    result = check("good.yaml")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 errors, 0 warnings; 1 rule in 1 domain from 1 file\n"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, ":1:1: no rules in this directory, expected files named *.yaml or *.yml"),
        ({"config": GOOD}, "expected files named *.yaml or *.yml; 1 file was skipped: rules/config, expected a name"),
        ({"a.yaml": "domain: mesh\n"}, ":1:1: no rule found, so a server would limit nothing"),
        ({"a.yaml": "domain: mesh\ndescriptors: [{key: k}]\n"}, "no rule found"),
    ],
)
def test_no_rules_are_an_error(files: dict[str, str], found: str) -> None:
    """A server would not be ready."""
    Path("rules").mkdir()
    for name, text in files.items():
        write(f"rules/{name}", text)
    result = check("rules")
    assert result.exit_code == 1
    assert found in result.stdout
    assert result.stderr.startswith("1 error, ")
    assert "0 rules" in result.stderr


def test_links_are_followed_and_what_is_skipped_is_warned_of() -> None:
    """The way of git-sync: one link to what is checked out."""
    Path(".worktrees/x").mkdir(parents=True)
    write(".worktrees/x/a.yaml", GOOD)
    Path("current").symlink_to(".worktrees/x")
    Path("team-b").symlink_to("nowhere")
    result = check(".")
    assert (result.exit_code, result.stderr) == (0, "0 errors, 1 warning; 1 rule in 1 domain from 1 file\n")
    assert result.stdout == (
        "team-b:1:1: warning: leads nowhere (No such file or directory), so nothing is read here\n"
    )


def test_what_cannot_be_read_is_an_error() -> None:
    """It neither blocks nor ends in a traceback."""
    write("good.yaml", GOOD)
    os.mkfifo("pipe.yaml")
    result = check("good.yaml", "pipe.yaml", "x" * 300)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "pipe.yaml:1:1: cannot be read (it is a FIFO, not a regular file), expected rules in YAML",
        f"{'x' * 300}:1:1: cannot be read (File name too long), expected rules in YAML",
    ]


def test_all_mistakes_are_listed() -> None:
    """Somebody asked for them."""
    write("bad.yaml", GOOD + "    oops: 1\n" * 1_000)
    result = check("bad.yaml")
    assert len(result.stdout.splitlines()) == 1_000
    assert result.stderr.startswith("1000 errors")


def test_every_mistake_has_its_line() -> None:
    """Of all files, the good ones among them included in the summary."""
    write("a.yaml", GOOD.replace("unit: minute", "unit: mniute"))
    write("b.yaml", GOOD.replace("domain", "domian"))
    write("c.yaml", GOOD)
    result = check("a.yaml", "b.yaml", "c.yaml")
    assert result.exit_code == 1
    places = [line.split(": ")[0] for line in result.stdout.splitlines()]
    assert places == ["a.yaml:4:18", "b.yaml:1:1", "b.yaml:1:1"]
    assert "did you mean `minute`?" in result.stdout
    assert result.stderr.startswith("3 errors, 0 warnings; 1 rule in 1 domain")


WARNED = GOOD + "    shadow_mode: false\n    shadow_mode: true\n"


def test_a_warning_says_that_it_is_one() -> None:
    write("odd.yaml", WARNED)
    result = check("odd.yaml")
    assert result.exit_code == 0
    assert result.stdout.startswith("odd.yaml:6:5: warning: `shadow_mode` stands here twice")


def test_strict_takes_warnings_for_errors() -> None:
    write("odd.yaml", WARNED)
    assert check("--strict", "odd.yaml").exit_code == 1


def test_annotations_for_github() -> None:
    write("a,b.yaml", "domian: 100%\n")
    write("odd.yaml", WARNED)
    result = check("--format", "github", "a,b.yaml", "odd.yaml")
    assert result.exit_code == 1
    assert "::error file=a%2Cb.yaml,line=1,col=1::unknown key `domian`, did you mean `domain`?" in result.stdout
    assert "::warning file=odd.yaml,line=6,col=5::`shadow_mode` stands here twice" in result.stdout


@pytest.mark.parametrize(("mistakes", "annotated"), [(10, 10), (11, 10), (25, 10)])
def test_more_annotations_than_github_shows_are_counted_and_logged(mistakes: int, annotated: int) -> None:
    """GitHub shows ten of a step, and does not say that there are more."""
    write("bad.yaml", GOOD + "    oops: 1\n" * mistakes)
    lines = check("--format", "github", "bad.yaml").stdout.splitlines()
    commands = [line for line in lines if line.startswith(("::error ", "::error::"))]
    assert len(commands) == annotated
    logged = [line for line in lines if not line.startswith("::")]
    assert len(commands) + len(logged) - bool(logged) == mistakes
    if logged:
        assert commands[-1] == f"::error::{mistakes - 9} more errors: the log of this step lists all"
        assert logged[-1].startswith(f"error: bad.yaml:{mistakes + 4}:5: unknown key `oops`")


def test_json() -> None:
    write("odd.yaml", WARNED)
    write("bad.yaml", "domian: x\n")
    result = check("--format", "json", "odd.yaml", "bad.yaml")
    assert result.exit_code == 1
    findings = json.loads(result.stdout)
    assert {finding["severity"] for finding in findings} == {"error", "warning"}
    assert {"severity", "code", "file", "line", "column", "message"} == set(findings[0])
    assert {(finding["severity"], finding["code"]) for finding in findings} == {
        ("error", "invalid"),
        ("warning", "doubtful"),
    }


def test_json_of_nothing() -> None:
    write("good.yaml", GOOD)
    assert json.loads(check("--format", "json", "good.yaml").stdout) == []


NOTED = (
    GOOD
    + """\
    descriptors:
      - key: path
        rate_limit: {unit: second, requests_per_unit: 100}
"""
)
NOTE = (
    "100/second refuses nothing where a request is also counted for `company_id`, 3/minute at noted.yaml:3, "
    "which refuses it sooner"
)


def test_a_note_is_advice_and_fails_nothing() -> None:
    write("noted.yaml", NOTED)
    result = check("noted.yaml", "--strict")
    assert (result.exit_code, result.stdout) == (0, f"noted.yaml:6:9: note: {NOTE}\n")
    assert result.stderr == "0 errors, 0 warnings, 1 note; 2 rules in 1 domain from 1 file\n"
    assert check("--format", "github", "noted.yaml").stdout == f"::notice file=noted.yaml,line=6,col=9::{NOTE}\n"


def test_sarif() -> None:
    """What SARIF 2.1.0 requires (sections 3.13, 3.14, 3.18, 3.19, 3.27 to 3.30), and what GitHub's code scanning reads."""
    write("noted.yaml", NOTED)
    write("odd.yaml", WARNED.replace("mesh", "odd"))
    write("böse, bad.yaml", "domian: x\n")
    result = check("--format", "sarif", "noted.yaml", "odd.yaml", "böse, bad.yaml")
    assert result.exit_code == 1
    log = json.loads(result.stdout)
    assert log.keys() == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert run.keys() == {"tool", "columnKind", "results"}
    driver = run["tool"]["driver"]
    assert driver["name"] == "rls check"
    codes = [rule["id"] for rule in driver["rules"]]
    assert sorted(set(codes)) == codes == ["doubtful", "invalid", "never_bites"]
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    results = run["results"]
    assert [(one["level"], one["ruleId"]) for one in results] == [
        ("error", "invalid"),
        ("error", "invalid"),
        ("warning", "doubtful"),
        ("note", "never_bites"),
        ("warning", "doubtful"),
    ]
    for one in results:
        assert codes[one["ruleIndex"]] == one["ruleId"]
        assert one["message"]["text"]
    places = [one["locations"][0]["physicalLocation"] for one in results]
    assert [place["artifactLocation"]["uri"] for place in places][2:] == [
        "b%C3%B6se%2C%20bad.yaml",
        "noted.yaml",
        "odd.yaml",
    ]
    assert places[3]["region"] == {"startLine": 6, "startColumn": 9}
    assert results[3]["message"]["text"] == NOTE


def test_sarif_of_nothing() -> None:
    write("good.yaml", GOOD)
    (run,) = json.loads(check("--format", "sarif", "good.yaml").stdout)["runs"]
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])


MANY = "1 update; a counter for each company_id, about 162 bytes in Redis, 162 MB for a million of them, kept for 1 to 2 min"


def test_what_rules_cost() -> None:
    write(
        "cost.yaml",
        GOOD
        + """\
  - key: path
    value: /api/*
    share_threshold: true
    rate_limit: {unit: hour, unit_multiplier: 2, requests_per_unit: 10}
  - key: internal
    rate_limit: {unlimited: true}
""",
    )
    result = check("cost.yaml", "--cost")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[1:] == [
        "cost of mesh: each descriptor of a request that matches a rule is one of these",
        f"  company_id 3/minute: {MANY}",
        "  path_/api/* 10/2 hours: 1 update; one counter, about 148 bytes in Redis, kept for 2 h to 2 h 5 min",
    ]


def test_a_path_that_is_not_there_is_a_wrong_call() -> None:
    result = check("none.yaml", "gone.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "rls: no such file or directory: none.yaml, expected rules in YAML",
        "rls: no such file or directory: gone.yaml, expected rules in YAML",
    ]


def test_no_path_is_a_wrong_call() -> None:
    assert check().exit_code == 2


HOSTILE_NAMES = [
    b"::error::x\x1b[2J.yaml",
    b"##[stop-commands]x.yaml",
    b"latin-\xe9.yaml",
    "two\nlines,a:b%0A\u202e.yaml".encode(),
]
"""Of files, as a pull request may bring them."""


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=["command", "old command", "not UTF-8", "lines"])
@pytest.mark.parametrize("form", ["text", "github", "json", "sarif"])
def test_neither_names_nor_contents_of_files_reach_the_terminal_raw(form: str, name: bytes) -> None:
    """Nor does a CI take them for commands; what it is given are just the annotations."""
    key = json.dumps(HOSTILE)
    text = f"""domain: mesh
{key}: {key}
descriptors:
  - key: a
    value: {key}
    {key}: !!int {key}
    value_to_metric: {key}
  - key: b
    rate_limit: {{unit: {key}, requests_per_unit: {key}, name: {key}, replaces: [{{name: {key}}}]}}
  - key: b
"""
    Path(os.fsdecode(name)).write_text(text)
    result = check("--format", form, "--", os.fsdecode(name))
    assert result.exit_code == 1
    assert result.stdout.count("\\x1b") >= 5
    assert not harm(result.output)
    annotated = set(commands(result.stdout))
    assert annotated == ({"error", "warning"} if form == "github" else set())
    assert len(commands(result.stdout)) == (len(result.stdout.splitlines()) if form == "github" else 0)
    assert commands(result.stderr) == []


def test_a_hostile_name_that_is_not_there() -> None:
    for name in HOSTILE_NAMES:
        assert not harm(check("--", os.fsdecode(name)).output)


def test_text_of_any_script_stays_readable() -> None:
    write("größe.yaml", GOOD + "    название: 値\n")
    assert check("größe.yaml").stdout.startswith("größe.yaml:5:5: unknown key `название`")


def test_what_the_server_that_it_replaces_makes_of_the_rules() -> None:
    """What that refuses is an error, what it reads otherwise a warning; without `--for` neither is."""
    write("rules.yaml", GOOD + "    on_backend_error: deny\n---\n" + GOOD.replace("company_id", "user"))
    assert check("rules.yaml").exit_code == 0
    result = check("rules.yaml", "--for", "envoyproxy")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "rules.yaml:5:5: envoyproxy/ratelimit refuses the configuration: it does not know `on_backend_error`",
        "rules.yaml:7:1: warning: envoyproxy/ratelimit reads only the first document of a file: this one has no effect there",
    ]
    assert result.stderr == "1 error, 1 warning; 2 rules in 1 domain from 1 file\n"


def test_rules_from_standard_input() -> None:
    """As in `git show main:rules.yaml | rls check -`, beside files, and for the other server, too."""
    write("other.yaml", GOOD.replace("mesh", "other"))
    result = check("-", "other.yaml", stdin=GOOD)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 errors, 0 warnings; 2 rules in 2 domains from 2 files\n"
    result = check("-", "--for", "envoyproxy", stdin=GOOD + "    on_backend_error: deny\n")
    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:5:5: envoyproxy/ratelimit refuses the configuration: ")
    assert check("-", stdin="").stdout.startswith("<stdin>:1:1: the file holds no document")


OLD = GOOD + "  - key: path\n    rate_limit: {unit: hour, requests_per_unit: 60}\n"


@pytest.mark.parametrize("old", ["old.yaml", "-"])
def test_what_differs_from_earlier_rules_is_listed(old: str) -> None:
    """A limit that became 0 is a warning, at its place, and stderr lists the rest."""
    write("old.yaml", OLD)
    write(
        "new.yaml", OLD.replace("requests_per_unit: 60", "requests_per_unit: 0").replace("unit: minute", "unit: second")
    )
    result = check("new.yaml", "--against", old, stdin=OLD)
    name = "<stdin>" if old == "-" else old
    assert (result.exit_code, result.stdout) == (
        0,
        "new.yaml:5:5: warning: the limit of mesh path is 0/hour, and was 60/hour: every request that it matches is refused\n",
    )
    assert result.stderr.splitlines() == [
        "0 errors, 1 warning; 2 rules in 1 domain from 1 file",
        f"compared with {name}: 2 changed (1 stricter)",
        "  changed mesh path at new.yaml:5: 60/hour → 0/hour, stricter",
        "  changed mesh company_id at new.yaml:3: 3/minute → 3/second",
    ]
    assert check("new.yaml", "--against", old, "--strict", stdin=OLD).exit_code == 1


def test_of_many_differences_the_first_are_listed() -> None:
    write("old.yaml", GOOD)
    many = "".join(f"  - key: k{n}\n    rate_limit: {{unit: day, requests_per_unit: 1}}\n" for n in range(25))
    result = check("-", "--against", "old.yaml", stdin=GOOD + many)
    assert result.stderr.splitlines()[1:3] == [
        "compared with old.yaml: 25 added",
        "  added mesh k0 at <stdin>:5: 1/day",
    ]
    assert result.stderr.splitlines()[-1] == "  and 5 more"


BAD = "domian: x\n"


@pytest.mark.parametrize(
    ("new", "old", "code", "where"),
    [
        (BAD, GOOD, 1, "the rules must have no errors; the first is new.yaml:1:1: "),
        (BAD, BAD, 1, "the rules must have no errors; the first is new.yaml:1:1: "),
        (GOOD, BAD, 2, "--against {} must have no errors; the first is {}:1:1: "),
        (GOOD, "", 2, "--against {} must have no errors; the first is {}:1:1: the file holds no document"),
    ],
)
@pytest.mark.parametrize("name", ["old.yaml", "<stdin>"])
def test_rules_with_mistakes_are_not_compared(name: str, new: str, old: str, code: int, where: str) -> None:
    """What they lack would be said to be removed; and a step of a CI that is there to compare must not pass."""
    write("new.yaml", new)
    write("old.yaml", old)
    result = check("new.yaml", "--against", name.replace("<stdin>", "-"), stdin=old)
    assert result.exit_code == code
    assert result.stderr.splitlines()[-1].startswith(f"rls: not compared with {name}: {where.format(name, name)}")


def test_a_directory_without_rules_is_nothing_to_compare_with() -> None:
    write("new.yaml", GOOD)
    Path("empty").mkdir()
    result = check("new.yaml", "--against", "empty")
    assert result.exit_code == 2
    assert "the first is empty:1:1: no rules in this directory" in result.stderr


def test_earlier_rules_that_are_not_there_are_a_wrong_call() -> None:
    write("new.yaml", GOOD)
    result = check("new.yaml", "--against", "old.yaml")
    assert (result.exit_code, result.stderr) == (
        2,
        "rls: no such file or directory: old.yaml, expected rules in YAML\n",
    )
