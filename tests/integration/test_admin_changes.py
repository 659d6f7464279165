"""The admin address of real servers: who may change what, and what a change does to what they answer."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.http import Answer, ask
from examples.mesh.processes import LOOK_SECONDS, free_port, wait_for
from tests.counters import Looks
from tests.redis_server import RedisServer, newest_binary, running
from tests.rls_process import RlsProcess

TOKEN = "s3cr3t-of-alice-0123456789"
OTHER = "s3cr3t-of-bob-0123456789"
LIMIT = 3
RULES = f"""\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {{name: per company, unit: year, requests_per_unit: {LIMIT}}}
  - key: internal
    rate_limit: {{unlimited: true}}
"""
ROOT = Path(__file__).parents[2]


def token_file(folder: Path) -> Path:
    found = folder / "tokens"
    found.write_text(f"alice:{TOKEN}\n\nbob:{OTHER}\n")
    found.chmod(stat.S_IRUSR)
    return found


def acl_of_rls(folder: Path) -> tuple[Path, str]:
    """The ACL file that the script for operators makes, and the password of the user `rls`."""
    subprocess.run([ROOT / "k8s" / "secrets.sh", folder], check=True, capture_output=True)
    acl = folder / "redis-nodes" / "users.acl"
    # Tests look behind the scenes without a password.
    acl.write_text(re.sub("user default off", "user default on nopass ~* &* +@all", acl.read_text()))
    return acl, (folder / "redis-rls" / "password").read_text()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, str]]:
    """One whose user `rls` has the documented rights and no others, and the URL for that user."""
    folder = tmp_path_factory.mktemp("acl")
    acl, password = acl_of_rls(folder)
    with running(RedisServer(folder, newest_binary(), ("--aclfile", str(acl)))) as server:
        yield server, f"redis://rls:{password}@127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def servers(redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RlsProcess]]:
    """Two that count in one Redis."""
    folder = tmp_path_factory.mktemp("servers")
    options = ("--backend", redis[1], "--admin-token-file", str(token_file(folder)), "--log-format", "json")
    started = [
        RlsProcess(folder, *options, "--backend-timeout", "5s", rules=RULES, name=name) for name in ("one", "other")
    ]
    yield started
    for server in started:
        server.kill()


@pytest.fixture
def company(request: pytest.FixtureRequest) -> str:
    """The value of an entry that no other test uses."""
    return str(request.node.name)


def check(server: RlsProcess, company: str, hits: int = 1) -> bool:
    """Whether a check passes."""
    asked = {"domain": "mesh", "descriptors": [{"entries": [{"key": "company_id", "value": company}]}]}
    port = int(server.addresses["http"].rpartition(":")[2])
    body = json.dumps({**asked, "hitsAddend": hits}).encode()
    return ask(port, "/json", method="POST", body=body).status == 200


def post(server: RlsProcess, path: str, body: Any, *, method: str = "POST", **headers: str) -> Answer:
    """The answer to a change that alice makes, unless *headers* say otherwise."""
    sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    port = int(server.addresses["admin"].rpartition(":")[2])
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(port, f"/api/v1{path}", {k: v for k, v in sent.items() if v}, method=method, body=content)


def entries(company: str, **more: Any) -> dict[str, Any]:
    return {"domain": "mesh", "entries": [{"key": "company_id", "value": company}], **more}


def lines(server: RlsProcess, event: str) -> list[dict[str, Any]]:
    """Lines of the log."""
    found = [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


def counter(server: RlsProcess, company: str) -> dict[str, Any]:
    answer = server.get(f"/api/v1/counters?domain=mesh&entry=company_id={company}", "admin")
    assert answer.status == 200
    (found,) = answer.json()["counters"]
    return dict(found)


def test_a_counter_is_shown_as_a_request_would_find_it(servers, company) -> None:
    check(servers[0], company, 2)
    found = counter(servers[1], company)
    assert re.fullmatch(rf"r1\|mesh\|company_id={company}\|31536000\|\d+", found.pop("counter_key"))
    assert 0 < found.pop("duration_until_reset") <= 31_536_000
    place = found.pop("place")
    assert place.endswith("rules.yaml:3")
    assert found == {
        "domain": "mesh",
        "rule": "company_id",
        "name": "per company",
        "limit": "3/year",
        "requests_per_unit": 3,
        "unit": "YEAR",
        "unit_multiplier": 1,
        "shadow_mode": False,
        "code": "OK",
        "count": 2,
        "limit_remaining": 1,
        "override": None,
    }
    check(servers[0], company)
    assert counter(servers[1], company)["code"] == "OVER_LIMIT"


def test_a_reset_holds_on_all_servers_within_a_second_and_is_written_down(servers, company) -> None:
    """Also where a server refuses from its over-limit cache."""
    one, other = servers
    while check(one, company) or check(other, company):
        pass
    answer = post(one, "/counters/reset", entries(company, reason="they called", later="unknown"))
    assert answer.status == 200
    (found,) = answer.json()["counters"]
    assert (found["before"], found["count"]) == (LIMIT + 2, 0)
    assert check(one, company)
    passed = Looks(lambda: check(other, company))
    wait_for(passed, "the other server lets them pass")
    assert passed.count <= 1.0 / LOOK_SECONDS
    (line,) = [line for line in lines(one, "admin_change") if company in line["entries"]]
    assert line["level"] == "info"
    assert (line["action"], line["author"], line["peer"]) == ("counter_reset", "alice", "127.0.0.1")
    assert (line["domain"], line["entries"], line["rule"]) == ("mesh", f"company_id={company}", "company_id")
    assert (line["before"], line["after"], line["why"]) == (LIMIT + 2, 0, "they called")
    event = one.get("/api/v1/events?limit=1", "admin").json()["events"][0]
    assert event["kind"] == "counter_reset"
    assert event["text"] == f"counter reset: mesh company_id={company}: 5 → 0, by alice: they called"


def test_hits_are_given_back(servers, company) -> None:
    check(servers[0], company, 2)
    answer = post(servers[1], "/counters/give", entries(company, hits=1), Authorization=f"Bearer {OTHER}")
    (found,) = answer.json()["counters"]
    assert (found["before"], found["count"], found["limit_remaining"]) == (2, 1, 2)
    assert post(servers[1], "/counters/give", entries(company, hits=9)).json()["counters"][0]["count"] == 0
    written = [line for line in lines(servers[1], "admin_change") if company in line["entries"]]
    assert [(line["author"], line["before"], line["after"]) for line in written] == [("bob", 2, 1), ("alice", 1, 0)]


def test_counters_of_a_domain_are_listed_with_the_documented_rights(servers, company) -> None:
    check(servers[0], company, 3)
    answer = servers[0].get("/api/v1/counters?domain=mesh&limit=1000", "admin").json()
    assert answer["all"]
    assert {f"|company_id={company}|" in row["counter_key"] and row["count"] for row in answer["counters"]} >= {3}
    assert all(row["counter_key"].startswith("r1|mesh|") for row in answer["counters"])
    assert servers[0].get("/api/v1/counters?domain=mes", "admin").json()["counters"] == []


def test_overrides_need_no_more_than_the_documented_rights(servers, company) -> None:
    change = entries(company, limit="9/year", reason="T-1", **{"for": "1h"})
    answer = post(servers[0], "/overrides", change)
    assert answer.status == 200
    wait_for(lambda: counter(servers[1], company)["limit"] == "9/year", "the other server has it")
    assert post(servers[1], f"/overrides/{answer.json()['override']['id']}", b"", method="DELETE").status == 200


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer alice:{TOKEN}"}, 401),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "null", "Host": ""}, 403),
        ({"Origin": "://127.0.0.1", "Host": "127.0.0.1"}, 403),
        ({"Origin": "chrome-extension://127.0.0.1", "Host": "127.0.0.1"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
    ids=str,
)
def test_others_change_nothing(servers, change, expected) -> None:
    while check(servers[0], "refused"):
        pass
    answer = post(servers[0], "/counters/reset", entries("refused"), **change)
    assert answer.status == expected
    assert answer.headers["x-frame-options"] == "DENY"
    assert not check(servers[0], "refused")
    if expected != 421:
        assert {line["reason"] for line in lines(servers[0], "admin_refused")} & {
            *("no_token", "wrong_token", "foreign_origin", "no_json")
        }


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"{", 400, "the body is no JSON"),
        (b"[1]", 400, "the body is [1]"),
        (b"null", 400, "the body is null"),
        (b"[" * 9_000, 400, "the body is nested too deeply"),
        ({"domain": "mesh", "entries": [{"key": "company_id", "value": "\ud800"}]}, 400, "entries is"),
        (entries("x", reason="\udfff"), 400, "reason is"),
        ({"entries": [{"key": "company_id", "value": "x"}]}, 400, "domain is missing"),
        ({"domain": "mesh"}, 400, "entries is missing"),
        ({"domain": "mesh", "entries": [{"key": "company_id"}]}, 400, "entries is"),
        (entries("x", reason=5), 400, "reason is 5"),
        (
            {"domain": "mesh", "entries": [{"key": "path", "value": "/"}]},
            404,
            "no limit for path=/: no rule of the domain mesh matches",
        ),
        ({"domain": "mesh", "entries": [{"key": "internal", "value": "x"}]}, 404, "its rule is `unlimited`"),
        (
            {"domain": "none", "entries": [{"key": "company_id", "value": "x"}]},
            404,
            "the server has no rules for the domain none",
        ),
        (b"x" * 20_000, 413, "the body has more than 16384 bytes"),
    ],
    ids=lambda one: ascii(one)[-60:],
)
def test_what_is_wrong_is_said(servers, body, status, error) -> None:
    answer = post(servers[0], "/counters/reset", body)
    assert answer.status == status
    assert error in answer.json()["error"]


@pytest.mark.parametrize("hits", [0, -1, 2**32, 1.5, "1", None, True])
def test_hits_to_give_back_are_a_whole_number(servers, hits) -> None:
    assert post(servers[0], "/counters/give", entries("x", hits=hits)).status == 400


def test_a_browser_on_the_own_page_is_no_stranger(servers) -> None:
    address = servers[0].addresses["admin"]
    own = {"Origin": f"http://{address}", "Sec-Fetch-Site": "same-origin", "Host": address}
    assert post(servers[0], "/counters/reset", entries("own"), **own).status == 200


def test_what_changes_nothing_needs_no_token_on_loopback_and_no_other_method(servers) -> None:
    assert servers[0].get("/api/v1/status", "admin").status == 200
    wrong = post(servers[0], "/counters/reset", b"", method="GET", Authorization="")
    assert (wrong.status, wrong.headers["allow"], wrong.json()["expected"]) == (405, "POST", "POST")
    wrong = post(servers[0], "/overrides", {}, method="PUT")
    assert (wrong.status, wrong.headers["allow"], wrong.json()["expected"]) == (405, "GET, HEAD, POST", "GET, POST")
    assert post(servers[0], "/overrides/", {}).status == 404, "no detour over a Location that the client names"
    assert post(servers[0], "/status", {}).status == 405
    assert post(servers[0], "/status", {}, Authorization="").status == 401
    linked = ask(
        int(servers[0].addresses["admin"].rpartition(":")[2]),
        "/api/v1/status",
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    )
    assert linked.status == 200
    assert linked.headers["x-frame-options"] == "DENY"
    assert linked.headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in linked.headers["content-security-policy"]


def test_tokens_are_read_again(servers, tmp_path) -> None:
    with_tokens = RlsProcess(tmp_path, "--admin-token-file", str(token_file(tmp_path)), rules=RULES, name="rotated")
    try:
        assert post(with_tokens, "/counters/reset", entries("x")).status == 200
        (tmp_path / "tokens").chmod(0o600)
        (tmp_path / "tokens").write_text("a-new-token-0123456789")
        changed = {"Authorization": "Bearer a-new-token-0123456789"}
        wait_for(lambda: post(with_tokens, "/counters/reset", entries("x"), **changed).status == 200, "the new one")
        assert post(with_tokens, "/counters/reset", entries("x")).status == 401
        (tmp_path / "tokens").unlink()
        wait_for(lambda: post(with_tokens, "/counters/reset", entries("x"), **changed).status == 401, "none")
        assert "cannot be used, so nobody has one" in with_tokens.output()
        assert "a-new-token" not in with_tokens.output()
    finally:
        with_tokens.kill()


def test_an_address_of_other_machines_needs_a_token_for_everything(tmp_path) -> None:
    options = ("--admin", f"0.0.0.0:{free_port()}", "--replicas", "dns:localhost")
    server = RlsProcess(tmp_path, *options, "--admin-token-file", str(token_file(tmp_path)), rules=RULES)
    closed = RlsProcess(tmp_path, "--admin", "0.0.0.0:0", rules=RULES, name="closed")
    shown = {"Authorization": f"Bearer {OTHER}"}
    try:
        port = int(server.addresses["admin"].rpartition(":")[2])
        for path in ("/", "/rlconfig", "/api/v1/status", "/api/v1/counters?domain=mesh&entry=company_id=x"):
            assert ask(port, path).status == 401
            assert ask(port, path, shown).status == 200
        page = ask(port, "/", {"Accept": "text/html"})
        assert page.status == 200, "the page itself tells nothing: a token can be typed in there"
        of_all = ask(port, "/api/v1/top?pods=all", shown).json()
        assert (len(of_all["pods"]), of_all["pods_failed"]) == (1, []), "pods show their token to each other"
        port = int(closed.addresses["admin"].rpartition(":")[2])
        assert ask(port, "/api/v1/status", shown).status == 403
        assert ask(port, "/", {"Accept": "text/html"}).status == 403
        assert "nobody is answered there without --admin-token-file" in closed.output()
    finally:
        server.kill()
        closed.kill()


def test_without_a_token_file_nothing_is_changed(tmp_path) -> None:
    server = RlsProcess(tmp_path, rules=RULES)
    try:
        answer = post(server, "/counters/reset", entries("x"))
        assert (answer.status, answer.json()["error"]) == (403, "this server accepts no changes")
    finally:
        server.kill()


def test_a_file_without_a_usable_token_is_a_mistake(tmp_path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "tokens").write_text(f"alice:{TOKEN}\nshort")
    options = ("--config", str(tmp_path / "rules.yaml"), "--admin-token-file", str(tmp_path / "tokens"))
    command = [sys.executable, "-m", "rls", "serve", *options]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2
    assert "the token in line 2 is shorter than 16 characters" in found.stderr
    assert TOKEN not in found.stderr
