import functools
import gc
import itertools
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

import grpc
import pytest

from examples.mesh.processes import free_port
from rls.api.client import Client
from rls.api.messages import Answer
from rls.api.service import SHOULD_RATE_LIMIT
from rls.app.app import App
from rls.core.model import Request
from rls.settings import Settings
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RULES, RlsProcess
from tests.scenario import Response, message_of
from tests.tries import descriptor, request

ACME: Request = request(descriptor(("company_id", "acme")), domain="mesh")


@pytest.fixture
def start(tmp_path):
    """Starts servers, and stops them in the end."""
    started: list[RlsProcess] = []

    def one(*options: str, **more) -> RlsProcess:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(RlsProcess(folder, *options, **more))
        return started[-1]

    yield one
    for process in started:
        process.kill()


def check(process: RlsProcess, asked: Request = ACME) -> Answer:
    with Client(process.addresses["grpc"]) as client:
        return client.check(asked, timeout=10)


def rls(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rls", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_limit_that_cannot_be_enforced_is_told_once_and_its_request_is_counted(start) -> None:
    process = start()
    asked = message_of({"ask": [{"entries": [["company_id", "acme"]], "limit": "5/9"}, {"company_id": "globex"}]})
    with grpc.insecure_channel(process.addresses["grpc"]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SHOULD_RATE_LIMIT)
        answers = [Response.FromString(call(asked + b"\x78" + bytes([n]), timeout=10)) for n in range(3)]
    assert [answer.overall_code for answer in answers] == [Response.OK, Response.OK, Response.OVER_LIMIT]
    assert len(re.findall(r" override_ignored .*domain=mesh .*limit\.unit is 9", process.output())) == 1
    assert process.metric("rls_request_errors_total") == 0


def test_it_prints_a_command_to_try_and_the_command_works(start) -> None:
    process = start()
    process.wait_until(lambda: "rls call" in process.output(), "it has printed a command")
    tried = re.search(r"^try\n +(rls call .*)$", process.output(), re.MULTILINE)
    assert tried is not None
    results = [rls(*shlex.split(tried[1])[1:]) for _ in range(3)]
    assert [result.returncode for result in results] == [0, 0, 1]
    assert "limited by rule mesh company_id at " in results[-1].stdout


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_it_serves_until_the_drain_ends_but_says_at_once_that_it_will_stop(start, transport: str) -> None:
    """Callers have the drain's time to go elsewhere."""
    process = start("--drain-timeout", "1s", "--transport", transport)
    assert process.readiness() == ["enforced", [], []]
    process.send(signal.SIGTERM)
    process.wait_until(lambda: process.get("/readyz").json()["draining"], "it says that it drains")
    assert process.get("/readyz").status == 503
    assert check(process).code == "OK"
    assert process.wait() == 0
    assert process.output().rstrip().endswith("server_stopped")


def test_a_second_signal_ends_it_at_once(start) -> None:
    process = start("--drain-timeout", "1h")
    process.send(signal.SIGINT)
    process.wait_until(lambda: "drain_started" in process.output(), "it drains")
    process.send(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM


def test_sighup_reads_the_rules_again(start) -> None:
    process = start()
    process.rules.write_text(RULES.replace("2", "100"))
    process.send(signal.SIGHUP)
    process.wait_until(lambda: process.output().count("rules_loaded") == 2, "it has read the rules again")
    limit = check(process).statuses[0].limit
    assert limit is not None
    assert limit.requests_per_unit == 100


async def test_the_garbage_collector_need_not_walk_rules_that_were_loaded_later(tmp_path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    app = App(Settings(config=(path,)))
    thresholds = gc.get_threshold()
    try:
        for _ in range(2):
            await app.loading.start()
            root = app.engine.limiter.rules.domains["mesh"].root
            assert all(found is not root for found in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_mistakes_in_the_rules_are_told_and_the_last_good_ones_stay(start) -> None:
    """Everywhere that somebody may look: readiness, metrics, log."""
    process = start()
    process.rules.write_text(RULES.replace("unit: year", "unit: yaer"))
    process.wait_until(lambda: process.readiness()[0] == "degraded", "it has seen the mistake")
    (problem,) = process.get("/readyz").json()["problems"]
    assert problem.startswith(f"{process.rules}:5:")
    assert problem in process.output()
    metrics = process.get("/metrics").body.decode()
    assert "rls_config_last_reload_successful 0.0" in metrics
    assert check(process).code == "OK"
    process.rules.write_text(RULES)
    process.wait_until(lambda: process.readiness() == ["enforced", [], []], "it has seen that all is well")


def test_without_a_single_good_file_it_starts_but_is_not_ready(start) -> None:
    """The rollout stops, the pods before it stay; repaired rules make it ready."""
    process = start(rules="dmoain: mesh\n")
    state, _, problems = process.readiness()
    assert (state, process.reasons()) == ("off", ["no_rules", "rules_invalid"])
    assert process.get("/readyz").status == 503
    assert problems
    process.rules.write_text(RULES)
    process.wait_until(lambda: process.readiness() == ["enforced", [], []], "it is ready")


def test_it_starts_without_redis_and_answers_and_says_so(start, tmp_path) -> None:
    """It is degraded, not dead: a pod that can answer must stay in the load balancer."""
    redis = RedisServer(tmp_path, redis_binary())
    process = start("--backend", redis.url)
    status, (reason,), problems = process.readiness()
    assert (status, problems) == ("degraded", [])
    assert str(redis.port) in reason
    assert process.get("/readyz").status == process.get("/healthcheck").status == 200
    assert [check(process).code for _ in range(3)] == ["OK", "OK", "OVER_LIMIT"]
    called = rls("call", process.addresses["grpc"], "--domain", "mesh", "--hits", "0", "company_id=other").stdout
    assert "; backend unavailable, decided by on_backend_error: local" in called
    assert {
        "rls_ready 1.0",
        'rls_enforcement_state{state="degraded"} 1.0',
        'rls_fallback_total{domain="mesh",rule="company_id",policy="local"} 4',
    } <= metrics_of(process)
    assert f'rls_redis_up{{node="redis://127.0.0.1:{redis.port}"}} 0.0' in metrics_of(process)
    with running(redis):
        process.wait_until(lambda: process.readiness() == ["enforced", [], []], "it has found Redis")
        assert {
            'rls_enforcement_state{state="degraded"} 0.0',
            'rls_enforcement_reason_since_timestamp_seconds{reason="backend_unavailable"} 0.0',
            'rls_fallback_hits_total{result="sent"} 3.0',
        } <= metrics_of(process)
        assert f'rls_redis_up{{node="redis://127.0.0.1:{redis.port}"}} 1.0' in metrics_of(process)
        assert check(process).code == "OVER_LIMIT"
        logged = process.output()
    assert len(re.findall(r" backend_unavailable ", logged)) == 1
    assert "backend_recovered" in logged
    assert "server_not_ready" not in logged


def metrics_of(process: RlsProcess) -> set[str]:
    return set(process.get("/metrics").body.decode().splitlines())


def test_it_starts_without_redis_says_why_it_is_not_ready_and_is_ready_when_redis_is_there(start, tmp_path) -> None:
    """Where no policy answers in its place."""
    redis = RedisServer(tmp_path, redis_binary())
    start = functools.partial(start, "--on-backend-error", "error")
    process = start("--backend", f"redis://user:hunter2@127.0.0.1:{redis.port}")
    status, reasons, _ = process.readiness()
    assert status == "off"
    assert str(redis.port) in str(reasons)
    assert (
        f"server_not_ready reason='the backend cannot count: Redis at redis://127.0.0.1:{redis.port}"
        in process.output()
    )
    assert "rls_ready 0.0" in process.get("/metrics").body.decode()
    assert "hunter2" not in process.output() + str(reasons)
    process.stop()
    process = start("--backend", redis.url)
    with running(redis):
        process.wait_until(lambda: process.readiness() == ["enforced", [], []], "it has found Redis")
        assert check(process).code == "OK"
        assert "rls_ready 1.0" in process.get("/metrics").body.decode()
        redis.kill()
        process.wait_until(lambda: process.readiness()[0] == "off", "it has missed Redis")
    changes = re.findall(r" (server_not_ready|server_ready)\b", process.output())
    assert [one for one, _ in itertools.groupby(changes)] == ["server_not_ready", "server_ready", "server_not_ready"]


def test_what_it_answers_with(start) -> None:
    """Settings reach the answer: here those of the headers."""
    process = start(
        *("--limit-response-headers-enabled", "--limit-limit-header", "X-Limit", "--limited-by-header", "X-Refused"),
        env={"RLS_IETF_HEADERS": "true"},
    )
    answer = check(process, request(descriptor(("company_id", "acme")), domain="mesh", hits_addend=9))
    headers = dict(answer.headers)
    assert (headers["X-Limit"], headers["RateLimit-Remaining"], headers["X-Refused"]) == ("2", "0", "company_id")
    assert headers["RateLimit-Policy"].startswith('"company_id";q=2;w=')


def test_every_line_is_json_where_json_is_asked_for(start) -> None:
    process = start("--log-format", "json", "--allow-unknown-variables", env={"RLS_DRIAN": "1s"})
    process.stop()
    events = [json.loads(line) for line in process.output().splitlines()]
    assert [event["event"] for event in events] == [
        "unknown_setting",
        "rules_loaded",
        "server_ready",
        "server_started",
        "drain_started",
        "server_stopped",
    ]
    assert events[0]["reason"] == "RLS_DRIAN is not a setting"


def test_variables_of_the_server_that_it_replaces_are_named(start) -> None:
    """Some of Istio's sample, with a Service called `statsd` in the namespace."""
    left = {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": "redis:6379", "USE_STATSD": "false", "RUNTIME_SUBDIRECTORY": "x"}
    process = start("--log-format", "json", env=left | {"STATSD_PORT": "tcp://10.0.0.7:8125"})
    events = [json.loads(line) for line in process.output().splitlines()]
    reasons = [event["reason"] for event in events if event["event"] == "unknown_setting"]
    assert [reason.split()[0] for reason in reasons] == sorted(left)
    assert "RLS_BACKEND (--backend)" in reasons[1]


def test_http_and_admin_can_be_off(start) -> None:
    process = start("--http", "off", "--admin", "off")
    assert set(process.addresses) == {"grpc"}
    assert check(process).code == "OK"


def test_messages_that_cannot_be_answered_are_counted(start) -> None:
    process = start()
    with Client(process.addresses["grpc"]) as client, pytest.raises(Exception, match="INVALID_ARGUMENT"):
        client.check(Request("", ()), timeout=10)
    assert 'rls_request_errors_total{reason="invalid"} 1.0' in process.get("/metrics").body.decode()


def test_a_header_that_a_client_can_make_envoy_send_is_counted_in_five_descriptors(start) -> None:
    """Refused, the request would pass Envoy."""
    long = [descriptor(("company_id", str(n)), ("header", "x" * 60 * 1024)) for n in range(5)]
    assert check(start(), request(*long, domain="mesh")).code == "OK"


def refused(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """The exit code, and what was said that is no log."""
    result = rls("serve", "--http", "off", "--admin", "off", *arguments)
    return result.returncode, [line for line in result.stderr.splitlines() if line.startswith("rls: ")]


def test_an_address_that_is_taken(tmp_path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for transport in ("native", "grpcio"):
            assert refused(["--config", str(rules), "--grpc", f"127.0.0.1:{port}", "--transport", transport]) == (
                1,
                [
                    (
                        f"rls: --grpc: cannot listen on 127.0.0.1:{port}: Address already in use; another process has it, "
                        "expected one that is free"
                    )
                ],
            )


def test_rules_that_are_not_there(tmp_path) -> None:
    assert refused(["--config", f"{tmp_path}/none"]) == (
        1,
        [f"rls: no such file or directory: {tmp_path}/none, expected rules in YAML"],
    )


def test_an_address_of_redis_that_cannot_be_used(tmp_path) -> None:
    assert refused(["--config", str(tmp_path), "--backend", "redis://u:hunter2@cache?pasword=x"]) == (
        2,
        ["rls: --backend: the backend redis://cache cannot be used: unknown option pasword, did you mean password?"],
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("per-second-backend", "redis://cache?foo=1", "the backend redis://cache cannot be used: unknown option foo"),
        ("hash-secret-file", "{empty}", "cannot use the secret for digests in {empty}: a secret of 0 bytes, expected"),
        ("hash-secret-file", "{none}", "cannot read the secret for digests in {none}: No such file or directory"),
        ("json-token-file", "{none}", "cannot read the token for /json in {none}: No such file or directory"),
        ("json-token-file", "{empty}", "the token for /json in {empty} is empty"),
        ("admin-token-file", "{none}", "cannot use {none}: No such file or directory"),
        ("admin-token-file", "{empty}", "cannot use {empty}: it has no token"),
    ],
)
def test_a_value_that_is_of_no_use_is_named_with_its_flag_or_variable(
    tmp_path, monkeypatch, name: str, value: str, said: str
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "empty").touch()
    places = {one: f"{tmp_path}/{one}" for one in ("empty", "none")}
    for source in (f"--{name}", f"RLS_{name.upper().replace('-', '_')}"):
        given = [source, value.format(**places)] if source.startswith("--") else []
        if not given:
            monkeypatch.setenv(source, value.format(**places))
        listeners = [word for one in ("grpc", "http", "admin") for word in (f"--{one}", "127.0.0.1:0")]
        code, (line,) = refused(["--config", f"{tmp_path}/rules.yaml", *listeners, *given])
        assert (code, line.startswith(f"rls: {source}: {said.format(**places)}")) == (2, True), line


def test_certificates_that_are_not_there(tmp_path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    arguments = ["--config", str(rules), "--grpc", f"127.0.0.1:{free_port()}"]
    code, (line,) = refused([*arguments, "--tls-cert", f"{tmp_path}/none.pem", "--tls-key", f"{tmp_path}/none.key"])
    assert code == 1
    assert f"{tmp_path}/none.pem" in line
