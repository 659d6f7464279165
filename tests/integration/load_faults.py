"""Faults that make a server late or crowded."""

from __future__ import annotations

import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc

from examples.mesh.processes import wait_for
from rls.api.client import Client, UnansweredError
from rls.api.service import SHOULD_RATE_LIMIT
from tests.alerts.traffic import Traffic
from tests.cpu_limit import CpuLimit
from tests.integration.faulty import GENEROUS, PATIENT, a_redis, server
from tests.rls_process import RlsProcess
from tests.scenario import message_of
from tests.tries import descriptor, request


def crowded(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """As many connections as there may be, and others that come in vain."""
    process = server(stack, folder, "--max-connections", "4")
    asked = request(descriptor(("company_id", "acme")), domain="mesh")
    for _ in range(4):
        stack.enter_context(Client(process.addresses["grpc"])).check(asked, timeout=10)
    host, _, port = process.addresses["grpc"].rpartition(":")
    traffic.again(lambda: socket.create_connection((host, int(port)), 2).close(), 0.2)
    return [process]


class HesitantRedis:
    """A server, and a check that waits 30 ms for its Redis where it is to *hesitate*."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._redis = a_redis(stack, folder)
        self.process = server(stack, folder, "--backend", self._redis.url, *PATIENT, rules=GENEROUS)
        self._client = stack.enter_context(Client(self.process.addresses["grpc"]))

    def check(self) -> None:
        self._client.check(request(descriptor(("company_id", "acme")), domain="mesh"), timeout=2)

    def hesitate(self) -> None:
        self._redis.suspend()
        timer = threading.Timer(0.03, self._redis.resume)
        timer.start()
        self.check()
        timer.join()


def slow_redis(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """Each answer of Redis takes 30 ms."""
    asked = HesitantRedis(folder, stack)
    traffic.again(asked.hesitate, 0.02)
    return [asked.process]


def rarely(every: int, rare: Callable[[], object], usual: Callable[[], object]) -> Callable[[], None]:
    """Does *rare* once, and *usual* otherwise, *every* times in all, some two hundred a second."""

    def cycle() -> None:
        rare()
        for _ in range(every - 1):
            time.sleep(0.004)
            usual()

    return cycle


def rarely_slow(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """One check of 400 waits for Redis."""
    asked = HesitantRedis(folder, stack)
    traffic.again(rarely(400, asked.hesitate, asked.check), 0)
    return [asked.process]


def rarely_unanswered(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """Redis dies. One check of 400 is for a rule that answers with errors then."""
    redis = a_redis(stack, folder)
    rules = GENEROUS + "  - {key: path, on_backend_error: error, rate_limit: {unit: year, requests_per_unit: 9}}\n"
    process = server(stack, folder, "--backend", redis.url, *PATIENT, rules=rules)
    client = stack.enter_context(Client(process.addresses["grpc"]))
    asked = request(descriptor(("company_id", "acme")), domain="mesh")
    client.check(asked, timeout=10)
    redis.kill()

    def fail() -> None:
        with suppress(UnansweredError):
            client.check(request(descriptor(("path", "/")), domain="mesh"), timeout=2)

    traffic.again(rarely(400, fail, lambda: client.check(asked, timeout=2)), 0)
    return [process]


def paused(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """The pod gets no CPU for 50 ms, five times a second."""
    process = server(stack, folder)

    def pause() -> None:
        process.send(signal.SIGSTOP)
        time.sleep(0.05)
        process.send(signal.SIGCONT)

    traffic.again(pause, 0.15)
    return [process]


def throttled(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """The CPU limit is far too low."""
    limit = CpuLimit(folder, stack)
    process = server(stack, folder, program=limit.program, python=limit.python)
    limit.lower()
    traffic.again(lambda: process.get("/metrics"), 0.01)
    return [process]


def overloaded(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """More calls on one connection than there may be in progress, while Redis takes its time."""
    redis = a_redis(stack, folder)
    process = server(stack, folder, "--backend", redis.url, *PATIENT, "--max-concurrency", "2")
    channel = stack.enter_context(grpc.insecure_channel(process.addresses["grpc"]))
    call: Any = channel.unary_unary(SHOULD_RATE_LIMIT)
    message = message_of({"ask": [{"company_id": "acme"}]})

    def burst() -> None:
        redis.suspend()
        calls = [call.future(message, timeout=5) for _ in range(10)]
        wait_for(lambda: sum(one.done() for one in calls) >= 5, "calls are shed")
        redis.resume()
        for one in calls:
            one.code()

    traffic.again(burst, 0.2)
    return [process]


def impatient(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """Callers that give up while Redis hangs for a moment."""
    redis = a_redis(stack, folder)
    process = server(stack, folder, "--backend", redis.url, *PATIENT, rules=GENEROUS)
    client = stack.enter_context(Client(process.addresses["grpc"]))
    asked = request(descriptor(("company_id", "acme")), domain="mesh")

    def hurry() -> None:
        redis.suspend()
        timer = threading.Timer(0.4, redis.resume)
        timer.start()
        try:
            client.check(asked, timeout=0.2)
        finally:
            timer.join()

    traffic.again(hurry, 0.1)
    return [process]


def starved(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """It may open no more files than it has open, and three."""
    process = server(stack, folder)
    opened = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    # A scrape needs two of them.
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (opened + 3, hard))
    return [process]
