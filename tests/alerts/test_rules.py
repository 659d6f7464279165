"""What all rules of k8s/alerts have in common: Prometheus takes them, their metrics exist, and each leads to a runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from rls.engine.enforcement import Reason
from scripts import prometheus_rule
from scripts.check_links import anchors
from tests.alerts.rules import ROOT, Alert, Object, alerts, groups, rule_files, tool

RUNBOOKS = ROOT / "docs" / "operations.md"
TARGET = {"namespace", "job", "pod", "instance"}
"""Labels that Prometheus gives to what it scrapes."""
AT_ONCE = {"RlsWatchdog", "RlsCountersLost", "RlsHitsLost", "RlsRestarts"}
"""Alerts whose expressions look back themselves."""
every_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
METRIC = re.compile(r"\b(?:up|rls|envoy|istio|pilot|redis|kube|process|\w+:rls\w*|\w+:envoy\w*)[\w:]*\b")


@pytest.mark.parametrize("file", rule_files(), ids=lambda file: file.name)
def test_prometheus_takes_them(file: Path) -> None:
    ran = tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_operator_gets_the_same() -> None:
    assert prometheus_rule.OUTPUT.read_text() == prometheus_rule.made()
    assert yaml.safe_load(prometheus_rule.made())["spec"]["groups"] == groups()


def test_names_are_there_once() -> None:
    names = [rule.get("alert") or rule["record"] for group in groups() for rule in group["rules"]]
    assert len(names) == len(set(names))
    assert len({group["name"] for group in groups()}) == len(groups())


@every_alert
def test_an_alert_has_all_that_it_needs(alert: Alert) -> None:
    assert set(alert.rule["annotations"]) == {"summary", "runbook_url"}
    assert alert.severity in ({"none"} if alert.name == "RlsWatchdog" else {"page", "ticket"})
    assert ("for" in alert.rule) is (alert.name not in AT_ONCE)


@every_alert
def test_its_runbook_is_there(alert: Alert) -> None:
    page, _, anchor = alert.runbook.partition("#")
    assert page.endswith("/blob/main/docs/operations.md")
    wanted = [str(reason) for reason in Reason] if anchor == "{{ $labels.reason }}" else [anchor]
    assert set(wanted) <= anchors(RUNBOOKS)


def test_the_page_lists_these_alerts_and_no_others() -> None:
    """Name, severity, how long, and the runbook, in the order of the files."""
    _, _, section = RUNBOOKS.read_text().partition("\n## Alerts\n")
    rows = re.findall(
        r"^\| \[`(\w+)`\]\(#(\w+)\) \| (\w+) \| ([\w ]+|–) \| .+ \|$", section.partition("\n## ")[0], re.MULTILINE
    )
    expected = [
        (
            alert.name,
            "reasons" if "{{" in alert.runbook else alert.runbook.partition("#")[2],
            alert.severity,
            re.sub(r"(\d+)([a-z])", r"\1 \2", alert.rule.get("for", "–")),
        )
        for alert in alerts()
    ]
    assert rows == expected


def bare(expression: str) -> str:
    """Without what may hold names of labels or texts."""
    expression = re.sub(r"\{[^}]*\}|\[[^]]*\]|\"[^\"]*\"", "", expression)
    return re.sub(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)", "", expression)


def named() -> dict[str, set[str]]:
    """The labels that rules ask for, by metric."""
    found: dict[str, set[str]] = {}
    for rule in (rule for group in groups() for rule in group["rules"]):
        for metric in METRIC.findall(bare(rule["expr"])):
            found.setdefault(metric, set())
        for metric, matchers in re.findall(r"([\w:]+)\{([^}]*)\}", rule["expr"]):
            found[metric] |= set(re.findall(r"(\w+)\s*[=!]", matchers))
    return found


def known() -> dict[str, set[str]]:
    """The labels of metrics: those of rls, of others, and those that rules record."""
    lines = (ROOT / "tests" / "surface.txt").read_text().partition("# metrics")[2].splitlines()[1:]
    found: dict[str, set[str]] = {}
    for name, kind, *labels in (line.split() for line in lines if line):
        for suffix in ("_bucket", "_count", "_sum") if kind == "histogram" else ("",):
            found[name + suffix] = {*labels, *(["le"] if suffix == "_bucket" else [])}
    for others in yaml.safe_load(Path(__file__).with_name("foreign_metrics.yaml").read_text()).values():
        found |= {name: set(labels) for name, labels in others["metrics"].items()}
    return found | {rule["record"]: set() for group in groups() for rule in group["rules"] if "record" in rule}


def test_every_metric_and_every_label_exists() -> None:
    there = known()
    assert {name for name in named() if name not in there} == set()
    assert {(name, label) for name, labels in named().items() for label in labels - there[name] - TARGET} == set()


def test_the_metrics_of_others_are_all_asked_for() -> None:
    foreign: Object = yaml.safe_load(Path(__file__).with_name("foreign_metrics.yaml").read_text())
    assert {name for others in foreign.values() for name in others["metrics"]} <= named().keys()
    assert all(others["source"] for others in foreign.values())
