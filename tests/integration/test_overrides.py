"""Overrides in real servers: set on one, in force on all, through outages and restarts, until they end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.processes import LOOK_SECONDS, wait_for
from tests.counters import Looks
from tests.integration.test_admin_changes import RULES, check, entries, lines, post, token_file
from tests.redis_server import RedisServer, newest_binary, running, wait_until
from tests.rls_process import RlsProcess

Start = Callable[..., RlsProcess]
TWO_SECONDS = 2.0


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path_factory.mktemp("redis"), newest_binary())) as server:
        yield server


@pytest.fixture(scope="module")
def start(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts servers that count in one Redis."""
    folder = tmp_path_factory.mktemp("servers")
    tokens, started = token_file(folder), list[RlsProcess]()

    def begin(name: str, *options: str, backend: str = redis.url, at: Path = folder) -> RlsProcess:
        common = ("--backend", backend, "--admin-token-file", str(tokens), "--log-format", "json")
        started.append(RlsProcess(at, *common, *options, rules=RULES, name=name))
        return started[-1]

    yield begin
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def pair(start: Start) -> list[RlsProcess]:
    return [start(name, "--backend-timeout", "1s", "--max-overrides", "4") for name in ("one", "other")]


@pytest.fixture(autouse=True)
def none_before(request: pytest.FixtureRequest, redis: RedisServer) -> None:
    """Overrides of earlier tests are over."""
    if redis.is_running:
        for server in request.getfixturevalue("pair"):
            for override in overrides(server):
                post(server, f"/overrides/{override['id']}", b"", method="DELETE")
        wait_for(lambda: not any(map(overrides, request.getfixturevalue("pair"))), "none")


def overrides(server: RlsProcess) -> list[dict[str, Any]]:
    return list(server.get("/api/v1/overrides", "admin").json()["overrides"])


def override(company: str, limit: str = "30/year", length: str = "1h", **more: Any) -> dict[str, Any]:
    return entries(company, limit=limit, reason="TICKET-7", **{"for": length}, **more)


def passes(server: RlsProcess, company: str, hits: int) -> bool:
    """Whether as many hits are within the limit, without counting them."""
    answer = server.get(f"/api/v1/counters?domain=mesh&entry=company_id={company}", "admin")
    return bool(answer.json()["counters"][0]["limit_remaining"] >= hits)


def test_an_override_is_in_force_on_every_server_within_two_seconds(pair) -> None:
    """What was counted so far counts on; the cache of the other server does not hold it up."""
    one, other = pair
    while check(one, "acme") or check(other, "acme"):
        pass
    answer = post(one, "/overrides", override("acme", newer="ignored"))
    assert answer.status == 200
    assert (answer.json()["before"], answer.json()["replaced"]) == ("3/year", None)
    assert check(one, "acme")
    seen = Looks(lambda: overrides(other))
    wait_for(seen, "it is in force on the other server")
    assert seen.count <= TWO_SECONDS / LOOK_SECONDS
    assert check(other, "acme")
    (row,) = overrides(other)
    assert [(row[name]) for name in ("rule", "limit", "author", "reason")] == [
        *("company_id", "30/year", "alice", "TICKET-7")
    ]
    assert 3500 < row["seconds_left"] <= 3600
    (counter,) = one.get("/api/v1/counters?domain=mesh&entry=company_id=acme", "admin").json()["counters"]
    assert (counter["limit"], counter["override"]) == ("30/year", row["id"])
    assert counter["count"] >= 7
    asked = {"domain": "mesh", "descriptors": [{"entries": [{"key": "company_id", "value": "acme"}]}]}
    explained = post(other, "/explain", asked).json()
    assert (explained["rule"], explained["limit"], explained["code"]) == ("company_id", "30/year", "OK")
    assert not check(one, "umbrella", 4), "others keep their limit"


