"""`rls doctor` beside real servers that are well, and beside real faults."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rls.cli import app
from tests.cpu_limit import CpuLimit
from tests.integration.provocations import WRONG_CLOCK
from tests.redis_server import RedisServer, newest_binary, running
from tests.rls_process import RULES, RlsProcess

PATIENT = ("--backend-timeout", "2s")
Found = Mapping[str, list[dict[str, str]]]


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRPC", "HTTP", "ADMIN", "BACKEND", "CONFIG", "BACKEND_TIMEOUT", "KEY_PREFIX"):
        monkeypatch.delenv(f"RLS_{name}", raising=False)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path_factory.mktemp("redis"), newest_binary())) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RlsProcess]]:
    with ExitStack() as stack:

        def one(*options: str, **more: object) -> RlsProcess:
            server = RlsProcess(tmp_path, *options, **more)  # type: ignore[arg-type]
            stack.callback(server.kill)
            return server

        yield one


def doctor(server: RlsProcess | None, *options: str) -> tuple[int, Found]:
    """The exit code, and what was found, by what it is about."""
    addresses = {} if server is None else server.addresses
    given = [word for name, address in addresses.items() for word in (f"--{name}", address)]
    result = CliRunner().invoke(app, ["doctor", "--json", *given, *PATIENT, *options])
    found: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(result.stdout):
        found.setdefault(one["about"], []).append(one)
    return result.exit_code, found


def the(found: Found, about: str) -> tuple[str, str, str]:
    """State, text and advice of the only line about it."""
    (one,) = found[about]
    return one["state"], one["text"], one["advice"]


def test_all_is_well(redis: RedisServer, start: Callable[..., RlsProcess]) -> None:
    server = start("--backend", redis.url, *PATIENT)
    config = ("--config", str(server.rules))
    server.wait_until(lambda: server.readiness()[0] == "enforced", "Redis was asked")
    _, found = doctor(server, "--redis", redis.url, *config)
    assert the(found, "health") == ("good", "gRPC health says SERVING", "")
    assert the(found, "grpc")[:2] == ("good", found["grpc"][0]["text"])
    assert f"{server.addresses['grpc']} answers checks; p99 of 100: " in found["grpc"][0]["text"]
    assert the(found, "domain") == ("good", "the server has rules for the domain mesh", "")
    assert the(found, "rules file") == ("good", f"{server.rules}: no mistakes", "")
    state, rules, _ = the(found, "rules in force")
    assert (state, rules[:29], rules[-19:]) == ("good", "1 rule is in force, revision ", ", that of the files")
    assert [one["state"] for one in found["clock"]] == ["good", "good"]
    assert the(found, "redis rights") == ("good", f"{redis.url} allows all that rls needs", "")
    assert " is Valkey " in found["redis version"][0]["text"] or " is Redis " in found["redis version"][0]["text"]
    assert the(found, "redis memory")[0] == "good"
    assert the(found, "envoy")[0] == "unknown"
    others = {one["about"] for lines in found.values() for one in lines if one["state"] == "bad"}
    assert others <= {"timeouts", "cpu limit", "cpu", "state"}, "a busy machine may be late, and no more"
    assert the(found, "http")[1].startswith(f"{server.addresses['http']} is ready")
    with redis.client() as client:
        assert client.get("r1|doctor") is None or client.ttl("r1|doctor") <= 1
    text = CliRunner().invoke(app, ["doctor", "--grpc", "off", "--http", "off", "--admin", "off", "--redis", redis.url])
    assert f"✓ redis rights: {redis.url} allows all that rls needs\n" in text.stdout
    assert "– envoy: not asked\n" in text.stdout
    assert "\nTo know more:\n  envoy: --envoy HOST:PORT of its admin port, 15000 in Istio\n" in text.stdout


def test_other_rules_and_another_domain_are_found(
    redis: RedisServer, start: Callable[..., RlsProcess], tmp_path: Path
) -> None:
    server = start("--backend", redis.url, *PATIENT)
    other = tmp_path / "other.yaml"
    other.write_text(RULES.replace("requests_per_unit: 2", "requests_per_unit: 3"))
    code, found = doctor(server, "--config", str(other), "--domain", "Mesh")
    assert code == 1
    assert the(found, "domain") == (
        "bad",
        "the server has no rules for the domain Mesh: every request passes",
        "write `domain` in the rules and in Envoy's filter alike; case counts",
    )
    assert (the(found, "rules file")[0], the(found, "rules in force")[0]) == ("good", "bad")
    other.write_text(RULES.replace("mesh", "[mesh]"))
    _, found = doctor(server, "--config", str(other))
    assert the(found, "rules file")[:2] == ("bad", f"{other}:1:9: `domain` is a list, expected text")
    assert the(found, "rules in force")[0] == "good"


def test_a_redis_that_is_gone(start: Callable[..., RlsProcess], tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, newest_binary())) as redis:
        server = start("--backend", redis.url)
        server.wait_until(lambda: server.readiness()[0] == "enforced", "Redis was asked")
        redis.kill()
        server.wait_until(lambda: "backend_unavailable" in server.reasons(), "it notices")
        code, found = doctor(server, "--redis", redis.url)
    assert code == 1
    assert the(found, "redis") == (
        "bad",
        f"{redis.url} does not count: Redis at {redis.url}: Connection refused",
        "start it, or correct --redis; checks are answered by on_backend_error meanwhile",
    )
    assert the(found, "grpc")[:2] == (
        "bad",
        "checks are answered by on_backend_error: local, not by the backend",
    )
    (reason,) = [one for one in found["state"] if "backend_unavailable" in one["text"]]
    assert reason["advice"] == "see docs/operations.md#reasons, `backend_unavailable`"


@pytest.mark.parametrize(
    ("rights", "expected"),
    [
        ("+set +get +incrby +expire +time +info", {"DECRBY: refunds fail", "EVAL: refunds fail"}),
        ("+incrby +expire +eval +decrby +time +info", {
            "GET: requests with `hits_addend: 0` fail",
            "SET: no TTL of a counter is certain, and lost counters are not noticed",
        }),
    ],
)  # fmt: skip
def test_rights_that_the_user_of_redis_lacks(redis: RedisServer, rights: str, expected: set[str]) -> None:
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "rls", "reset", "on", ">secret", "~*", *rights.split())
    url = f"redis://rls:secret@127.0.0.1:{redis.port}"
    code, found = doctor(None, "--grpc", "off", "--http", "off", "--admin", "off", "--redis", url)
    assert code == 1
    assert {one["text"].partition("refuses ")[2] for one in found["redis rights"]} == expected
    assert "secret" not in json.dumps(found)


def test_a_redis_that_refuses_us(redis: RedisServer) -> None:
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "rls", "reset", "on", ">secret", "~*", "+get")
    off = ("--grpc", "off", "--http", "off", "--admin", "off")
    port = redis.port
    _, found = doctor(None, *off, "--redis", f"redis://rls:secret@127.0.0.1:{port}")
    assert the(found, "redis")[0] == "bad"
    assert the(found, "redis")[2].startswith("give the user +get +set +incrby")
    _, found = doctor(None, *off, "--redis", f"redis://rls:wrong@127.0.0.1:{port}")
    assert the(found, "redis")[2] == "correct the user and the password in the URL, or in its password_file"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("foo", "--redis is 'foo': expected memory://, redis://HOST:PORT/DB, "),
        ("redis://:secret@h:port", "--redis is 'redis://:***@h:port': expected a port from 0 to 65535 after the host"),
        ("redis://h?foo=bar", "the backend redis://h cannot be used: unknown option foo, expected "),
    ],
)
def test_a_url_that_is_none_of_a_backend(url: str, said: str) -> None:
    """It is found as `rls serve --backend` says it, and the rest is asked nevertheless."""
    code, found = doctor(None, "--grpc", "off", "--http", "off", "--admin", "off", "--redis", url)
    state, text, advice = the(found, "redis")
    assert (code, state, text[: len(said)], advice) == (1, "bad", said, "correct --redis")
    assert len(found) > 1


def test_a_redis_that_evicts(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, newest_binary())) as redis, redis.client() as client:
        for n in range(100):
            client.set(f"filler{n}", bytes(100_000))
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.95))
        code, found = doctor(None, "--grpc", "off", "--http", "off", "--admin", "off", "--redis", redis.url)
    assert code == 1
    state, text, advice = the(found, "redis memory")
    assert (state, advice) == ("bad", "raise maxmemory")
    assert text.endswith("of maxmemory, with allkeys-lru: counters are evicted, and begin at 0 again")


def test_a_server_with_a_wrong_clock(redis: RedisServer, start: Callable[..., RlsProcess]) -> None:
    server = start("--backend", redis.url, *PATIENT, program=WRONG_CLOCK)
    code, found = doctor(server)
    assert code == 1
    (ours,) = found["clock"]
    assert ours["state"] == "bad"
    assert ours["text"].startswith("the clock of the server is ")
    assert ours["advice"].startswith("synchronize the clocks")


def test_a_server_that_its_cpu_limit_stops(start: Callable[..., RlsProcess], tmp_path: Path) -> None:
    with ExitStack() as stack:
        limit = CpuLimit(tmp_path, stack)
        server = start(program=limit.program, python=limit.python)
        limit.lower()

        def is_throttled() -> bool:
            for _ in range(20):
                server.get("/metrics")
            return "cpu_throttled" in server.output()

        server.wait_until(is_throttled, "it is throttled", seconds=60)
        code, found = doctor(server)
        server.kill()
    assert code == 1
    assert [one for one in found["state"] if one["text"].startswith("cpu_throttled: ")]
    assert found["cpu"][0]["state"] in ("bad", "good")
    assert "periods" in found["cpu"][0]["text"]


def test_an_admin_address_that_wants_a_token(start: Callable[..., RlsProcess], tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("alice:correct-horse-battery\n")
    server = start("--admin", "0.0.0.0:0", "--admin-token-file", str(tokens))
    _, found = doctor(server)
    assert the(found, "admin")[:2] == (
        "unknown",
        f"{server.addresses['admin'].replace('0.0.0.0', '127.0.0.1')} answers 401",
    )
    _, found = doctor(server, "--token-file", str(tokens))
    assert the(found, "admin")[0] == "good"


def test_nothing_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        words = [word for name in ("grpc", "http", "admin", "envoy") for word in (f"--{name}", address)]
        code, found = doctor(None, *words)
    assert code == 1
    states = {name: the(found, name)[0] for name in ("grpc", "http", "admin", "envoy", "redis")}
    assert states == {"grpc": "bad", "http": "bad", "admin": "unknown", "envoy": "bad", "redis": "unknown"}
    assert the(found, "http")[1] == f"{address}: no connection: Connection refused"


def test_nothing_is_asked_and_nothing_is_called_good() -> None:
    off = ("--grpc", "off", "--http", "off", "--admin", "off")
    code, found = doctor(None, *off)
    assert code == 0
    assert {name: the(found, name)[0] for name in found} == dict.fromkeys(
        ("redis", "envoy", "timeouts", "cpu limit"), "unknown"
    )
    _, found = doctor(None, *off, "--envoy-timeout", "100ms")
    assert the(found, "timeouts")[1] == "a call may wait 2000 ms for Redis, and Envoy waits 100 ms for the call"


@pytest.mark.parametrize(
    "options", [("--grpc", "nowhere"), ("--backend-timeout", "5"), ("--config", "gone.yaml"), ("--envoy", "http://")]
)
def test_wrong_usage(options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["doctor", "--grpc", "off", "--http", "off", "--admin", "off", *options])
    assert result.exit_code == (0 if options[1] == "http://" else 2)
