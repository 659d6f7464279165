"""`rls explain`: offline, of a server, and of HTTP requests through an EnvoyFilter."""

import base64
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rls.cli import app
from tests.rls_process import RlsProcess
from tests.terminal import HOSTILE, commands, harm

ROOT = Path(__file__).parents[2]
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: day, requests_per_unit: 100, replaces: [{name: ip}]}
    descriptors:
      - {key: path, value: /login, rate_limit: {unit: hour, requests_per_unit: 5}}
  - {key: company_id, value: acme, rate_limit: {name: acme, unit: day, requests_per_unit: 3}}
  - {key: company_id, value: "load*", rate_limit: {unlimited: true}}
  - {key: remote_address, rate_limit: {name: ip, unit: day, requests_per_unit: 20}}
  - {key: tried, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 0}}
  - key: group
    descriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 1}}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


def run(*arguments: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["explain", *arguments])


def offline(*arguments: str):
    return run("--config", "rules.yaml", "--domain", "mesh", *arguments)


def token(claims: object) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "x"])


def test_a_tree_with_the_reason_of_each_node(folder: Path) -> None:
    done = offline("company_id=acme")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[:8] == [
        "OK would be answered",
        "",
        "company_id=acme",
        "  ✓ company_id=acme   the value itself  rules.yaml:7",
        "  ✗ company_id=load*  pattern does not match: load* does not match acme  rules.yaml:8",
        "  ✗ company_id        passed over: company_id=acme comes first: an exact value  rules.yaml:3",
        "  ✗ remote_address    other key: the entry's key is company_id  rules.yaml:9",
        "  ✗ tried             other key: the entry's key is company_id  rules.yaml:10",
    ]
    assert lines[9:12] == ["  rule     mesh company_id_acme (acme) at rules.yaml:7", "  limit    3/day", lines[11]]
    assert lines[11].startswith("  counter  r1|mesh|company_id=acme|86400|")
    assert lines[12].startswith("  count    0 so far, 1 more with this request; then 2 left, resets in ")
    assert lines[13:] == ["  status   OK"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["company_id=acme", "--hits", "4"], 1, "OVER_LIMIT would be answered: limited by rule mesh company_id_acme (acme) at rules.yaml:7"),
        (["company_id=acme", "--hits", "0"], 0, "  note     no hit is added: it only looks"),
        (["company_id=loader"], 0, "  note     the rule is unlimited: nothing is counted"),
        (["tried=x"], 0, "  note     over the limit, but the rule is in shadow mode: it would pass"),
        (["other=x"], 0, "  rule     none: no descriptor at level 1 takes other=x, and the search does not go back"),
        (["group=a"], 0, "  rule     none: the descriptor ends at group, which has no rate limit; the limits below it need further entries"),
        (["group=a"], 0, "    ✗ user            needs more entries: the descriptor has no second entry  rules.yaml:12"),
        (["company_id=b", "path=/login"], 0, "  ✓ company_id        its limit does not apply: the descriptor goes on with path=/login  rules.yaml:3"),
        (["company_id=b", "path=/x"], 0, "    ✗ path=/login     other value: the entry's value is /x  rules.yaml:6"),
        (["company_id=b", "--descriptor", "remote_address=1"], 0, "  note     company replaces it for this request, so it does not count"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_request(folder: Path, arguments: list[str], code: int, told: str) -> None:
    done = offline(*arguments)
    assert done.exit_code == code
    assert told in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-d", "mess", "a=b"], "no rules for the domain mess, expected mesh"),
        (["-d", "mesh", "comapny_id=acme"], "no rule matches comapny_id=acme, expected company_id"),
        (["-d", "mesh", "company_id=b", "paht=/"], "no rule matches company_id=b,paht=/, expected path"),
        (["-d", "mesh", "company_id=b", "path=/x"], "no rule matches company_id=b,path=/x"),
        (["-d", "mesh", "group=a"], "no rule matches group=a"),
        (["-d", "mesh", "zzz=1", "--descriptor", "y=2"], "no rule matches zzz=1 or y=2"),
        (["-d", "mesh", "x=1", "--descriptor", "company_id=loader"], "no rule matches x=1; the rule of company_id=loader is `unlimited`"),
    ],
)  # fmt: skip
def test_where_nothing_limits_this_comes_first(folder: Path, arguments: list[str], told: str) -> None:
    done = run("--config", "rules.yaml", *arguments)
    assert (done.exit_code, done.stdout.splitlines()[:2]) == (0, [f"not limited: {told}", "OK would be answered"])
    assert json.loads(run("--config", "rules.yaml", *arguments, "--json").stdout)["not_limited"] == told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-d", "mess", "a=b"], ["rls: no limit for a=b: no rules for the domain mess, expected mesh"]),
        (["-d", "mesh", "company_id=acme", "--hits", "9", "--descriptor", "x=1"], ["rls: no limit for x=1: no rule of the domain mesh matches these keys in this order"]),
        (["-d", "mesh", "company_id=loader"], ["rls: no limit for company_id=loader: its rule is `unlimited`"]),
        (["-d", "mesh", "company_id=b", "--descriptor", "remote_address=1"], ["rls: no limit for remote_address=1: company replaces it for this request, so it does not count"]),
    ],
)  # fmt: skip
def test_a_limit_may_be_expected(folder: Path, arguments: list[str], told: list[str]) -> None:
    for json_too in ([], ["--json"]):
        done = run("--config", "rules.yaml", *arguments, *json_too, "--expect-limit")
        assert (done.exit_code, done.stderr.splitlines()) == (4, told)
    assert offline("company_id=acme", "--hits", "4", "--expect-limit").exit_code == 1
    assert offline("company_id=acme", "--expect-limit").exit_code == 0


