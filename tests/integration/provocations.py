"""How to bring each reason of the enforcement state about, in a real server."""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import grpc
import pytest

from rls.api.client import Client, UnansweredError
from rls.api.service import SHOULD_RATE_LIMIT
from rls.engine.enforcement import Reason
from tests.certs import Authority, put
from tests.cpu_limit import CpuLimit
from tests.plugins import failing
from tests.plugins.installed import installed
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RULES, RlsProcess
from tests.scenario import message_of
from tests.tries import descriptor, request

ONCE = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: year, requests_per_unit: 1}
"""
ACME = request(descriptor(("company_id", "acme")), domain="mesh")
AUTHORITY = Authority()
NO_REDIS = "redis://127.0.0.1:1"
PATIENT = ("--backend-timeout", "5s")
WRONG_CLOCK = ("-c", "import time; now = time.time; time.time = lambda: now() + 3; from rls.cli import app; app()")
"""Starts `rls` with a clock that is three seconds ahead."""


def nothing(_: RlsProcess) -> None:
    """Its start is enough."""


class Start(NamedTuple):
    """How to start a server, and what to do then, for one reason to hold."""

    options: Sequence[str] = ()
    provoke: Callable[[RlsProcess], None] = nothing
    rules: str = RULES
    program: Sequence[str | Path] = ("-m", "rls")
    python: Sequence[str | Path] = (sys.executable,)
    env: Mapping[str, str] | None = None


class Stage:
    """What provocations need; *folder* is empty to begin with, and *stack* is left when the server has ended."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack

    def redis(self) -> RedisServer:
        """One of its own."""
        return self.stack.enter_context(running(RedisServer(self.folder, redis_binary())))

    def directory(self) -> Path:
        """A directory of rules with one file."""
        rules = self.folder / "rules"
        rules.mkdir()
        (rules / "a.yaml").write_text(RULES)
        return rules

    def tls(self, *, days: float = 1) -> list[str]:
        """The options of a server with a certificate."""
        put(self.folder, *AUTHORITY.issue("localhost", days=days))
        return ["--tls-cert", f"{self.folder}/tls.crt", "--tls-key", f"{self.folder}/tls.key"]


Provocation: TypeAlias = Callable[[Stage], Start]


def no_rules(stage: Stage) -> Start:
    rules = stage.directory()
    (rules / "a.yaml").unlink()
    return Start(["--config", str(rules)])


def a_mistake(stage: Stage) -> Start:
    rules = stage.directory()

    def write(_: RlsProcess) -> None:
        (rules / "b.yaml").write_text("domain: [")

    return Start(["--config", str(rules)], write)


def a_directory_that_becomes_empty(stage: Stage) -> Start:
    rules = stage.directory()
    return Start(["--config", str(rules)], lambda _: (rules / "a.yaml").unlink())


def a_fifo(stage: Stage) -> Start:
    rules = stage.directory()
    return Start(["--config", str(rules)], lambda _: os.mkfifo(rules / "b.yaml"))


def a_slow_disk(stage: Stage) -> Start:
    slow = stage.folder / "slow"
    return Start(provoke=lambda _: slow.touch(), program=("-m", "tests.slow_disk", slow))


def a_source_that_fails(stage: Stage) -> Start:
    path = installed(stage.folder, failing, "rls.sources", "failing = failing:FailingSource")
    script, rules = stage.folder / "said", stage.directory()
    script.write_text("fail")
    return Start(["--config", str(rules), "--config", f"failing://{script}"], env={"PYTHONPATH": path})


def an_algorithm_that_fails(stage: Stage) -> Start:
    path = installed(stage.folder, failing, "rls.algorithms", "failing = failing:FAILING_ALGORITHM")
    rules = RULES + "      algorithm: failing\n"

    def ask(process: RlsProcess) -> None:
        with pytest.raises(UnansweredError, match="INTERNAL"):
            check(process)

    return Start(provoke=ask, rules=rules, env={"PYTHONPATH": path})


def a_key_that_holds_a_list(stage: Stage) -> Start:
    redis = stage.redis()

    def spoil(process: RlsProcess) -> None:
        with redis.client() as client:
            check(process)
            (key,) = client.keys("*acme*")
            client.delete(key)
            client.rpush(key, "x")
            check(process)

    return Start(["--backend", redis.url, *PATIENT], spoil, ONCE)


def no_right_to_set_ttls(stage: Stage) -> Start:
    redis = stage.redis()
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-set", "-expire")
    return Start(["--backend", redis.url.replace("://", "://u:p@")])


def more_values_than_room(_: Stage) -> Start:
    def fill(process: RlsProcess) -> None:
        with Client(process.addresses["grpc"]) as client:
            for n in range(20):
                client.check(request(descriptor(("company_id", str(n))), domain="mesh"), timeout=10)

    return Start(["--memory-counters", "8"], fill, ONCE)


def more_connections_than_may_be(_: Stage) -> Start:
    def crowd(process: RlsProcess) -> None:
        with connected(process), connected(process), connected(process) as last:
            assert last.recv(1) == b""

    return Start(["--max-connections", "2"], crowd)


def no_file_descriptor(_: Stage) -> Start:
    def starve(process: RlsProcess) -> None:
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, hard))
        with connected(process):
            process.wait_until(lambda: "no connection can be accepted" in process.output(), "it has tried to accept")
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))

    return Start(provoke=starve)


