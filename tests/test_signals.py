"""Signals that arrive while the server starts. What they do later is in test_app.py."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.mesh.processes import wait_for
from rls.api.client import Client
from tests.app.test_app import check
from tests.rls_process import RULES, RlsProcess
from tests.tries import descriptor, request


@pytest.mark.parametrize("where", ["typer", "uvloop", "load"])
def test_sighup_while_it_starts_does_not_end_it(tmp_path: Path, where: str) -> None:
    process = RlsProcess(tmp_path, program=("-m", "tests.signalled", "SIGHUP", where))
    try:
        assert check(process).code == "OK"
        if where == "load":  # it may have read what has changed since, so it reads once more
            process.wait_until(lambda: process.output().count("rules_loaded") == 2, "it has read the rules again")
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("name", "where", "last"),
    [
        ("SIGTERM", "typer", "rls: stopped during the start"),
        ("SIGTERM", "rls.app.app", "rls: stopped during the start"),
        ("SIGTERM", "load", "stopped"),
        ("SIGINT", "rls.app.replicas", "rls: stopped during the start"),
        ("SIGINT", "load", "stopped"),
    ],
)
def test_a_signal_to_stop_while_it_starts_ends_it_cleanly(tmp_path: Path, name: str, where: str, last: str) -> None:
    """At once, since nobody is served yet: without a drain."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    addresses = [word for kind in ("grpc", "http", "admin") for word in (f"--{kind}", "127.0.0.1:0")]
    command = [sys.executable, "-m", "tests.signalled", name, where, "serve", "--config", str(rules), *addresses]
    result = subprocess.run(
        [*command, "--drain-timeout", "1h"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (0, "")
    (line,) = result.stderr.splitlines()
    assert line.endswith(last)


class InTerminal:
    """`rls serve` in the foreground of a terminal of its own, with a drain of an hour."""

    def __init__(self, folder: Path) -> None:
        rules = folder / "rules.yaml"
        rules.write_text(RULES)
        addresses = [word for kind in ("grpc", "http", "admin") for word in (f"--{kind}", "127.0.0.1:0")]
        command = [sys.executable, "-m", "rls", "serve", "--config", str(rules), *addresses, "--drain-timeout", "1h"]
        pid, self._terminal = pty.fork()
        if not pid:
            os.execv(sys.executable, command)
        self._pid = pid
        self.shown = ""

    def read_until(self, text: str) -> None:
        """Read what it prints until *text* comes."""
        while text not in self.shown:
            self.shown += os.read(self._terminal, 4096).decode()

    def type(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def close(self) -> None:
        """Close the terminal."""
        with contextlib.suppress(OSError):
            os.close(self._terminal)

    def exit_code(self) -> int:
        """What it ends with."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        raise AssertionError("it has not ended")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            if not os.waitpid(self._pid, os.WNOHANG)[0]:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)


@pytest.fixture
def in_terminal(tmp_path: Path) -> Iterator[InTerminal]:
    started = InTerminal(tmp_path)
    yield started
    started.kill()
    started.close()


def test_ctrl_c_in_a_terminal_ends_it_without_a_drain(in_terminal: InTerminal) -> None:
    in_terminal.read_until("rls call ")
    in_terminal.type(b"\x03")
    in_terminal.read_until("server_stopped")
    assert in_terminal.exit_code() == 0


@pytest.mark.parametrize("when", ["rules_loaded", "rls call "], ids=["while it starts", "while it serves"])
def test_a_terminal_that_is_closed_ends_it(in_terminal: InTerminal, when: str) -> None:
    """Though nothing can be printed there any more. Without a terminal, SIGHUP reloads."""
    in_terminal.read_until(when)
    in_terminal.close()
    assert in_terminal.exit_code() == 0


def test_a_log_that_cannot_be_written_keeps_nobody_from_serving(tmp_path: Path) -> None:
    """As on a full disk, or where whoever started it has closed its streams."""
    rules, socket = tmp_path / "rules.yaml", tmp_path / "rls.sock"
    rules.write_text(RULES)
    for streams in (">/dev/full 2>/dev/full", "<&- >&- 2>&-"):
        command = (
            f'exec "{sys.executable}" -m rls serve --config "{rules}" --grpc "unix:{socket}" --http off --admin off'
        )
        process = subprocess.Popen(["sh", "-c", f"{command} --drain-timeout 0 {streams}"])
        try:
            wait_for(socket.exists, "it listens")
            with Client(f"unix:{socket}") as client:
                assert client.check(request(descriptor(("company_id", "a")), domain="mesh"), timeout=10).code == "OK"
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
