"""Each reason of the enforcement state, provoked in a real server: /readyz, gRPC health, the metric and the log agree."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from examples.mesh.http import ask
from examples.mesh.metrics import total
from examples.mesh.processes import Process, free_port
from rls.api.health import CHECK
from rls.engine.enforcement import Reason
from rls.proto import health_pb2
from tests.integration.provocations import AUTHORITY, PROVOCATIONS, Stage
from tests.redis_cluster import RedisCluster
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RULES, RlsProcess

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
SINCE = "rls_enforcement_reason_since_timestamp_seconds"
JSON = ("--log-format", "json")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path, stack)


@pytest.fixture
def redis(stage: Stage) -> RedisServer:
    return stage.redis()


def health(process: RlsProcess, *, tls: bool = False) -> str:
    address = process.addresses["grpc"].replace("127.0.0.1", "localhost")
    credentials = grpc.ssl_channel_credentials(AUTHORITY.pem)
    with grpc.secure_channel(address, credentials) if tls else grpc.insecure_channel(address) as channel:
        check: Any = channel.unary_unary(CHECK, response_deserializer=health_pb2.HealthCheckResponse.FromString)
        status = check(b"", timeout=10).status
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status)


@pytest.mark.parametrize("reason", PROVOCATIONS)
def test_a_reason_is_seen_everywhere(reason: Reason, stage: Stage) -> None:
    start = PROVOCATIONS[reason](stage)
    process = RlsProcess(
        stage.folder,
        *JSON,
        *start.options,
        rules=start.rules,
        env=start.env,
        program=start.program,
        python=start.python,
    )
    try:
        start.provoke(process)
        line = process.wait_until(lambda: logged(process, reason), "the log says so")
        assert line is not None
        assert line["event"] == "enforcement_weakened"
        assert line["detail"]
        process.wait_until(lambda: reason in reasons(process), "/readyz says so")
        assert process.metric(SINCE, reason=str(reason)) > 1e9
        state = process.get("/readyz").json()["state"]
        assert process.metric("rls_enforcement_state", state=state) == 1
        ready = process.get("/readyz").status == 200
        assert ready is (state == "degraded")
        assert process.metric("rls_ready") == ready
        if reason is not Reason.CERTIFICATE_EXPIRED:  # it keeps clients away
            assert health(process, tls="--tls-cert" in start.options) == ("SERVING" if ready else "NOT_SERVING")
    finally:
        process.kill()


def test_the_start(stage: Stage, redis: RedisServer) -> None:
    """It holds until the backend has answered once, which is too usual for a line in the log."""
    rules, port = stage.folder / "rules.yaml", free_port()
    rules.write_text(RULES)
    redis.suspend()
    addresses = ("--http", f"127.0.0.1:{port}", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    options = (*addresses, *JSON, "--config", str(rules), "--backend", redis.url, "--backend-timeout", "1m")
    process = Process("rls", [sys.executable, "-m", "rls", "serve", *options], stage.folder / "rls.log")
    try:
        answer = process.wait_until(lambda: ask(port, "/readyz"), "it listens")
        said = answer.json()
        assert (answer.status, said["state"]) == (503, "off")
        assert [found["reason"] for found in said["reasons"]] == ["starting"]
        assert total(ask(port, "/metrics").body.decode(), SINCE, reason="starting") > 1e9
        assert "server_started" not in process.output()
        redis.resume()
        process.wait_until(lambda: ask(port, "/readyz").json()["state"] == "enforced", "Redis has answered")
        assert "server_ready" in process.output()
        assert lines_of(process, Reason.STARTING) == []
    finally:
        process.kill()


def test_a_stall(tmp_path: Path) -> None:
    """It holds for one beat of the loop, after the stall: so it may take some of them to read it twice."""
    process = RlsProcess(tmp_path, *JSON)
    try:
        process.wait_until(lambda: process.get("/readyz").status == 200, "its loop turns")

        def stall() -> bool:
            process.send(signal.SIGSTOP)
            time.sleep(1.5)
            process.send(signal.SIGCONT)
            answer, since = process.get("/readyz"), process.metric(SINCE, reason="stalled")
            return answer.status == 503 and "stalled" in reasons_in(answer.json()) and since > 1e9

        process.wait_until(stall, "/readyz and the metric say so", seconds=60)
        process.wait_until(lambda: lines_of(process, Reason.STALLED)[-1]["event"] == "enforcement_restored", "it ends")
        first = lines_of(process, Reason.STALLED)[0]
        assert first["event"] == "enforcement_weakened"
        assert "the event loop was blocked for" in first["detail"]
    finally:
        process.kill()


def test_a_part_that_ended(tmp_path: Path) -> None:
    """It drains, and says why as long as it answers."""
    program = ("-m", "tests.injured", "raise", "loading")
    process = RlsProcess(tmp_path, *JSON, "--drain-timeout", "1m", program=program)
    try:
        process.wait_until(lambda: process.get("/readyz").status == 200, "it is ready")
        process.send(signal.SIGUSR1)
        process.wait_until(lambda: "stopped" in reasons(process), "/readyz says so")
        assert process.get("/readyz").status == 503
        assert process.metric(SINCE, reason="stopped") > 1e9
        assert process.metric("rls_enforcement_state", state="off") == 1
        line = logged(process, Reason.STOPPED)
        assert line is not None
        assert line["detail"].startswith("the loading ended: ")
    finally:
        process.kill()


BY_THEMSELVES: dict[Reason, Callable[..., None]] = {
    Reason.STARTING: test_the_start,
    Reason.STALLED: test_a_stall,
    Reason.STOPPED: test_a_part_that_ended,
}


NO_ANSWER = re.compile(r"no (connection|answer) within")
"""What a backend that was asked by a busy machine may have said."""


def test_every_reason_is_provoked_and_explained() -> None:
    """Once each, and the page has a row and an entry for it."""
    assert sorted([*PROVOCATIONS, *BY_THEMSELVES]) == sorted(Reason)
    page = OPERATIONS.read_text()
    assert [reason for reason in Reason if f"| `{reason}` |" not in page] == []
    assert [reason for reason in Reason if f"#### `{reason}`\n" not in page] == []


@pytest.mark.parametrize("mistake", ["password", "rediss", "cluster"])
def test_a_mistake_in_the_url_of_redis_is_named_with_its_remedy(
    mistake: str, tmp_path: Path, redis: RedisServer, cluster: RedisCluster
) -> None:
    """In /readyz, in the log, and there before the server says that it has started.

    On a busy machine the first attempts may end without an answer: then only the later ones have the cause.
    """
    if mistake == "password":
        with redis.client() as client:
            client.config_set("requirepass", "right")
    url, cause, remedy = {
        "password": (f"redis://:wrong@127.0.0.1:{redis.port}", "AUTH was refused", "correct the user and the password"),
        "rediss": (f"rediss://127.0.0.1:{redis.port}", "does not answer TLS", "begin with `redis` and not `rediss`"),
        "cluster": (cluster.servers[1].url, "this is a node of a Redis Cluster", "begin with `redis+cluster://`"),
    }[mistake]
    with RlsProcess(tmp_path, *JSON, "--backend", url) as process:
        first_lines = process.output().partition('"server_started"')[0]
        assert f'"{Reason.BACKEND_UNAVAILABLE}"' in first_lines
        for part in (cause, remedy):
            assert part in first_lines or NO_ANSWER.search(first_lines)
        text = process.wait_until(lambda: next((one for one in texts(process) if cause in one), ""), "/readyz says so")
        assert remedy in text
        told = [line["detail"] for line in lines_of(process, Reason.BACKEND_UNAVAILABLE)]
        assert text in told


def test_a_cause_that_changes_is_told_again(tmp_path: Path) -> None:
    """First there is no Redis, and then one with another password."""
    redis = RedisServer(tmp_path, redis_binary(), ("--requirepass", "right"))
    options = (*JSON, "--backend", f"redis://:wrong@127.0.0.1:{redis.port}")
    with RlsProcess(tmp_path, *options) as process:
        process.wait_until(lambda: "Connection refused" in str(texts(process)), "/readyz says so")
        with running(redis):
            process.wait_until(lambda: "AUTH was refused" in str(texts(process)), "/readyz says so")
        told = [line["detail"] for line in lines_of(process, Reason.BACKEND_UNAVAILABLE)]
    causes = [text for text in told if not NO_ANSWER.search(text)]
    assert ["refused: WRONGPASS" in text for text in causes[:2]] == [False, True]


def test_a_redis_that_comes_and_goes_does_not_fill_the_log(tmp_path: Path, redis: RedisServer) -> None:
    """It is lost, back and lost again; from then on it has to stay for a while."""
    with RlsProcess(tmp_path, *JSON, "--backend", redis.url) as process:
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


def every_line(process: Process) -> list[dict[str, str]]:
    return [json.loads(line) for line in process.output().splitlines() if line.startswith("{")]


def lines_of(process: Process, reason: Reason) -> list[dict[str, str]]:
    """What the log says of *reason*."""
    return [line for line in every_line(process) if line.get("reason") == reason and "detail" in line]


def logged(process: Process, reason: Reason) -> dict[str, str] | None:
    return next(iter(lines_of(process, reason)), None)


def texts(process: RlsProcess) -> list[str]:
    """Of the reasons in /readyz."""
    return [reason["text"] for reason in process.readyz()[1]["reasons"]]


def reasons(process: RlsProcess) -> list[str]:
    return reasons_in(process.get("/readyz").json())


def reasons_in(said: Any) -> list[str]:
    """By name, `cpu_throttled` included."""
    return [found["reason"] for found in said["reasons"]]
