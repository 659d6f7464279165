"""An observer from outside, which a server finds by its entry point."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from rls.api.client import Client
from rls.core.model import Descriptor, Entry, Request
from tests.counters import PATIENT
from tests.plugins import file_observer
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess


@pytest.fixture
def python_path(tmp_path: Path) -> str:
    """Where a distribution with the observer is installed, and all that is found already."""
    folder = tmp_path / "installed"
    about = folder / "file_observer-1.0.dist-info"
    about.mkdir(parents=True)
    shutil.copy(str(file_observer.__file__), folder / "file_observer.py")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: file-observer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[rls.observers]\nfile = file_observer:FileObserver\n")
    return os.pathsep.join((str(folder), *sys.path))


def test_it_hears_of_rules_checks_and_batches(tmp_path: Path, python_path: str) -> None:
    observed = tmp_path / "observed"
    with running(RedisServer(tmp_path, redis_binary())) as redis:
        options = ("--backend", redis.url, "--backend-timeout", "20s")
        server = RlsProcess(tmp_path, *options, env={"PYTHONPATH": python_path, "OBSERVED": str(observed)})
        try:
            with Client(server.addresses["grpc"]) as client:
                request = Request("mesh", (Descriptor((Entry("company_id", "acme"),)),))
                codes = [client.check(request, timeout=PATIENT).code for _ in range(2)]
        finally:
            server.kill()
    rules, *lines = observed.read_text().splitlines()
    assert rules.startswith("rules ")
    assert lines == [line for n, code in enumerate(codes, 1) for line in (f"batch {n} {n}", f"check {n} {code}")]
