"""Each reason of the enforcement state, provoked in a real server: /readyz, gRPC health, the metric and the log agree."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from rls.api.client import Client
from rls.api.health import CHECK
from rls.api.service import SHOULD_RATE_LIMIT
from rls.engine.enforcement import Reason
from rls.proto import health_pb2
from tests.certs import Authority, put
from tests.redis_cluster import RedisCluster
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RULES, RlsProcess
from tests.scenario import message_of
from tests.tries import descriptor, request

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
ONCE = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: year, requests_per_unit: 1}
"""

AUTHORITY = Authority()

WRONG_CLOCK = ("-c", "import time; now = time.time; time.time = lambda: now() + 3; from rls.cli import app; app()")
"""Starts `rls` with a clock that is three seconds ahead."""

Provoke = Callable[[RlsProcess], None]
SERVED = {
    Reason.NO_RULES: "an empty directory",
    Reason.RULES_INVALID: "a mistake",
    Reason.RULES_LOST: "a directory that becomes empty",
    Reason.RULES_NOT_READ: "a FIFO",
    Reason.BACKEND_UNAVAILABLE: "no Redis",
    Reason.COUNTER_REFUSED: "a key that holds a list",
    Reason.TTL_REFUSED: "an ACL without SET and EXPIRE",
    Reason.NO_ROOM: "more values than room",
    Reason.MEMORY_NOT_SHARED: "memory and two replicas",
    Reason.REPLICAS_UNKNOWN: "a name that DNS does not know",
    Reason.SHADOW_MODE: "--shadow-mode",
    Reason.QUOTA_MODE: "--quota-mode",
    Reason.CONNECTIONS_REFUSED: "more connections than --max-connections",
    Reason.FILE_DESCRIPTORS_EXHAUSTED: "a limit on open files below what is open",
    Reason.CERTIFICATE_NOT_LOADED: "a certificate file that holds none",
    Reason.CALLS_LATE: "calls whose time is over while Redis hangs",
    Reason.CALLS_SHED: "more calls than --max-concurrency while Redis hangs",
    Reason.CLOCK_SKEW: "a clock of ours that is three seconds ahead",
    Reason.REDIS_EVICTS: "a Redis that is nearly full and may evict",
    Reason.COUNTERS_LOST: "FLUSHALL",
    Reason.STALLED: "a process that is stopped for a while",
}
ELSEWHERE = {
    Reason.STARTING: "holds until the first answer of the backend: test_readiness.py",
    Reason.STOPPED: "ends the process: test_ended.py",
    Reason.RULES_NOT_POLLED: "needs a disk that is slow for a minute: test_loading.py, with less patience",
    Reason.CPU_THROTTLED: "needs a CPU limit, which a test cannot set: test_watching.py, with a file in its place",
    Reason.CERTIFICATE_EXPIRED: "keeps clients away: test_connections.py",
}


def nothing(_: RlsProcess) -> None:
    """Its start is enough."""


def fill(process: RlsProcess) -> None:
    with Client(process.addresses["grpc"]) as client:
        for n in range(20):
            client.check(request(descriptor(("company_id", str(n))), domain="mesh"), timeout=10)


def spoil(process: RlsProcess, redis: RedisServer) -> None:
    """Let the counter of a company hold something else, and ask for it."""
    with redis.client() as keys, Client(process.addresses["grpc"]) as client:
        asked = request(descriptor(("company_id", "acme")), domain="mesh")
        client.check(asked, timeout=10)
        (key,) = keys.keys("*acme*")
        keys.delete(key)
        keys.rpush(key, "x")
        client.check(asked, timeout=10)


def flush(process: RlsProcess, redis: RedisServer) -> None:
    """Let the counter of a company begin anew."""
    asked = request(descriptor(("company_id", "acme")), domain="mesh")
    with redis.client() as keys, Client(process.addresses["grpc"]) as client:
        process.wait_until(lambda: keys.keys("r1|marker|*"), "it has looked")
        client.check(asked, timeout=10)
        keys.flushall()
        client.check(asked, timeout=10)