def test_it_is_seen_everywhere_and_ends_on_request(pair) -> None:
    one, other = pair
    before = one.get("/api/v1/status", "admin").json()["revision"]
    name = post(one, "/overrides", override("seen")).json()["override"]["id"]
    wait_for(lambda: all(map(overrides, pair)), "it is in force")
    for server in pair:
        status = server.get("/api/v1/status", "admin").json()
        assert status["overrides"]["in_force"] == 1
        assert status["revision"] != before
        assert server.metric("rls_overrides") == 1
        until = server.metric("rls_override_end_timestamp_seconds", domain="mesh", rule="company_id", override=name)
        assert 3000 < until - time.time() < 3601
        (rule,) = server.get("/api/v1/rules?name=company_id", "admin").json()["rules"]
        assert rule["overrides"] == [name]
        load = server.get("/api/v1/revisions?limit=1", "admin").json()["revisions"][0]
        assert load["overrides_began"] == ["mesh company_id=seen: 30/year"]
        kinds = [event["kind"] for event in server.get("/api/v1/events?limit=3", "admin").json()["events"]]
        assert "override_began" in kinds
        assert lines(server, "override_began")[-1]["override"] == name
    assert one.metric("rls_config_loads_total", result="complete") == 1, "it is no load of rules"
    (line,) = [line for line in lines(one, "admin_change") if line["override"] == name]
    assert (line["action"], line["author"], line["before"], line["after"]) == (
        *("override_set", "alice", "3/year"),
        "30/year",
    )
    assert (line["entries"], line["why"]) == ("company_id=seen", "TICKET-7")
    answer = post(other, f"/overrides/{name}?reason=solved", b"", method="DELETE")
    assert (answer.status, answer.json()["after"]) == (200, "3/year")
    wait_for(lambda: not overrides(one), "it has ended")
    assert one.get("/api/v1/status", "admin").json()["revision"] == before
    assert post(other, f"/overrides/{name}", b"", method="DELETE").status == 404
    (line,) = [line for line in lines(other, "admin_change") if line.get("override") == name]
    assert (line["action"], line["before"], line["after"], line["why"]) == (
        *("override_end", "30/year", "3/year"),
        "solved",
    )


def test_it_ends_by_itself(pair) -> None:
    post(pair[0], "/overrides", override("short", "1/year", "8s"))
    wait_for(lambda: not passes(pair[1], "short", 2), "a lower limit")
    wait_for(lambda: all(passes(server, "short", 2) for server in pair), "the rule's limit is back")
    assert lines(pair[1], "override_ended")[-1]["entries"] == "company_id=short"


def test_there_are_bounds(pair) -> None:
    one = pair[0]
    for number in range(4):
        assert post(one, "/overrides", override(f"many-{number}")).status == 200
    replaced = post(one, "/overrides", override("many-0", "5/year")).json()
    assert (replaced["before"], replaced["replaced"]["limit"]) == ("30/year", "30/year")
    answer = post(one, "/overrides", override("many-4"))
    assert (answer.status, answer.json()["error"]) == (
        409,
        "4 overrides hold, and at most 4 may (--max-overrides)",
    )
    assert len(overrides(one)) == 4


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"limit": "31/year"}, 400, "31/year is more than 10 times 3/year, the limit of the rule"),
        ({"limit": "1/second"}, 400, "is more than 10 times"),
        ({"limit": "many"}, 400, "limit is many"),
        ({"limit": "1/fortnight"}, 400, "limit is 1/fortnight"),
        ({"limit": "1/9999 years"}, 400, "limit is 1/9999 years"),
        ({"limit": "4294967296/year"}, 400, "limit is"),
        ({"limit": None}, 400, "limit is"),
        ({"reason": ""}, 400, "reason is"),
        ({"for": "32d"}, 400, "it would hold for 2764800 s"),
        ({"for": "0s"}, 400, "it would hold for 0 s"),
        ({"for": "soon"}, 400, "soon is no time"),
        ({"for": ""}, 400, "neither for nor until"),
        ({"until": "2036-01-01T00:00:00Z"}, 400, "both for and until"),
        ({"for": None, "until": "2036-01-01T00:00:00"}, 400, "is no time"),
        ({"for": None, "until": "2016-01-01T00:00:00Z"}, 400, "it would hold for -"),
        ({"entries": [{"key": "path", "value": "/"}]}, 404, "no limit for path=/: no rule of the domain mesh matches"),
        ({"entries": [{"key": "company_id", "value": "x" * 129}]}, 400, "entries with long values"),
    ],
    ids=str,
)
def test_what_cannot_be_set_is_refused(pair, change, status, error) -> None:
    answer = post(pair[0], "/overrides", override("acme") | change)
    assert answer.status == status
    assert error in answer.json()["error"]
    assert overrides(pair[0]) == []