def test_json_has_what_decides_at_its_top(folder: Path) -> None:
    done = offline("company_id=b", "--descriptor", "remote_address=1", "--descriptor", "tried=x,a=b", "--json")
    row = json.loads(done.stdout)
    assert (row["rule"], row["code"], row["limit_remaining"], row["count"]) == ("company_id", "OK", 99, 0)
    assert row["counter_key"].startswith("r1|mesh|company_id=b|86400|")
    assert 0 < row["duration_until_reset"] <= 86400
    assert row["considered"] == row["descriptors"][0]["considered"]
    assert [one["applies"] for one in row["descriptors"]] == [True, False, False]
    assert [one["rule"] for one in row["descriptors"]] == ["company_id", "remote_address", None]
    assert {"level", "entry", "rule", "place", "limit", "verdict", "why"} == row["considered"][0].keys()


def test_a_running_server(folder: Path) -> None:
    """It counts nothing, and says where its counters stand."""
    with RlsProcess(folder, rules=RULES) as server:
        asked = ["--domain", "mesh", "company_id=acme"]
        call = CliRunner().invoke(app, ["call", server.addresses["grpc"], *asked, "--hits", "2"])
        assert call.exit_code == 0, call.output
        looks = [run("--admin", server.addresses["admin"], *asked, "--json") for _ in range(2)]
        rows = [json.loads(done.stdout) for done in looks]
        found = [(row["code"], row["count"], row["limit_remaining"], row["rule"]) for row in rows]
        assert found == [("OK", 2, 0, "company_id_acme")] * 2
        assert rows[0]["revision"] == server.get("/api/v1/status", "admin").json()["revision"]
        done = run("--admin", server.addresses["admin"], *asked, "--hits", "2")
        assert done.exit_code == 1
        assert "count    2 so far, 2 more with this request; then 0 left" in done.stdout
        assert server.metric("rls_hits_total") == 2
        done = run("--admin", server.addresses["http"], *asked)
        assert (done.exit_code, "does not answer as an admin address of rls" in done.stderr) == (3, True)
        done = run("--admin", server.addresses["admin"], "-d", "mehs", "company_id=acme", "--expect-limit")
        assert done.exit_code == 4
        assert done.stdout.startswith("not limited: no rules for the domain mehs, expected mesh\n")
    done = run("--admin", server.addresses["admin"], *asked)
    assert (done.exit_code, "no answer from" in done.stderr) == (3, True)


FILTER = ROOT / "istio" / "envoyfilter.yaml"


def through(*arguments: str):
    return run("--config", str(ROOT / "config" / "descriptors.yaml"), "--envoyfilter", str(FILTER), *arguments)