def stand_still(process: RlsProcess) -> None:
    """Longer than a second; it says so for a moment when it goes on. A stall is told between two beats of the loop."""
    process.wait_until(lambda: process.get("/readyz").status == 200, "its loop turns")
    process.send(signal.SIGSTOP)
    time.sleep(1.5)
    process.send(signal.SIGCONT)


def crowd(process: RlsProcess) -> None:
    """One connection more than there may be."""
    with connected(process), connected(process), connected(process) as last:
        assert last.recv(1) == b""


def overload(process: RlsProcess, redis: RedisServer) -> None:
    """More calls than there may be; those that are let in wait for Redis."""
    redis.suspend()
    message = message_of({"ask": [{"company_id": "acme"}]})
    with grpc.insecure_channel(process.addresses["grpc"]) as channel:
        ask: Any = channel.unary_unary(SHOULD_RATE_LIMIT)
        calls = [ask.future(message, timeout=10) for _ in range(20)]
        process.wait_until(lambda: sum(call.done() for call in calls) >= 10, "calls are shed")
    redis.resume()


def hurry(process: RlsProcess, redis: RedisServer) -> None:
    """Calls that do not wait for as long as `rls` waits for Redis."""
    redis.suspend()
    with grpc.insecure_channel(process.addresses["grpc"]) as channel:
        ask: Any = channel.unary_unary(SHOULD_RATE_LIMIT)
        calls = [ask.future(message_of({"ask": [{"company_id": "acme"}]}), timeout=0.2) for _ in range(20)]
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    redis.resume()


def starve(process: RlsProcess) -> None:
    """Leave no file descriptor for a connection that comes."""
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, hard))
    with connected(process):
        process.wait_until(lambda: "no connection can be accepted" in process.output(), "it has tried to accept")
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))


def connected(process: RlsProcess) -> socket.socket:
    host, _, port = process.addresses["grpc"].rpartition(":")
    return socket.create_connection((host, int(port)), 10)


def without_ttl(redis: RedisServer) -> str:
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-set", "-expire")
    return f"redis://u:p@127.0.0.1:{redis.port}"


def nearly_full(redis: RedisServer) -> str:
    with redis.client() as client:
        for n in range(100):
            client.set(f"filler{n}", bytes(100_000))
        used: Any = client.info("memory")["used_memory"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", int(used / 0.95))
    return redis.url


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path, redis_binary())) as server:
        yield server