def test_an_unlimited_rule_gets_a_limit(pair) -> None:
    limited = override("x") | {"entries": [{"key": "internal", "value": "noisy"}], "limit": "2/year"}
    assert post(pair[0], "/overrides", limited).json()["before"] == "unlimited"
    counters = pair[0].get("/api/v1/counters?domain=mesh&entry=internal=noisy", "admin").json()["counters"]
    assert [row["limit"] for row in counters] == ["2/year"]
    assert pair[0].get("/api/v1/counters?domain=mesh&entry=internal=calm", "admin").json()["counters"] == []


def test_redis_that_loses_them_gets_them_back(pair, redis) -> None:
    post(pair[0], "/overrides", override("kept"))
    wait_for(lambda: overrides(pair[1]), "it is in force")
    with redis.client() as client:
        client.flushall()
        wait_until(lambda: client.get("r1|overrides") is not None, "it is back")
    assert [row["entries"][0]["value"] for row in overrides(pair[1])] == ["kept"]


def test_they_survive_an_outage_and_restarts(start, tmp_path) -> None:
    """The last known stay in force, and end, while Redis is out; new servers read them."""
    with running(RedisServer(tmp_path, newest_binary(), ("--appendonly", "yes"))) as redis:
        first = start("first", backend=redis.url, at=tmp_path)
        post(first, "/overrides", override("acme"))
        post(first, "/overrides", override("brief", length="6s"))
        assert len(overrides(first)) == 2
        redis.kill()
        first.wait_until(lambda: "overrides_not_read" in first.reasons(), "it says so")
        status = first.get("/api/v1/status", "admin").json()
        assert status["overrides"]["in_force"] >= 1
        assert status["overrides"]["error"]
        assert check(first, "acme", 20), "counted in this process, against the override"
        failed = post(first, "/overrides", override("other"))
        assert failed.status == 503
        assert lines(first, "admin_change_failed")[-1]["action"] == "override_set"
        assert post(first, f"/overrides/{overrides(first)[0]['id']}", b"", method="DELETE").status == 503
        assert lines(first, "admin_change_failed")[-1]["action"] == "override_end"
        wait_for(lambda: len(overrides(first)) == 1, "one ends meanwhile")
        redis.options["--appendonly"] = "yes"
        redis.start()
        second = start("second", backend=redis.url, at=tmp_path)
        wait_for(lambda: [row["entries"][0]["value"] for row in overrides(second)] == ["acme"], "it is read")
        first.wait_until(lambda: "overrides_not_read" not in first.reasons(), "it is over")
        with redis.client() as client:
            assert json.loads(client.get("r1|overrides"))["version"] >= 2


def test_values_that_are_hashed_are_hashed_in_overrides_too(start, tmp_path) -> None:
    """They are set by the value or by its digest, and only the digest is kept, shown and logged."""
    (tmp_path / "secret").write_text("5f3c0b1e9a7d4c26")
    server = start("hashing", "--hash-secret-file", str(tmp_path / "secret"), "--key-prefix", "hashing|", at=tmp_path)
    answer = post(server, "/overrides", override("plain-name")).json()
    ((entry,),) = [row["entries"] for row in overrides(server)]
    assert answer["override"]["entries"] == [entry]
    assert entry["value"].startswith("hmac:")
    assert check(server, "plain-name", 20), "it holds for the value"
    (counter,) = post(server, "/counters/reset", entries(entry["value"])).json()["counters"]
    assert (counter["before"], counter["override"]) == (20, answer["override"]["id"])
    assert post(server, "/overrides", override(entry["value"], "9/year")).json()["replaced"] is not None
    assert "plain-name" not in server.output()
    assert "plain-name" not in server.get("/api/v1/events", "admin").body.decode()
