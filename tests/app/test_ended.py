"""A part of the service that ends on its own ends the service, and everybody is told first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from examples.mesh.http import Answer
from examples.mesh.processes import free_port
from rls.api.health import CHECK
from rls.app.supervise import Tasks
from rls.proto.health_pb2 import HealthCheckResponse
from rls.transport.listen import address_of, close_listener, keep_listening, knock, listen
from tests.certs import Authority, put
from tests.redis_server import missing
from tests.rls_process import RlsProcess
from tests.transport.conftest import until

GRPCIO = ("--transport", "grpcio")
TLS = ("--tls-cert", "tls.crt", "--tls-key", "tls.key")
# How, what is struck, what is told to have ended, and options.
STRIKES = [
    ("raise", "health", "health", ()),
    ("raise", "loop turns", "loop turns", ()),
    ("raise", "readiness", "readiness", ()),
    ("raise", "loading", "loading", ()),
    ("cancel", "loading", "loading", ()),
    ("raise", "replicas", "replicas", ("--replicas", "dns:localhost")),
    ("raise", "memory", "memory", ()),
    ("raise", "garbage collection", "garbage collection", ()),
    ("cancel", "garbage collection", "garbage collection", ()),
    ("raise", "certificates", "grpc server", TLS),
    ("cancel", "certificates", "grpc server", TLS),
    ("raise", "certificates", "grpc server", (*TLS, *GRPCIO)),
    ("raise", "_server_main_loop", "grpc server", GRPCIO),
    ("cancel", "_server_main_loop", "grpc server", GRPCIO),
    ("raise", "grpc server", "grpc server", ()),
    ("cancel", "grpc listener", "grpc listener", ()),
    ("raise", "http server", "http server", ()),
    ("raise", "admin accepts", "admin server", ()),
    ("cancel", "http accepts", "http server", ()),
    ("shut", "grpc", "grpc server", ()),
    ("shut", "grpc", "grpc listener", GRPCIO),
    ("shut", "http", "http server", ()),
    ("shut", "admin", "admin server", ()),
]


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    put(tmp_path, *Authority().issue("localhost"))
    return {name: str(tmp_path / name) for name in ("tls.crt", "tls.key")}


class Readings:
    """What `/readyz` said until the process was gone; nothing where nobody listened there."""

    def __init__(self, process: RlsProcess) -> None:
        self.all: list[Answer] = []
        deadline = time.monotonic() + 60
        while process.returncode is None:
            assert time.monotonic() < deadline, "it did not end"
            with contextlib.suppress(OSError):
                self.all.append(process.get("/readyz"))

    @property
    def stopped(self) -> list[str]:
        """The texts of the reason `stopped`, with which it was not ready."""
        texts = []
        for answer in self.all:
            said = answer.json()
            found = [reason["text"] for reason in said["reasons"] if reason["reason"] == "stopped"]
            assert not found or (answer.status, said["state"]) == (503, "off")
            texts += found
        return texts


@pytest.mark.parametrize(("how", "part", "ended", "options"), STRIKES)
def test_what_ends_is_told_and_ends_the_service(tmp_path, certificates, how, part, ended, options) -> None:
    if not Path("/proc/self/fd").exists():
        missing("finds sockets in /proc")
    ports = [word for kind in ("grpc", "http", "admin") for word in (f"--{kind}", f"127.0.0.1:{free_port()}")]
    options = [certificates.get(option, option) for option in options]
    process = RlsProcess(
        tmp_path, *ports, "--drain-timeout", "500ms", *options, program=("-m", "tests.injured", how, part)
    )
    try:
        process.wait_until(lambda: process.get("/readyz").status == 200, "it is ready")
        process.send(signal.SIGUSR1)
        readings = Readings(process)
    finally:
        process.kill()
    output = process.output()
    assert process.returncode == 1
    assert f"task_ended task={shlex.quote(ended)}\n" in output
    assert output.rstrip().splitlines()[-1].startswith(f"rls: the {ended} ended: ")
    if (how, part) != ("shut", "http") and "http" not in part:
        assert any(text.startswith(f"the {ended} ended: ") for text in readings.stopped)


def test_grpc_health_says_no_as_well(tmp_path) -> None:
    process = RlsProcess(tmp_path, "--drain-timeout", "2s", program=("-m", "tests.injured", "raise", "loading"))
    try:
        with grpc.insecure_channel(process.addresses["grpc"]) as channel:
            check: Any = channel.unary_unary(CHECK)
            assert check(b"") == HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
            process.send(signal.SIGUSR1)
            no = HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING).SerializeToString()
            process.wait_until(lambda: check(b"") == no, "it says no")
    finally:
        process.kill()


def test_what_ends_during_the_drain_is_no_error(tmp_path) -> None:
    process = RlsProcess(tmp_path, "--drain-timeout", "2s", program=("-m", "tests.injured", "cancel", "loading"))
    try:
        process.send(signal.SIGTERM)
        process.wait_until(lambda: "drain_started" in process.output(), "it drains")
        process.send(signal.SIGUSR1)
        assert process.wait() == 0
    finally:
        process.kill()
    assert "task_ended" not in process.output()


async def test_each_task_that_ends_is_told_of_until_they_are_closed() -> None:
    told: list[tuple[str, str]] = []
    tasks = Tasks(lambda name, error: told.append((name, repr(error))))

    async def fail() -> None:
        raise ZeroDivisionError

    tasks.keep("done", asyncio.sleep(0))
    tasks.keep("failed", fail())
    tasks.keep("left", asyncio.sleep(3600))
    await until(lambda: len(told) == 2)
    await tasks.aclose()
    assert sorted(told) == [("done", "None"), ("failed", "ZeroDivisionError()")]


ADDRESSES = ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "localhost:0", "unix"]


@pytest.fixture(params=ADDRESSES)
def listener(request, tmp_path) -> Iterator[socket.socket]:
    if "::" in request.param and not socket.has_dualstack_ipv6():
        missing("needs IPv6")
    found = listen(f"unix:{tmp_path}/socket" if request.param == "unix" else request.param)
    yield found
    close_listener(found)


@pytest.fixture(params=["looks", "knocks"])
def watch(request, monkeypatch) -> Callable[[socket.socket], Coroutine[Any, Any, None]]:
    """Both ways to find out that nobody listens."""
    monkeypatch.setattr("rls.transport.listen._KNOCK_SECONDS", 0.05)
    if request.param == "looks":
        return keep_listening
    return lambda listener: knock(address_of(listener), lambda: None, lambda _: None)


@pytest.mark.parametrize(
    ("listener", "how"),
    [*((address, how) for address in ADDRESSES for how in ("closed", "shut")), ("unix", "removed")],
    indirect=["listener"],
)
async def test_a_listener_that_is_lost_is_missed(listener, how: str, watch) -> None:
    address = address_of(listener)
    watching = asyncio.create_task(watch(listener))
    await asyncio.sleep(0.3)
    assert not watching.done()
    if how == "removed":
        await asyncio.to_thread(Path(address.removeprefix("unix:")).unlink)
    elif how == "shut":
        listener.shutdown(socket.SHUT_RDWR)
    else:
        listener.close()
    with pytest.raises(OSError, match=r"nobody listens on .* any more"):
        await asyncio.wait_for(watching, 10)


async def test_a_listener_whose_file_is_another_one_is_missed(listener, watch) -> None:
    """Closed behind the back of its object, its number goes to whatever is opened next: here to another listener."""
    watching = asyncio.create_task(watch(listener))
    await asyncio.sleep(0.3)
    with socket.create_server(("127.0.0.1", 0)) as other:
        os.dup2(other.fileno(), listener.fileno())
        with pytest.raises(OSError, match=r"nobody listens on .* any more"):
            await asyncio.wait_for(watching, 10)
    listener.close()


async def test_a_listener_whose_queue_is_full_is_not_missed(watch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full, contextlib.ExitStack() as stack:
        watching = asyncio.create_task(watch(full))
        await asyncio.sleep(0.1)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(full.getsockname())
        await asyncio.sleep(0.5)
        assert not watching.done()
        watching.cancel()
