"""A source of rules from outside `rls`: a table in SQLite, installed as a distribution of its own beside it."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rls.api.client import Client
from rls.errors import SettingsError
from rls.settings import Settings
from rls.sources.base import open_source
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

SOURCE = '''
"""Rules from the table `rules` of a SQLite file: `sqlite:///path`. Each row is a document of YAML."""

import asyncio
import sqlite3
import time

from rls.config.compile import compile_in_steps
from rls.core.rules import Domain, RuleSet
from rls.engine.layers import Layer
from rls.slices import run


class SqliteSource:
    def __init__(self, url):
        self.polled_at = 0.0
        self._path = url.removeprefix("sqlite://")
        self._version = None
        self._requested = asyncio.Event()

    async def start(self):
        return await self._read()

    async def run(self, publish):
        seen = self._version
        while True:
            if self._requested.is_set() or self._version != seen:
                self._requested.clear()
                seen = self._version
                await publish(self._layer)
            await asyncio.sleep(0.05)
            await self._read()

    def request(self):
        self._requested.set()

    async def _read(self):
        with sqlite3.connect(self._path) as table:
            (self._version,) = table.execute("select max(version) from rules").fetchone()
            rows = table.execute("select domain, text from rules where version = ?", (self._version,)).fetchall()
        domains, mistakes = {}, []
        for domain, text in rows:
            compiled = await run(compile_in_steps(f"{self._path}#{domain}", text.encode()))
            mistakes += compiled.diagnostics
            for document in compiled.documents:
                domains[domain] = Domain(domain, document.root)
        self.polled_at = time.time()
        self._layer = Layer(
            RuleSet(domains), revision=str(self._version), rejected=bool(mistakes), files=(self._path,), mistakes=tuple(mistakes)
        )
        return self._layer
'''
TEXT = "domain: {0}\ndescriptors: [{{key: k, rate_limit: {{unit: year, requests_per_unit: {1}}}}}]\n"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory for `PYTHONPATH` with the source and its metadata, as an installer leaves them."""
    directory = tmp_path / "site"
    information = directory / "sqlite_rules-1.0.dist-info"
    information.mkdir(parents=True)
    (directory / "sqlite_rules.py").write_text(SOURCE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: sqlite-rules\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[rls.sources]\nsqlite = sqlite_rules:SqliteSource\n")
    return directory


class Table:
    """The table that the source reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as table, table:
            table.execute("create table rules (version integer, domain text, text text)")

    def publish(self, version: int, **limits: int | str) -> None:
        """New rules, all at once: by domain, a limit or else the text itself."""
        texts = [
            (version, domain, TEXT.format(domain, to) if isinstance(to, int) else to) for domain, to in limits.items()
        ]
        with closing(sqlite3.connect(self.path)) as table, table:
            table.executemany("insert into rules values (?, ?, ?)", texts)


def limit(process: RlsProcess, domain: str) -> int | None:
    with Client(process.addresses["grpc"]) as client:
        found = client.check(request(descriptor(("k", "a")), domain=domain), timeout=10).statuses[0].limit
    return None if found is None else found.requests_per_unit


def test_a_source_from_another_distribution_serves_its_scheme(tmp_path: Path, installed: Path) -> None:
    """Beside files: its rules override theirs and add to them; new revisions, mistakes and SIGHUP work as with files."""
    table = Table(tmp_path / "rules.db")
    table.publish(1, a=1, b=2)
    files = tmp_path / "rules.yaml"
    files.write_text(TEXT.format("a", 10) + "---\n" + TEXT.format("c", 30))
    paths = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH"))))
    options = ("--config", f"sqlite://{table.path}", "--config", str(files))
    process = RlsProcess(tmp_path, *options, env={"PYTHONPATH": paths})
    try:
        assert [limit(process, domain) for domain in "abc"] == [1, 2, 30]
        table.publish(2, a=5)
        process.wait_until(lambda: limit(process, "a") == 5, "it has the new revision")
        assert [limit(process, domain) for domain in "abc"] == [5, None, 30]
        table.publish(3, a="domain: a\ndescriptors: [{ky: k}]\n")
        process.wait_until(lambda: process.reasons() == ["rules_invalid"], "it has seen the mistake")
        assert f"{table.path}#a:2:" in process.readyz()[1]["problems"][0]
        files.write_text(TEXT.format("c", 31))
        process.wait_until(lambda: limit(process, "c") == 31, "files still work")
        assert limit(process, "a") == 5, "its last good rules stay"
        table.publish(4, a=6)
        process.wait_until(lambda: not process.reasons(), "all is well")
        before = process.output().count("rules_loaded")
        process.send(signal.SIGHUP)
        process.wait_until(lambda: process.output().count("rules_loaded") == before + 2, "both were asked")
        assert limit(process, "a") == 6
    finally:
        process.kill()


def test_a_scheme_that_nothing_serves_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"no source of rules serves nosuch:// \(installed: none\), expected a path"
    ):
        open_source("nosuch://rules")


@pytest.mark.parametrize("text", ["/etc/rls,http://rules:80/all", ["/etc/rls", "http://rules:80/all"]])
def test_a_url_is_told_from_a_path(text: object) -> None:
    assert Settings.model_validate({"config": text}).config == (Path("/etc/rls"), "http://rules:80/all")
