"""Signals that arrive while the server starts. What they do later is in test_app.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.test_app import check
from tests.rls_process import RULES, RlsProcess


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