def start(reason: Reason, folder: Path, redis: Callable[[], RedisServer]) -> tuple[list[str], str, Provoke]:
    """Options, rules and an action that bring *reason* about."""
    rules = folder / "rules"
    rules.mkdir()
    (rules / "a.yaml").write_text(RULES)
    directory = ["--config", str(rules)]

    def empty(_: RlsProcess) -> None:
        (rules / "a.yaml").unlink()

    def invalid(_: RlsProcess) -> None:
        (rules / "b.yaml").write_text("domain: [")

    def fifo(_: RlsProcess) -> None:
        os.mkfifo(rules / "b.yaml")

    cert, key = AUTHORITY.issue("localhost")
    put(folder, cert, key)
    tls = ["--tls-cert", f"{folder}/tls.crt", "--tls-key", f"{folder}/tls.key"]

    def no_certificate(_: RlsProcess) -> None:
        put(folder, b"no certificate", key)

    if reason is Reason.NO_RULES:
        (rules / "a.yaml").unlink()
    cases: dict[Reason, tuple[list[str], str, Provoke]] = {
        Reason.NO_RULES: (directory, "", nothing),
        Reason.RULES_INVALID: (directory, "", invalid),
        Reason.RULES_LOST: (directory, "", empty),
        Reason.RULES_NOT_READ: (directory, "", fifo),
        Reason.BACKEND_UNAVAILABLE: (["--backend", "redis://127.0.0.1:1"], RULES, nothing),
        Reason.NO_ROOM: (["--memory-counters", "8"], ONCE, fill),
        Reason.MEMORY_NOT_SHARED: (["--replicas", "2"], RULES, nothing),
        Reason.REPLICAS_UNKNOWN: (
            ["--replicas", "dns:nobody.invalid", "--backend", "redis://127.0.0.1:1"],
            RULES,
            nothing,
        ),
        Reason.SHADOW_MODE: (["--shadow-mode"], RULES, nothing),
        Reason.QUOTA_MODE: (["--quota-mode"], RULES, nothing),
        Reason.CONNECTIONS_REFUSED: (["--max-connections", "2"], RULES, crowd),
        Reason.FILE_DESCRIPTORS_EXHAUSTED: ([], RULES, starve),
        Reason.CERTIFICATE_NOT_LOADED: (tls, RULES, no_certificate),
        Reason.STALLED: ([], RULES, stand_still),
    }
    if reason is Reason.COUNTER_REFUSED:
        server = redis()
        patient = ["--backend", f"redis://127.0.0.1:{server.port}", "--backend-timeout", "5s"]
        return patient, ONCE, lambda process: spoil(process, server)
    if reason is Reason.CALLS_SHED:
        server = redis()
        narrow = ["--backend", server.url, "--backend-timeout", "5s", "--max-concurrency", "2"]
        return narrow, RULES, lambda process: overload(process, server)
    if reason is Reason.CALLS_LATE:
        server = redis()
        return ["--backend", server.url, "--backend-timeout", "2s"], RULES, lambda process: hurry(process, server)
    if reason is Reason.CLOCK_SKEW:
        return ["--backend", redis().url, "--backend-timeout", "5s"], RULES, nothing
    if reason is Reason.REDIS_EVICTS:
        return ["--backend", nearly_full(redis()), "--backend-timeout", "5s"], RULES, nothing
    if reason is Reason.COUNTERS_LOST:
        server = redis()
        return ["--backend", server.url, "--backend-timeout", "5s"], RULES, lambda process: flush(process, server)
    if reason is Reason.TTL_REFUSED:
        return ["--backend", without_ttl(redis())], RULES, nothing
    return cases[reason]


def health(process: RlsProcess, *, tls: bool = False) -> str:
    address = process.addresses["grpc"].replace("127.0.0.1", "localhost")
    credentials = grpc.ssl_channel_credentials(AUTHORITY.pem)
    with grpc.secure_channel(address, credentials) if tls else grpc.insecure_channel(address) as channel:
        check: Any = channel.unary_unary(CHECK, response_deserializer=health_pb2.HealthCheckResponse.FromString)
        status = check(b"", timeout=10).status
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status)