def a_file_without_a_certificate(stage: Stage) -> Start:
    _, key = AUTHORITY.issue("localhost")
    return Start(stage.tls(), lambda _: put(stage.folder, b"no certificate", key))


def an_old_certificate(stage: Stage) -> Start:
    return Start(stage.tls(days=-0.5))


def more_calls_than_may_be(stage: Stage) -> Start:
    """Those that are let in wait for Redis."""
    redis = stage.redis()

    def overload(process: RlsProcess) -> None:
        redis.suspend()
        with grpc.insecure_channel(process.addresses["grpc"]) as channel:
            calls = start_calls(channel, 20, timeout=10)
            process.wait_until(lambda: sum(call.done() for call in calls) >= 10, "calls are shed")
        redis.resume()

    return Start(["--backend", redis.url, *PATIENT, "--max-concurrency", "2"], overload)


def calls_that_do_not_wait(stage: Stage) -> Start:
    redis = stage.redis()

    def hurry(process: RlsProcess) -> None:
        redis.suspend()
        with grpc.insecure_channel(process.addresses["grpc"]) as channel:
            calls = start_calls(channel, 20, timeout=0.2)
            assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        redis.resume()

    return Start(["--backend", redis.url, "--backend-timeout", "2s"], hurry)


def a_cpu_limit(stage: Stage) -> Start:
    limit = CpuLimit(stage.folder, stage.stack)

    def work(process: RlsProcess) -> None:
        limit.lower()

        def is_throttled() -> bool:
            for _ in range(20):
                process.get("/metrics")
            return "cpu_throttled" in process.output()

        process.wait_until(is_throttled, "it is throttled", seconds=60)

    return Start(provoke=work, program=limit.program, python=limit.python)


def a_wrong_clock(stage: Stage) -> Start:
    return Start(["--backend", stage.redis().url, *PATIENT], program=WRONG_CLOCK)


def a_redis_that_is_nearly_full(stage: Stage) -> Start:
    redis = stage.redis()
    with redis.client() as client:
        for n in range(100):
            client.set(f"filler{n}", bytes(100_000))
        used: Any = client.info("memory")["used_memory"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", int(used / 0.95))
    return Start(["--backend", redis.url, *PATIENT])


def a_flush(stage: Stage) -> Start:
    redis = stage.redis()

    def flush(process: RlsProcess) -> None:
        with redis.client() as client:
            process.wait_until(lambda: client.keys("r1|marker|*"), "it has looked")
            check(process)
            client.flushall()
            check(process)

    return Start(["--backend", redis.url, *PATIENT], flush)


def a_record_that_is_none(stage: Stage) -> Start:
    redis = stage.redis()
    with redis.client() as client:
        client.set("r1|overrides", "no record")
    return Start(["--backend", redis.url, *PATIENT])


PROVOCATIONS: Mapping[Reason, Provocation] = {
    Reason.NO_RULES: no_rules,
    Reason.RULES_INVALID: a_mistake,
    Reason.RULES_LOST: a_directory_that_becomes_empty,
    Reason.RULES_NOT_READ: a_fifo,
    Reason.RULES_NOT_POLLED: a_slow_disk,
    Reason.RULE_SOURCE_FAILED: a_source_that_fails,
    Reason.OVERRIDES_NOT_READ: a_record_that_is_none,
    Reason.BACKEND_UNAVAILABLE: lambda _: Start(["--backend", NO_REDIS]),
    Reason.COUNTER_REFUSED: a_key_that_holds_a_list,
    Reason.TTL_REFUSED: no_right_to_set_ttls,
    Reason.NO_ROOM: more_values_than_room,
    Reason.INTERNAL_ERROR: an_algorithm_that_fails,
    Reason.MEMORY_NOT_SHARED: lambda _: Start(["--replicas", "2"]),
    Reason.REPLICAS_UNKNOWN: lambda _: Start(["--replicas", "dns:nobody.invalid", "--backend", NO_REDIS]),
    Reason.SHADOW_MODE: lambda _: Start(["--shadow-mode"]),
    Reason.QUOTA_MODE: lambda _: Start(["--quota-mode"]),
    Reason.CONNECTIONS_REFUSED: more_connections_than_may_be,
    Reason.FILE_DESCRIPTORS_EXHAUSTED: no_file_descriptor,
    Reason.CERTIFICATE_NOT_LOADED: a_file_without_a_certificate,
    Reason.CERTIFICATE_EXPIRED: an_old_certificate,
    Reason.CALLS_SHED: more_calls_than_may_be,
    Reason.CALLS_LATE: calls_that_do_not_wait,
    Reason.CPU_THROTTLED: a_cpu_limit,
    Reason.CLOCK_SKEW: a_wrong_clock,
    Reason.REDIS_EVICTS: a_redis_that_is_nearly_full,
    Reason.COUNTERS_LOST: a_flush,
}


def check(process: RlsProcess) -> None:
    with Client(process.addresses["grpc"]) as client:
        client.check(ACME, timeout=10)


def start_calls(channel: grpc.Channel, number: int, *, timeout: float) -> list[Any]:
    ask: Any = channel.unary_unary(SHOULD_RATE_LIMIT)
    return [ask.future(message_of({"ask": [{"company_id": "acme"}]}), timeout=timeout) for _ in range(number)]


def connected(process: RlsProcess) -> socket.socket:
    host, _, port = process.addresses["grpc"].rpartition(":")
    return socket.create_connection((host, int(port)), 10)
