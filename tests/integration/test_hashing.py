"""Digests in place of values: in all that a server stores and shows, and the same wherever a client is looked for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from examples.mesh.processes import wait_for
from rls.api.service import SHOULD_RATE_LIMIT
from rls.observe.spans import CHECK
from rls.proto import rls_pb2
from tests.otlp import Received, grpc_receiver
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess
from tests.scenario import message_of

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: year, requests_per_unit: 2}
    descriptors:
      - key: remote_address
        detailed_metric: true
        rate_limit: {unit: year, requests_per_unit: 2}
  - {key: path, rate_limit: {unit: year, requests_per_unit: 100}}
"""
COMPANY, ADDRESS, PATH = "acme-7f", "203.0.113.77", "/p/x41"
ENTRIES = (("company_id", COMPANY), ("remote_address", ADDRESS), ("path", PATH))
ASKED: list[dict[str, Any]] = [
    {"company_id": COMPANY},
    {"company_id": COMPANY, "remote_address": ADDRESS},
    {"path": PATH},
    {"nobody_knows": COMPANY},
    {"entries": [["remote_address", ADDRESS]], "limit": "5/year"},
]
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ADMIN = ("status", "top", "rules/mesh/company_id/top", "refusals", "rules", "shadow", "revisions", "events", "unknown")
METADATA = ("--response-dynamic-metadata",)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path, redis_binary())) as server:
        yield server


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("5f3c0b1e9a7d4c26\n")
    return file


@pytest.fixture
def start(tmp_path: Path, redis: RedisServer) -> Iterator[Callable[..., RlsProcess]]:
    """Starts servers that count in one Redis."""
    with ExitStack() as stack:

        def one(*options: str | Path, name: str = "rls", env: Mapping[str, str] | None = None) -> RlsProcess:
            words = ("--backend", redis.url, "--backend-timeout", "10s", *map(str, options))
            process = RlsProcess(tmp_path, *words, rules=RULES, name=name, env=env)
            stack.callback(process.kill)
            return process

        yield one


@pytest.fixture
def collector() -> Iterator[Received]:
    with grpc_receiver() as received:
        yield received


@pytest.fixture
def recording(tmp_path: Path) -> tuple[str, ...]:
    """The options of a server that records all that it can."""
    return (*METADATA, "--decision-log", f"{tmp_path}/decisions", "--decision-log-share", "1")


def ask(process: RlsProcess, *descriptors: dict[str, Any], domain: str = "mesh") -> rls_pb2.RateLimitResponse:
    with grpc.insecure_channel(process.addresses["grpc"]) as channel:
        call: Any = channel.unary_unary(SHOULD_RATE_LIMIT)
        message = message_of({"ask": descriptors, "domain": domain})
        answer = call(message, timeout=20, metadata=[("traceparent", SAMPLED)])
    return rls_pb2.RateLimitResponse.FromString(answer)


def hashed(secret: Path, *entries: tuple[str, str], keys: str = "") -> list[str]:
    """What `rls hash` prints for *entries*, each without its key."""
    words = ["--hash-secret-file", str(secret), *(["--hash-keys", keys] if keys else [])]
    command = [sys.executable, "-m", "rls", "hash", *words, *(f"{key}={value}" for key, value in entries)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.partition("=")[0] for line in printed] == [key for key, _ in entries]
    return [line.partition("=")[2] for line in printed]


def all_that_is_kept(
    process: RlsProcess, redis: RedisServer, *answers: rls_pb2.RateLimitResponse, traces: Received | None = None
) -> dict[str, str]:
    """By where it is: all text in which a value could stand."""
    decisions = process.rules.parent / "decisions"
    if traces is not None:
        traces.wait_for(CHECK, times=len(answers))
        wait_for(lambda: len(decisions.read_text().splitlines()) >= len(answers), "the decision log has them")
    with redis.client() as client:
        keys = b"\n".join(client.scan_iter(count=1000)).decode()
    return {
        "Redis": keys,
        "metrics": process.get("/metrics").body.decode(),
        "readyz": process.get("/readyz").body.decode(),
        "rlconfig": process.get("/rlconfig", of="admin").body.decode(),
        "admin": "\n".join(admin(process, path) for path in ADMIN),
        "log": process.output(),
        "decisions": decisions.read_text() if decisions.exists() else "",
        "traces": "" if traces is None else "\n".join(map(str, traces.spans)),
        "answers": "\n".join(json.dumps(json_format.MessageToDict(answer)) for answer in answers),
    }


def admin(process: RlsProcess, path: str) -> str:
    answer = process.get(f"/api/v1/{path}", of="admin")
    assert answer.status == 200, answer
    return answer.body.decode()


