"""What a server says of a Redis that answers, and does not do what it should."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from examples.mesh.processes import wait_for
from rls.api.client import Client, UnansweredError
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

ACME = request(descriptor(("company_id", "acme")), domain="mesh")
A_WHILE = 1.5
"""Seconds: three polls of the backend."""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path, redis_binary())) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RlsProcess]]:
    with ExitStack() as stack:

        def one(url: str, *options: str) -> RlsProcess:
            server = RlsProcess(tmp_path, "--backend", url, "--backend-timeout", "2s", *options)
            stack.callback(server.kill)
            return server

        yield one


def check(server: RlsProcess) -> str:
    with Client(server.addresses["grpc"]) as client:
        try:
            return client.check(ACME, timeout=10).code
        except UnansweredError as error:
            return error.code


def events(server: RlsProcess) -> list[str]:
    return re.findall(
        r"\b(backend_unavailable|backend_recovered|server_not_ready|server_ready)\b(?= reason| *$)",
        server.output(),
        re.MULTILINE,
    )


@pytest.mark.parametrize("policy", ["error", "local", "deny"])
@pytest.mark.parametrize(("option", "says"), [("min-replicas-to-write", "NOREPLICAS"), ("maxmemory", "OOM")])
def test_a_redis_that_refuses_writes_is_gone(redis: RedisServer, start, policy: str, option: str, says: str) -> None:
    """From the start and later; one outage is told once, whether or not there are calls."""
    with redis.client() as client:
        client.config_set(option, 1)
        server = start(redis.url, "--on-backend-error", policy)
        state = "off" if policy == "error" else "degraded"
        server.wait_until(lambda: says in str(server.readiness()[1]), "Redis has said why")
        answers = []
        began = time.monotonic()
        while time.monotonic() < began + A_WHILE:
            assert server.readiness()[0] == state
            assert says in str(server.readiness()[1])
            assert server.get("/readyz").status == (503 if policy == "error" else 200)
            assert server.metric("rls_redis_up") == 0
            answers.append(check(server))
        first, then = {"error": ("UNAVAILABLE",) * 2, "local": ("OK", "OVER_LIMIT"), "deny": ("OVER_LIMIT",) * 2}[
            policy
        ]
        assert answers == [first] * 2 + [then] * (len(answers) - 2)
        client.config_set(option, 0)
        server.wait_until(lambda: server.readiness()[0] == "enforced", "Redis is back")
        server.wait_until(lambda: "backend_recovered" in events(server), "that is told")
        assert server.metric("rls_redis_up") == 1
    assert [one for one in events(server) if one.startswith("backend")] == ["backend_unavailable", "backend_recovered"]


def test_a_redis_that_comes_to_refuse_writes_without_calls(redis: RedisServer, start) -> None:
    server = start(redis.url, "--on-backend-error", "error")
    assert server.readiness()[0] == "enforced"
    with redis.client() as client:
        client.replicaof("127.0.0.1", "1")
        server.wait_until(lambda: server.readiness()[0] == "off", "it is seen")
        assert "READONLY" in str(server.readiness()[1])
        time.sleep(A_WHILE)
        assert server.readiness()[0] == "off"
        client.replicaof("NO", "ONE")
    server.wait_until(lambda: server.readiness()[0] == "enforced", "Redis is back")
    assert [one for one in events(server) if one.startswith("backend")] == ["backend_unavailable", "backend_recovered"]


def test_a_counter_that_redis_refuses_does_not_look_like_an_outage_and_hides_none(redis: RedisServer, start) -> None:
    server = start(redis.url)
    with redis.client() as client:
        check(server)
        (key,) = client.keys("*acme*")
        client.delete(key)
        client.rpush(key, "x")
        assert [check(server) for _ in range(3)] == ["OK", "OK", "OVER_LIMIT"]  # counted here
        assert server.reasons() == ["counter_refused"]
        assert f"the rule is mesh company_id, the key is {key.decode()}" in str(server.readiness()[1])
        time.sleep(A_WHILE)
        assert server.reasons() == ["counter_refused"]
        assert events(server) == ["server_ready"]
        assert server.metric("rls_counter_refused_total") == 3
        client.config_set("maxmemory", 1)
        server.wait_until(lambda: "backend_unavailable" in server.reasons(), "Redis is gone")
        check(server)
        client.config_set("maxmemory", 0)
        server.wait_until(lambda: "backend_unavailable" not in server.reasons(), "Redis is back, but for that counter")
        server.wait_until(lambda: events(server)[-1] == "backend_recovered", "that is told")
    assert events(server) == ["server_ready", "backend_unavailable", "backend_recovered"]


@pytest.mark.parametrize("without", [("set", "expire"), ("expire", "expireat")])
def test_a_redis_that_lets_nothing_expire(redis: RedisServer, start, without: tuple[str, ...]) -> None:
    """Limits hold, and the state says what is wrong until the rights are there; one line in the log."""
    with redis.client() as client:
        rights = ["~r1|*", "+get", "+set", "+incrby", "+expire", "+eval", "+decrby"]
        client.execute_command("ACL", "SETUSER", "u", "on", ">p", *rights, *(f"-{command}" for command in without))
        server = start(redis.url.replace("://", "://u:p@"))
        if "set" not in without:  # only counters that Redis loses need it then
            assert check(server) == "OK"
            client.flushall()
        assert check(server) == "OK"
        server.wait_until(lambda: "ttl_refused" in server.reasons(), "it is seen")
        (text,) = (one["text"] for one in server.readyz()[1]["reasons"] if one["reason"] == "ttl_refused")
        assert f"Redis at {redis.url}" in text
        assert "EXPIRE (NOPERM" in text
        assert ("SET (NOPERM" in text) == ("set" in without)
        assert server.get("/readyz").status == 200
        assert server.metric("rls_enforcement_reason_since_timestamp_seconds", reason="ttl_refused") > 0
        (key,) = client.keys("r1|mesh*")
        assert client.ttl(key) == -1
        time.sleep(A_WHILE)
        assert len(re.findall(r"enforcement_weakened .*ttl_refused", server.output())) == 1
        client.execute_command("ACL", "SETUSER", "u", *(f"+{command}" for command in without))
        server.wait_until(lambda: "ttl_refused" not in server.reasons(), "it is allowed")
        wait_for(lambda: client.ttl(key) > 0, "the counter expires")
    assert len(re.findall(r"enforcement_restored .*ttl_refused", server.output())) == 1


@pytest.mark.parametrize("query", ["", "?client_name="])
def test_a_redis_without_client(tmp_path: Path, start, query: str) -> None:
    config = tmp_path / "redis.conf"
    config.write_text('rename-command CLIENT ""\n')
    with running(RedisServer(tmp_path, redis_binary(), config=config)) as redis:
        server = start(redis.url + query)
        assert server.readiness()[0] == "enforced"
        assert [check(server) for _ in range(3)] == ["OK", "OK", "OVER_LIMIT"]
