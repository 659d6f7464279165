"""`rls counter` and `rls override` against a real server, and against one of the next version."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from examples.mesh.http import ask
from examples.mesh.processes import wait_for
from rls.cli import app
from rls.printable import printable
from tests.rls_process import RlsProcess

TOKEN = "a-token-of-these-tests"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("commands")
    (found / "tokens").write_text(f"alice:{TOKEN}")
    return found


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RlsProcess]:
    found = RlsProcess(folder, "--admin-token-file", str(folder / "tokens"))
    yield found
    found.kill()


def more(value: Any) -> Any:
    """*value* as a later version might answer: each object has members that nobody knows yet."""
    if isinstance(value, dict):
        return {"a_later_member": {"of": "it"}, **{name: more(one) for name, one in value.items()}}
    return [more(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def next_version(server: RlsProcess) -> Iterator[str]:
    """The address of a server that passes everything on to the real one, and answers more."""
    port = int(server.addresses["admin"].rpartition(":")[2])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            answer = ask(port, self.path, headers, method=self.command, body=body)
            content = json.dumps(more(answer.json())).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{found.server_address[1]}"
        found.shutdown()


@pytest.fixture(params=["this version", "the next version"])
def admin(request: pytest.FixtureRequest, server: RlsProcess) -> str:
    """An admin address."""
    if request.param == "this version":
        return server.addresses["admin"]
    return str(request.getfixturevalue("next_version"))


def rls(admin: str, *arguments: str, token: Path | None = None) -> Result:
    """What a command prints."""
    shown = ("--token-file", str(token)) if token else ()
    runner = CliRunner(env={"COLUMNS": "120", "RLS_ADMIN_TOKEN_FILE": ""})
    return runner.invoke(app, [*arguments, "--admin", admin, *shown], prog_name="rls")


def test_overrides_are_set_listed_and_ended(admin, folder) -> None:
    token = folder / "tokens"
    words = ("override", "set", "-d", "mesh", "company_id=acme", "9/year", "--for", "1h", "--reason", "T-1")
    found = rls(admin, *words, token=token)
    assert found.exit_code == 0, found.output
    assert found.output.startswith("company_id=acme: 9/year until ")
    listed = json.loads(rls(admin, "override", "list", "--json").stdout)
    assert [row["author"] for row in listed["overrides"]] == ["alice"]
    assert "T-1" in rls(admin, "override", "list", "--domain", "mesh").stdout
    read = rls(admin, "counter", "get", "-d", "mesh", "company_id=acme")
    name = listed["overrides"][0]["id"]
    assert (read.exit_code, f"company_id=acme: 0 of 9/year by override {name} used" in read.stdout) == (0, True)
    ended = rls(admin, "override", "end", name, "--reason", "over", token=token)
    assert (ended.exit_code, ended.stdout) == (0, "company_id=acme: 2/year again, was 9/year\n")
    assert rls(admin, "override", "end", name, token=token).exit_code == 1
    again = rls(admin, "override", "end", "-d", "mesh", "company_id=acme", token=token)
    assert (again.exit_code, again.stderr) == (1, "rls: no override of company_id=acme in mesh is in force\n")


def test_counters_are_read_reset_and_given_back(admin, folder) -> None:
    words = ("-d", "mesh", "company_id=acme", "--json")
    for command in (("get",), ("reset", "--reason", "T-1"), ("give", "--hits", "3")):
        found = rls(admin, "counter", *command, *words, token=folder / "tokens")
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["counters"][0]["limit"] == "2/year"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mesh", "path=/"), "no limit for path=/: no rule of the domain mesh matches these keys in this order"),
        (
            ("nope", "company_id=x"),
            "no limit for company_id=x: the server has no rules for the domain nope: expected the",
        ),
    ],
)
@pytest.mark.parametrize(
    ("command", "more"),
    [
        (("counter", "get"), ()),
        (("counter", "reset"), ()),
        (("counter", "give"), ("--hits", "1")),
        (("override", "set"), ("9/year", "--for", "1h", "--reason", "T-1")),
    ],
)
def test_why_nothing_limits_is_said_as_by_call(admin, folder, words, said, command, more) -> None:
    found = rls(admin, *command, "-d", *words, *more, token=folder / "tokens")
    assert (found.exit_code, found.stderr[: len(said) + 5]) == (1, f"rls: {said}")


TOKEN_EXPECTED = "--token-file FILE, or RLS_ADMIN_TOKEN_FILE, with a token of the server's --admin-token-file"
TIME_EXPECTED = "--for 30m, 2h or 3d, or --until 2026-01-31T12:00:00Z; at most 31 days"
LIMIT_EXPECTED = (
    "a number from 0 to 4294967295, a slash, and one of second, minute, hour, day, week, month, year; such as"
)
SET = ["override", "set", "-d", "mesh", "company_id=x", "--reason", "T-1"]
CHANGES = (
    ["counter", "reset", "-d", "mesh", "company_id=x"],
    ["counter", "give", "-d", "mesh", "company_id=x", "--hits", "1"],
    [*SET, "9/year", "--for", "1h"],
    ["override", "end", "1f6a09c2"],
)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        *((words, 1, f"a token is needed: expected {TOKEN_EXPECTED}") for words in CHANGES),
        (["counter", "get", "company_id=x"], 2, "--domain is missing: expected --domain NAME"),
        (["counter", "get", "-d", "mesh"], 2, "no entries: expected KEY=VALUE"),
        (["counter", "get", "-d", "mesh", "acme"], 2, "'acme' is not an entry"),
        (["counter", "give", "-d", "mesh", "company_id=x"], 2, "--hits is missing: expected --hits COUNT"),
        (
            ["counter", "give", "-d", "mesh", "company_id=x", "--hits", "0"],
            2,
            "--hits is '0': expected a whole number from 1",
        ),
        (["override", "set", "-d", "mesh", "company_id=x", "--for", "1h", "--reason", "x"], 2, "and then a limit"),
        (
            ["override", "set", "-d", "mesh", "company_id=x", "9/year", "--for", "1h"],
            2,
            "--reason is missing: expected --reason TEXT",
        ),
        ([*SET, "9/year"], 2, f"neither --for nor --until: expected {TIME_EXPECTED}"),
        ([*SET, "9/year", "--for", "1h", "--until", "x"], 2, f"both --for and --until: expected {TIME_EXPECTED}"),
        ([*SET, "9/year", "--for", "soon"], 2, f"soon is no time: expected {TIME_EXPECTED}"),
        ([*SET, "9/year", "--for", "32d"], 2, f"it would hold for 2764800 s: expected {TIME_EXPECTED}"),
        (
            [*SET, "99999999999/minute", "--for", "1h"],
            2,
            "LIMIT is '99999999999/minute': expected at most 4294967295 requests",
        ),
        ([*SET, "5/fortnight", "--for", "1h"], 2, f"LIMIT is '5/fortnight': expected {LIMIT_EXPECTED}"),
        (
            ["counter", "give", "-d", "mesh", "company_id=x", "--hits", "x"],
            2,
            "--hits is 'x': expected a whole number from 1 to 4294967295",
        ),
        (["counter", "get", "-d", "mesh", "company_id=\udcff"], 2, "expected KEY=VALUE in UTF-8"),
        (["override", "end", "a", "b"], 2, "expected one ID"),
        (["override", "end", ""], 2, "expected one ID"),
        (["override", "end", "company_id=x"], 2, "--domain is missing"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else None,
)
def test_what_is_wrong_is_said(server, arguments, code, said) -> None:
    found = rls(server.addresses["admin"], *arguments)
    assert (found.exit_code, said in found.output) == (code, True), found.output


def test_a_wrong_token_is_said(admin, tmp_path) -> None:
    (tmp_path / "tokens").write_text("another-token-of-these-tests")
    for words in CHANGES:
        found = rls(admin, *words, token=tmp_path / "tokens")
        assert (found.exit_code, found.stderr) == (1, f"rls: the token is not a valid one: expected {TOKEN_EXPECTED}\n")


def test_a_limit_that_refuses_all_is_warned_of(admin, folder) -> None:
    for json_too in ([], ["--json"]):
        found = rls(admin, *SET, "0/minute", "--for", "1h", *json_too, token=folder / "tokens")
        warning = "rls: warning: the limit of company_id=x is 0/minute: every request that it matches is refused\n"
        assert (found.exit_code, found.stderr) == (0, warning)
    assert rls(admin, "override", "end", "-d", "mesh", "company_id=x", token=folder / "tokens").exit_code == 0


def test_no_answer_is_said(server, folder) -> None:
    assert "no answer from 127.0.0.1:1" in rls("1", "counter", "get", "-d", "mesh", "company_id=x").stderr
    other = rls(server.addresses["http"], "override", "list")
    assert (other.exit_code, "does not answer as an admin address" in other.stderr) == (3, True)
    assert "HTTP 404 (not found: /api/v1/overrides" in other.stderr
    grpc = rls(server.addresses["grpc"], "override", "list")
    assert (grpc.exit_code, "it does not speak HTTP/1.1" in grpc.stderr) == (3, True), grpc.output
    assert "--admin is 'x:y:z'" in rls("x:y:z", "override", "list").output
    missing = rls("1", "override", "list", token=folder / "none")
    assert (missing.exit_code, "cannot read" in missing.output) == (2, True)
    assert "Errno" not in missing.output


@pytest.mark.parametrize("value", ["\x1b[2J\u202e\n", "back\\slash", "日本"])
def test_a_value_is_escaped_once_and_finds_its_override(server, folder, value: str) -> None:
    admin, token, entry = server.addresses["admin"], folder / "tokens", f"company_id={value}"
    words = ("-d", "mesh", entry, "9/year", "--for", "1h", "--reason", "T-1")
    assert rls(admin, "override", "set", *words, token=token).stdout.startswith(f"{printable(entry)}: 9/year until ")
    assert rls(admin, "counter", "get", "-d", "mesh", entry).stdout.startswith(f"{printable(entry)}: 0 of 9/year")
    assert printable(entry) in rls(admin, "override", "list").stdout
    ended = rls(admin, "override", "end", "-d", "mesh", entry, token=token)
    assert (ended.exit_code, ended.stdout) == (0, f"{printable(entry)}: 2/year again, was 9/year\n")


def test_an_override_follows_rules_that_change_and_is_said_to_have_no_effect_without_one(folder, tmp_path) -> None:
    server = RlsProcess(tmp_path, "--admin-token-file", str(folder / "tokens"))
    before = server.rules.read_text()

    def where() -> tuple[str | None, list[str]]:
        """The rule that the override applies to, and those that have it."""
        (row,) = server.get("/api/v1/overrides", "admin").json()["overrides"]
        rules = server.get("/api/v1/rules", "admin").json()["rules"]
        return row["applies_to"], [rule["rule"] for rule in rules if rule["overrides"] == [row["id"]]]

    try:
        admin, words = (
            server.addresses["admin"],
            ("-d", "mesh", "company_id=acme", "9/year", "--for", "1h", "--reason", "T-1"),
        )
        assert rls(admin, "override", "set", *words, token=folder / "tokens").exit_code == 0
        assert where() == ("company_id", ["company_id"])
        acme = "  - {key: company_id, value: acme, rate_limit: {unit: year, requests_per_unit: 1}}\n"
        server.rules.write_text(before + acme)
        wait_for(lambda: where() == ("company_id_acme", ["company_id_acme"]), "it applies to the rule that is new")
        server.rules.write_text(
            "domain: mesh\ndescriptors:\n  - {key: path, rate_limit: {unit: year, requests_per_unit: 1}}\n"
        )
        wait_for(lambda: where() == (None, []), "no rule matches")
        said = rls(admin, "override", "list").stderr
        assert said.endswith(" has no effect: no rule matches company_id=acme\n")
    finally:
        server.kill()


def test_a_token_may_have_colons_and_hashed_values_have_overrides(folder, tmp_path) -> None:
    (token := tmp_path / "tokens").write_text("\nbob:one:two:three:0123456789\nalice:abcdefghijklmnopq\n")
    (secret := tmp_path / "secret").write_text("0123456789abcdef")
    options = ("--admin-token-file", str(token), "--hash-secret-file", str(secret))
    server = RlsProcess(tmp_path, *options)
    try:
        admin = server.addresses["admin"]
        words = ("override", "set", "-d", "mesh", "company_id=acme", "9/year", "--for", "1h", "--reason", "T-1")
        found = rls(admin, *words, token=token)
        assert (found.exit_code, found.stdout[:16]) == (0, "company_id=hmac:"), found.output
        ended = rls(admin, "override", "end", "-d", "mesh", "company_id=acme", token=token)
        assert ended.exit_code == 0, ended.output
    finally:
        server.kill()


@pytest.mark.parametrize("status", [200, 302, 404])
@pytest.mark.parametrize(
    "words", ["override list", "override end x", "counter get -d mesh a=b", "top", "tail --once", "explain -d mesh a=b"]
)
def test_another_server_that_answers_in_json_is_none_of_ours(status: int, words: str) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{"detail": "none", "rows": 7}')

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        found = rls(f"127.0.0.1:{other.server_address[1]}", *words.split())
        other.shutdown()
    assert (found.exit_code, f"does not answer as an admin address of rls: HTTP {status}" in found.output) == (
        3,
        True,
    ), found.output


def test_a_unix_socket_is_an_admin_address(folder, tmp_path) -> None:
    server = RlsProcess(tmp_path, "--admin", f"unix:{tmp_path}/admin", "--admin-token-file", str(folder / "tokens"))
    try:
        found = rls(f"unix:{tmp_path}/admin", "counter", "reset", "-d", "mesh", "company_id=x", token=folder / "tokens")
        assert found.exit_code == 0, found.output
    finally:
        server.kill()
