"""Every alert fires when it must, says what it must, and does not fire a little below that: by promtool."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.alerts.rules import Alert, Object, alerts, rule_files, tool

CASES: Object = {
    name: case
    for file in sorted(Path(__file__).parent.glob("*.cases.yaml"))
    for name, case in yaml.safe_load(file.read_text()).items()
}
ALWAYS = "RlsWatchdog"
"""Fires in any case."""
tried = pytest.mark.parametrize(
    "alert", [alert for alert in alerts() if alert.name != ALWAYS], ids=lambda alert: alert.name
)


def test_every_alert_has_its_cases() -> None:
    assert sorted(CASES) == sorted(alert.name for alert in alerts() if alert.name != ALWAYS)


@tried
def test_an_alert_fires(alert: Alert, tmp_path: Path) -> None:
    case = CASES[alert.name]["fires"]
    expected = [_expected(alert, one) for one in case.get("several", [case])]
    assert expected
    _try(alert, case, expected, tmp_path)


@tried
def test_an_alert_does_not_fire(alert: Alert, tmp_path: Path) -> None:
    case = CASES[alert.name]["quiet"]
    assert case["series"]
    _try(alert, case, [], tmp_path)


def test_the_watchdog_always_fires(tmp_path: Path) -> None:
    (watchdog,) = (alert for alert in alerts() if alert.name == ALWAYS)
    words = watchdog.rule["annotations"]
    expected = [{"exp_labels": watchdog.rule["labels"], "exp_annotations": words}]
    _try(watchdog, {"series": {}, "at": "0s"}, expected, tmp_path)


def test_a_wrong_case_is_found(tmp_path: Path) -> None:
    (alert,) = (alert for alert in alerts() if alert.name == "RlsNotReady")
    case = CASES[alert.name]["fires"]
    with pytest.raises(AssertionError, match="FAILED"):
        _try(alert, case, [], tmp_path)
    with pytest.raises(AssertionError, match="FAILED"):
        _try(alert, case, [_expected(alert, case | {"summary": "something else"})], tmp_path)


def _expected(alert: Alert, case: Object) -> Object:
    """An alert as promtool describes it."""
    page = alert.runbook.partition("#")[0]
    words = {"summary": case["summary"], "runbook_url": f"{page}#{case.get('runbook', alert.name.lower())}"}
    return {"exp_labels": alert.rule["labels"] | case["labels"], "exp_annotations": words}


def _try(alert: Alert, case: Object, expected: list[Object], folder: Path) -> None:
    recorded, own = rule_files()[0], alert.file
    file = folder / "test.yaml"
    interval = case.get("interval", "1m")
    test = {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in case["series"].items()],
        "alert_rule_test": [{"eval_time": case["at"], "alertname": alert.name, "exp_alerts": expected}],
    }
    files = [str(recorded), str(recorded.with_name(own))]
    file.write_text(yaml.safe_dump({"rule_files": files, "evaluation_interval": interval, "tests": [test]}))
    ran = tool("promtool", "test", "rules", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr
