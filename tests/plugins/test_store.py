"""A store from outside: the conformance suite, and a server that finds the store by its entry point."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rls.api.client import Client
from rls.core.model import Code, Descriptor, Entry, Request
from rls.stores.base import CounterStore
from rls.stores.schemes import StoreOptions
from rls.testing.store_conformance import StoreConformance
from tests.counters import PATIENT, until
from tests.plugins import sqlite_store
from tests.plugins.installed import installed
from tests.plugins.sqlite_store import SqliteStore
from tests.rls_process import RlsProcess


class TestSqlite(StoreConformance):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[CounterStore]:
        store = SqliteStore(str(tmp_path / "counters.db"), StoreOptions(PATIENT, ""))
        yield store
        await store.aclose()


@pytest.fixture
def python_path(tmp_path: Path) -> str:
    """Where a distribution with the store is installed, and all that is found already."""
    return installed(tmp_path, sqlite_store, "rls.stores", "sqlite = sqlite_store:open_sqlite")


@pytest.fixture
def servers(tmp_path: Path, python_path: str) -> Iterator[list[RlsProcess]]:
    """Two that count in one file."""
    options = ("--backend", f"sqlite://{tmp_path / 'counters.db'}", "--backend-timeout", "20s", "--key-prefix", "mine:")
    with ExitStack() as stack:
        started = []
        for name in ("first", "second"):
            started.append(RlsProcess(tmp_path, *options, env={"PYTHONPATH": python_path}, name=name))
            stack.callback(started[-1].kill)
        yield started


def ask(server: RlsProcess, company: str) -> Code:
    with Client(server.addresses["grpc"]) as client:
        answer = client.check(Request("mesh", (Descriptor((Entry("company_id", company),)),)), timeout=PATIENT)
    return Code[answer.code]


def test_servers_count_in_it(servers: list[RlsProcess], tmp_path: Path) -> None:
    first, second = servers
    codes = [ask(server, "acme") for server in (first, second, first, second)]
    assert codes == [Code.OK, Code.OK, Code.OVER_LIMIT, Code.OVER_LIMIT]
    assert ask(second, "other") is Code.OK
    for server in servers:
        assert server.readiness() == ["enforced", [], []]
    with sqlite3.connect(tmp_path / "counters.db") as connection:
        keys = [bytes(key) for (key,) in connection.execute("SELECT key FROM counters")]
    assert {key.split(b"|")[2] for key in keys if b"company_id" in key} == {b"company_id=acme", b"company_id=other"}
    assert all(key.startswith(b"mine:") for key in keys)


async def test_the_over_limit_cache_stands_before_it(servers: list[RlsProcess]) -> None:
    def answered() -> float:
        ask(servers[0], "acme")
        return servers[0].metric("rls_over_limit_cache_hits_total")

    await until(answered)


def serve(python_path: str, tmp_path: Path, backend: str) -> str:
    rules = tmp_path / "rules.yaml"
    rules.write_text("domain: mesh\ndescriptors: [{key: k}]\n")
    command = (sys.executable, "-m", "rls", "serve", "--config", str(rules), "--backend", backend)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": python_path, "COLUMNS": "400"},
    )
    assert done.returncode
    return done.stderr


def test_a_scheme_that_no_store_serves_is_refused_with_those_that_are_installed(
    python_path: str, tmp_path: Path
) -> None:
    assert "NAME, or sqlite://" in serve(python_path, tmp_path, "mongodb://localhost")


def test_the_store_says_what_is_wrong_with_its_url(python_path: str, tmp_path: Path) -> None:
    assert "there is no path, expected sqlite:///PATH" in serve(python_path, tmp_path, "sqlite://")
