"""The decision log of a whole server: where it writes to, rotation, and what a stuck reader does."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.processes import NotSo, wait_for
from rls.api.client import Client
from rls.core.model import Code, Descriptor, Entry, Request
from tests.counters import PATIENT
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess

REQUEST = Request("mesh", (Descriptor((Entry("company_id", "acme"),)),))
LIMIT = 2


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def refuse(server: RlsProcess, times: int) -> None:
    """Be refused so many times, after the limit is used up."""
    with Client(server.addresses["grpc"]) as client:
        while client.check(REQUEST, timeout=PATIENT).code == Code.OK.name:
            pass
        for _ in range(times - 1):
            assert client.check(REQUEST, timeout=PATIENT).code == Code.OVER_LIMIT.name


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_it_says_who_answered_and_what_was_counted(tmp_path, transport) -> None:
    log = tmp_path / "decisions"
    with running(RedisServer(tmp_path, redis_binary())) as redis:
        options = ("--backend", redis.url, "--backend-timeout", "20s", "--transport", transport)
        server = RlsProcess(tmp_path, *options, "--decision-log", str(log), "--decision-log-share", "1")
        try:
            refuse(server, 2)
            wait_for(lambda: len(lines_of(log)) == LIMIT + 2, "all lines")
            assert server.metric("rls_decision_log_lines_total") == LIMIT + 2
        finally:
            server.kill()
    lines = lines_of(log)
    assert [line["answered_by"] for line in lines] == ["redis"] * 3 + ["cache"]
    assert [line["outcome"] for line in lines] == ["ok", "near_limit", "over_limit", "over_limit"]
    assert [line["count"] for line in lines] == [1, 2, 3, 4]
    assert {line["place"] for line in lines} == {f"{server.rules}:3"}
    assert all(len(line["revision"]) == 12 for line in lines)


def test_it_goes_on_in_a_new_file_after_a_rotation(tmp_path) -> None:
    log, moved = tmp_path / "decisions", tmp_path / "decisions.1"
    server = RlsProcess(tmp_path, "--decision-log", str(log))
    try:
        refuse(server, 1)
        wait_for(lambda: lines_of(log), "the first line")
        log.rename(moved)
        server.send(signal.SIGHUP)
        refuse(server, 1)
        wait_for(lambda: lines_of(log), "a new file")
    finally:
        server.kill()
    assert len(lines_of(moved)) == len(lines_of(log)) == 1


def test_it_writes_to_standard_output_and_the_last_lines_too(tmp_path) -> None:
    server = RlsProcess(tmp_path, "--decision-log", "stdout", "--log-format", "json")
    try:
        refuse(server, 3)
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.kill()
    logged = [json.loads(line) for line in server.output().splitlines() if '"outcome"' in line]
    assert [line["outcome"] for line in logged] == ["over_limit"] * 3


def test_a_reader_that_hangs_stops_no_check_and_is_told(tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    options = ("--decision-log", str(pipe), "--decision-log-rate", "1000000")
    server = RlsProcess(tmp_path, *options)
    try:
        until = time.monotonic() + 60
        while not server.metric("rls_decision_log_dropped_total", reason="stuck") and time.monotonic() < until:
            refuse(server, 500)
        assert server.metric("rls_decision_log_dropped_total", reason="stuck") > 0
        refuse(server, 10)
        assert "decision_log_lines_lost" in server.output()
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    finally:
        os.close(reader)
        server.kill()


def test_a_place_that_cannot_be_is_a_mistake(tmp_path) -> None:
    with pytest.raises(NotSo, match=r"--decision-log is '/no/such/folder/file'"):
        RlsProcess(tmp_path, "--decision-log", "/no/such/folder/file")
