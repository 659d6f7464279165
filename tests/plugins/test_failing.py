"""Plug-ins that fail end nothing, and nothing passes in silence because of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from rls.api.client import Client, UnansweredError
from rls.core.model import Request
from rls.observe.seldom import SECONDS, Seldom
from tests.clock import Clock
from tests.plugins import failing
from tests.plugins.installed import installed
from tests.rls_process import RULES, RlsProcess
from tests.tries import descriptor

PATIENT = 10.0
ACME = Request("mesh", (descriptor(("company_id", "acme")),))


def said(process: RlsProcess) -> tuple[str, str]:
    """The enforcement state, and the text of its one reason."""
    answer = process.readyz()[1]
    (reason,) = answer["reasons"]
    return answer["state"], reason["text"]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_an_algorithm_that_fails_is_a_reason(tmp_path: Path, transport: str) -> None:
    """Its checks are not limited. The reason names its place, but nothing of the request."""
    path = installed(tmp_path, failing, "rls.algorithms", "failing = failing:FAILING_ALGORITHM")
    rules = RULES + "      algorithm: failing\n  - {key: path, rate_limit: {unit: year, requests_per_unit: 1}}\n"
    process = RlsProcess(tmp_path, "--transport", transport, rules=rules, env={"PYTHONPATH": path})
    try:
        with Client(process.addresses["grpc"]) as client:
            for _ in range(50):
                with pytest.raises(UnansweredError) as failed:
                    client.check(ACME, timeout=PATIENT)
                assert failed.value.code == grpc.StatusCode.INTERNAL.name
            other = client.check(Request("mesh", (descriptor(("path", "/")),)), timeout=PATIENT)
        assert other.code == "OK"
        state, text = said(process)
        assert state == "degraded"
        assert text.startswith("a check failed and was not limited: ArithmeticError in failing.py:")
        assert "acme" not in text
        assert process.output().count("internal error: a call failed (please report)") == 1, "not once for each call"
    finally:
        process.kill()


def test_a_source_of_rules_that_fails_is_run_again(tmp_path: Path) -> None:
    """Other sources go on meanwhile."""
    path = installed(tmp_path, failing, "rls.sources", "failing = failing:FailingSource")
    script, rules = tmp_path / "said", tmp_path / "rules.yaml"
    script.write_text("fail")
    rules.write_text(RULES)
    options = ("--config", str(rules), "--config", f"failing://{script}")
    process = RlsProcess(tmp_path, *options, env={"PYTHONPATH": path})
    try:
        process.wait_until(lambda: process.reasons() == ["rule_source_failed"], "the state says so")
        assert said(process)[1] == (
            f"the source of rules failing://{script} failed (LookupError in failing.py:{line_of('LookupError')}); "
            "its last good rules stay, and it is run again"
        )
        rules.write_text(RULES.replace("mesh", "other"))
        process.wait_until(lambda: process.output().count("rules_loaded") == 3, "the files are read again")
        script.write_text("go on")
        process.wait_until(lambda: not process.reasons(), "it goes on")
        script.write_text("fail")
        process.wait_until(lambda: process.reasons() == ["rule_source_failed"], "it failed once more")
        assert process.returncode is None
    finally:
        process.kill()
    output = process.output()
    assert "rule_source_failed" in output
    assert "LookupError: run" in output, "with its traceback"


def line_of(text: str) -> int:
    lines = Path(failing.__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_a_source_of_rules_that_cannot_start_is_named(tmp_path: Path) -> None:
    path = installed(tmp_path, failing, "rls.sources", "failing = failing:FailingSource")
    script = tmp_path / "said"
    script.write_text("start")
    command = ["env", f"PYTHONPATH={path}", sys.executable, "-m", "rls", "serve", "--config", f"failing://{script}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    expected = f"rls: the source of rules failing://{script} cannot start: KeyError('start') in failing.py:"
    assert ended.stderr.splitlines()[-1].startswith(expected)
    assert "Traceback" not in ended.stderr


def test_lines_of_one_kind_are_seldom() -> None:
    """The next one says how many were left out."""
    clock = Clock(0)
    seldom = Seldom(clock=clock)
    assert [seldom.due("a"), seldom.due("a"), seldom.due("b"), seldom.due("a")] == [0, None, 0, None]
    clock.now += SECONDS
    assert [seldom.due("a"), seldom.due("a")] == [2, None]
    for number in range(1_000):
        assert seldom.due(number) == 0, "new kinds are always told"