def spoil(process: RlsProcess, redis: RedisServer) -> None:
    """Let a counter be refused, so that the state and the log name it by its key."""
    with redis.client() as client:
        (key,) = [key for key in client.scan_iter(count=1000) if b"path=" in key]
        client.delete(key)
        client.rpush(key, "x")
    ask(process, {"path": PATH})
    process.wait_until(lambda: "counter_refused" in process.output(), "the log says so")


def test_no_value_is_stored_or_shown_and_one_digest_is_everywhere(
    start, redis: RedisServer, secret: Path, recording, collector: Received
) -> None:
    process = start("--hash-secret-file", secret, *recording, env=collector.variables)
    answers = [ask(process, *ASKED) for _ in range(4)]
    assert [answer.overall_code for answer in answers] == [1, 1, 2, 2], "limits are the same"
    ask(process, *ASKED, domain="unknown")
    spoil(process, redis)
    places = all_that_is_kept(process, redis, *answers, traces=collector)
    assert [(place, value) for place, text in places.items() for _, value in ENTRIES if value in text] == []
    company, address, path = hashed(secret, *ENTRIES)
    for place in ("Redis", "answers", "traces", "admin"):
        assert [digest for digest in (company, address, path) if digest not in places[place]] == []
    assert f"company_id={company}" in places["decisions"], "of the descriptor that refused"
    assert f"company_id_{company}.remote_address_{address}" in places["metrics"]
    assert f"path={path}" in places["readyz"]
    assert f"path={path}" in places["log"]


def test_without_the_setting_values_are_there(start, redis: RedisServer, recording, collector: Received) -> None:
    """So the test above looks where they would be."""
    process = start(*recording, env=collector.variables)
    answers = [ask(process, *ASKED) for _ in range(4)]
    spoil(process, redis)
    places = all_that_is_kept(process, redis, *answers, traces=collector)
    found = {place for place, text in places.items() if any(value in text for _, value in ENTRIES)}
    assert found == {"Redis", "metrics", "readyz", "log", "decisions", "traces", "admin", "answers"}
    assert "rls_hash_secret_info" not in places["metrics"]


def test_only_values_of_some_keys(start, redis: RedisServer, secret: Path) -> None:
    process = start("--hash-secret-file", secret, "--hash-keys", "company_id,remote_address", *METADATA)
    places = all_that_is_kept(process, redis, ask(process, *ASKED))
    company, address, path = hashed(secret, *ENTRIES, keys="company_id,remote_address")
    assert path == PATH
    for place in ("Redis", "answers"):
        assert company in places[place]
        assert address in places[place]
        assert PATH in places[place]
        assert ADDRESS not in places[place]
    assert "nobody_knows=" + COMPANY in places["answers"], "another key"


def test_servers_with_one_secret_count_together_and_with_others_apart(start, secret: Path, tmp_path: Path) -> None:
    """A rolling update that switches hashing on, or changes the secret, lets a limit pass once more."""
    other = tmp_path / "other"
    other.write_text("another-secret-of-some-length")
    acme = {"company_id": COMPANY}
    first, second = (start("--hash-secret-file", secret, name=name) for name in ("first", "second"))
    assert [ask(one, acme).overall_code for one in (first, second, first, second)] == [1, 1, 2, 2]
    plain, changed = start(name="plain"), start("--hash-secret-file", other, name="changed")
    for one in (plain, changed):
        assert [ask(one, acme).overall_code for _ in range(3)] == [1, 1, 2]
    ids = [process.output().partition("hash_secret_id=")[2][:8] for process in (first, second, changed)]
    assert ids[0] == ids[1] != ids[2]
    for process, secret_id in zip((first, second, changed), ids, strict=True):
        assert process.metric("rls_hash_secret_info", id=secret_id) == 1
    assert "hash_secret_id" not in plain.output()


def test_digests_are_remembered_with_their_plans(start, redis: RedisServer, secret: Path) -> None:
    """The same request again, after a reload too, is the same counter."""
    process = start("--hash-secret-file", secret)
    assert ask(process, {"path": PATH}).statuses[0].limit_remaining == 99
    process.rules.write_text(RULES.replace("requests_per_unit: 100", "requests_per_unit: 200"))
    process.wait_until(lambda: process.output().count("rules_loaded") == 2, "the rules are read again")
    assert [ask(process, {"path": PATH}).statuses[0].limit_remaining for _ in range(3)] == [198, 197, 196]
    with redis.client() as client:
        assert len(client.keys("*path=*")) == 1