@pytest.mark.parametrize("reason", SERVED)
def test_a_reason_is_seen_everywhere(reason: Reason, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    options, rules, provoke = start(reason, tmp_path, lambda: request.getfixturevalue("redis"))
    program = WRONG_CLOCK if reason is Reason.CLOCK_SKEW else ("-m", "rls")
    process = RlsProcess(tmp_path, "--log-format", "json", *options, rules=rules or RULES, program=program)
    try:
        provoke(process)
        line = process.wait_until(lambda: logged(process, reason), "the log says so")
        assert line is not None
        assert line["event"] == "enforcement_weakened"
        assert line["detail"]
        if reason is Reason.STALLED:  # it has ended by now, and that is in the log
            process.wait_until(lambda: "enforcement_restored" in process.output(), "the log says that it has ended")
            return
        process.wait_until(lambda: reason in process.reasons(), "/readyz says so")
        assert process.metric("rls_enforcement_reason_since_timestamp_seconds", reason=str(reason)) > 1e9
        state = process.get("/readyz").json()["state"]
        assert process.metric("rls_enforcement_state", state=state) == 1
        ready = process.get("/readyz").status == 200
        assert ready is (state == "degraded")
        assert health(process, tls="--tls-cert" in options) == ("SERVING" if ready else "NOT_SERVING")
        assert process.metric("rls_ready") == ready
    finally:
        process.kill()


@pytest.mark.parametrize("mistake", ["password", "rediss", "cluster"])
def test_a_mistake_in_the_url_of_redis_is_named_with_its_remedy(
    mistake: str, tmp_path: Path, redis: RedisServer, cluster: RedisCluster
) -> None:
    """In /readyz, in the log, and there before the server says that it has started."""
    if mistake == "password":
        with redis.client() as client:
            client.config_set("requirepass", "right")
    url, cause, remedy = {
        "password": (f"redis://:wrong@127.0.0.1:{redis.port}", "AUTH was refused", "correct the user and the password"),
        "rediss": (f"rediss://127.0.0.1:{redis.port}", "does not answer TLS", "begin with `redis` and not `rediss`"),
        "cluster": (cluster.servers[1].url, "this is a node of a Redis Cluster", "begin with `redis+cluster://`"),
    }[mistake]
    with RlsProcess(tmp_path, "--log-format", "json", "--backend", url) as process:
        line = logged(process, Reason.BACKEND_UNAVAILABLE)
        assert line is not None
        first_lines = process.output().partition('"server_started"')[0]
        for text in (line["detail"], first_lines, *process.readiness()[1]):  # type: ignore[misc]
            assert cause in text
            assert remedy in text


def test_a_cause_that_changes_is_told_again(tmp_path: Path) -> None:
    """First there is no Redis, and then one with another password."""
    redis = RedisServer(tmp_path, redis_binary(), ("--requirepass", "right"))
    options = ("--log-format", "json", "--backend", f"redis://:wrong@127.0.0.1:{redis.port}")
    with RlsProcess(tmp_path, *options) as process:
        assert "Connection refused" in process.readiness()[1][0]  # type: ignore[index]
        with running(redis):
            process.wait_until(lambda: "AUTH was refused" in process.readiness()[1][0], "/readyz says so")  # type: ignore[index]
        told = [line["detail"] for line in lines_of(process, Reason.BACKEND_UNAVAILABLE)]
    assert ["refused: WRONGPASS" in text for text in told[:2]] == [False, True]


def test_a_redis_that_comes_and_goes_does_not_fill_the_log(tmp_path: Path, redis: RedisServer) -> None:
    """It is lost, back and lost again; from then on it has to stay for a while."""
    with RlsProcess(tmp_path, "--log-format", "json", "--backend", redis.url) as process:
        for _ in range(4):
            redis.kill()
            time.sleep(0.8)
            redis.start()
            time.sleep(0.8)
        told = [line["event"] for line in lines_of(process, Reason.BACKEND_UNAVAILABLE)]
        assert sum(line["event"] == "backend_unavailable" for line in every_line(process)) <= 2
        texts = [line["detail"] for line in lines_of(process, Reason.BACKEND_UNAVAILABLE)]
    assert told.count("enforcement_restored") <= 1
    assert len(told) <= 3 + len(set(texts))


def every_line(process: RlsProcess) -> list[dict[str, str]]:
    return [json.loads(line) for line in process.output().splitlines() if line.startswith("{")]


def lines_of(process: RlsProcess, reason: Reason) -> list[dict[str, str]]:
    """What the log says of *reason*."""
    return [line for line in every_line(process) if line.get("reason") == reason and "detail" in line]


def logged(process: RlsProcess, reason: Reason) -> dict[str, str] | None:
    return next(iter(lines_of(process, reason)), None)


def test_every_reason_is_provoked_and_explained() -> None:
    assert {*SERVED, *ELSEWHERE} == set(Reason)
    table = OPERATIONS.read_text()
    assert [reason for reason in Reason if f"| `{reason}` |" not in table] == []