def test_a_request_through_an_envoyfilter(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{token({'company_id': 'acme'})}\n")
    for given in (token({"company_id": "acme"}), str(file)):
        done = through("--token", given, "--address", "203.0.113.7", "--json")
        row = json.loads(done.stdout)
        assert (done.exit_code, row["domain"], row["name"]) == (0, "mesh", "company-acme")
        assert [one["entries"] for one in row["actions"]] == [
            [{"key": "company_id", "value": "acme"}],
            [{"key": "remote_address", "value": "203.0.113.7"}],
        ]
        assert row["notes"] == ["the token is not verified: it counts as valid here"]
    done = through("--address", "203.0.113.7")
    absent = "  not sent: there is no valid token: the claim company_id is absent\n"
    assert re.search(rf"  ✗ {FILTER}:\d+{absent}", done.stdout)
    assert "rule     mesh remote_address (ip)" in done.stdout
    done = through("--token", token({"company_id": 4711}), "--address", "203.0.113.7")
    assert "not sent: the claim company_id is no text, so for Envoy it is absent" in done.stdout


def test_what_envoy_sends_may_not_be_known() -> None:
    done = through()
    assert done.exit_code == 3
    assert "cannot be evaluated: it needs the client's address (--address)" in done.stdout
    assert "unknown: it is not certain what Envoy sends" in done.stdout


def test_envoy_may_send_nothing(folder: Path) -> None:
    (folder / "filter.yaml").write_text(
        "domain: mesh\nrate_limits: [{actions: [{request_headers: {header_name: x, descriptor_key: x}}]}]"
    )
    done = offline("--envoyfilter", "filter.yaml")
    assert (done.exit_code, "OK Envoy sends no descriptor" in done.stdout) == (0, True)
    assert done.stdout.startswith("not limited: Envoy sends no descriptor, so it does not ask\n")
    done = offline("--envoyfilter", "filter.yaml", "--expect-limit")
    assert (done.exit_code, done.stderr) == (4, "rls: no limit: Envoy sends no descriptor, so it does not ask\n")
    done = offline("--envoyfilter", "filter.yaml", "--json")
    assert (json.loads(done.stdout)["code"], json.loads(done.stdout)["considered"]) == ("OK", [])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a=b"], "--domain is missing"),
        (["--config", "rules.yaml", "--admin", "1", "a=b"], "expected --config with rules, or --admin with the address of a server, not both"),
        (["--config", "rules.yaml", "a=b"], "--domain is missing"),
        (["--config", "rules.yaml", "-d", "mesh"], "no descriptor: expected entries such as company_id=acme"),
        (["--config", "rules.yaml", "-d", "mesh", "a"], "'a' is not an entry"),
        (["--config", "none.yaml", "-d", "mesh", "a=b"], "rls: none.yaml:1:1: cannot be read (No such file or directory), expected rules in YAML"),
        (["--config", "bad.yaml", "-d", "mesh", "a=b"], "rls: bad.yaml:2:1: nothing where a value must be, expected one"),
        (["--admin", "nowhere", "-d", "mesh", "a=b"], "--admin is 'nowhere'"),
        (["--config", "rules.yaml", "-d", "mesh", "a=b", "--hits", "-1"], "--hits is '-1'"),
        (["--config", "rules.yaml", "--envoyfilter", "none"], "--envoyfilter: cannot read none"),
        (["--config", "rules.yaml", "--envoyfilter", "rules.yaml"], "--envoyfilter: no `rate_limits` in rules.yaml"),
        (["--config", "rules.yaml", "--envoyfilter", "bad.yaml"], "--envoyfilter: bad.yaml:"),
        (["--config", "rules.yaml", "--envoyfilter", str(FILTER), "a=b"], "--envoyfilter makes the descriptors: expected none"),
        (["--config", "rules.yaml", "--envoyfilter", str(FILTER), "--header", "x"], "--header is 'x': expected NAME: VALUE"),
        (["--config", "rules.yaml", "--envoyfilter", str(FILTER), "--address", "x"], "--address is 'x': expected an IP address"),
        (["--config", "rules.yaml", "--envoyfilter", str(FILTER), "--path", "x"], "--path is 'x': expected it to begin with /"),
        (["--config", "rules.yaml", "--envoyfilter", str(FILTER), "--cluster", "x"], "--cluster is 'x': expected source=NAME"),
        (["--config", "rules.yaml", "--envoyfilter", str(FILTER), "--token", "x"], "--token is no JWT and no file"),
        (["--config", "rules.yaml", "--envoyfilter", str(FILTER), "--token", "a.b.c"], "--token has a payload that is no JSON"),
        (["--config", "rules.yaml", "--envoyfilter", str(FILTER), "--token", token([])], "--token has a payload that is no JSON object"),
    ],
)  # fmt: skip
def test_wrong_usage(folder: Path, arguments: list[str], told: str) -> None:
    (folder / "bad.yaml").write_text("domain: [")
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr


def test_what_others_chose_gives_no_commands_to_a_terminal_or_a_ci(folder: Path) -> None:
    key = json.dumps(HOSTILE)
    (folder / "rules.yaml").write_text(
        f"domain: mesh\ndescriptors: [{{key: {key}, value: {key}, rate_limit: {{unit: day, requests_per_unit: 1}}}}]"
    )
    for arguments in (["a=b"], [f"{HOSTILE.replace('=', '')}=x"], ["a=b", "--json"]):
        done = offline(*arguments)
        assert (harm(done.output), commands(done.output)) == (set(), [])
