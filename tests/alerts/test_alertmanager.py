"""Who hears of which alert: the configuration of Alertmanager, by its own tool and in a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alerts.rules import Alert, alerts, tool
from tests.alerts.running import ALERTMANAGER, Alertmanager, Receiver

RECEIVERS = {"page": "page", "ticket": "ticket", "none": "watchdog"}
POD = {"namespace": "rate-limit", "job": "rls", "pod": "rls-1", "instance": "10.0.0.1:8080"}
# What fires, and what is silent for it.
FOLLOWS = {
    "no pod": (
        {"alertname": "RlsAbsent"},
        [
            {"alertname": "RlsNotAsked"},
            {"alertname": "EnvoyFailsOpen", "namespace": "users", "cluster_name": "inbound|9000||"},
        ],
        [{"alertname": "RedisDown", "namespace": "rate-limit", "pod": "redis-0"}],
    ),
    "a pod that limits nothing": (
        POD | {"alertname": "RlsOff", "reason": "no_rules"},
        [
            POD | {"alertname": "RlsNotReady"},
            POD | {"alertname": "RlsRulesRejected"},
            {"alertname": "RlsRequestErrors", "namespace": "rate-limit", "job": "rls", "reason": "not_loaded"},
        ],
        [
            POD | {"alertname": "RlsNotReady", "pod": "rls-2", "instance": "10.0.0.2:8080"},
            {"alertname": "EnvoyFailsOpen", "namespace": "users", "cluster_name": "inbound|9000||"},
        ],
    ),
    "no Redis": (
        POD | {"alertname": "RlsRedisDown", "node": "redis-0:6379"},
        [
            POD | {"alertname": "RlsDegraded", "reason": "backend_unavailable"},
            {"alertname": "RlsPolicyAnswers", "namespace": "rate-limit", "job": "rls", "domain": "mesh", "rule": "a"},
            {"alertname": "RedisDown", "namespace": "rate-limit", "pod": "redis-0"},
        ],
        [
            POD | {"alertname": "RlsDegraded", "reason": "rules_invalid"},
            {"alertname": "RlsPolicyAllows", "namespace": "rate-limit", "job": "rls", "domain": "mesh", "rule": "b"},
            {"alertname": "RedisSlotsMissing", "namespace": "rate-limit"},
        ],
    ),
    "rejected rules": (
        POD | {"alertname": "RlsRulesRejected"},
        [POD | {"alertname": "RlsDegraded", "reason": "rules_invalid"}],
        [POD | {"alertname": "RlsDegraded", "reason": "clock_skew"}],
    ),
    "a tenant": (
        {
            "alertname": "RlsTenantHammers",
            "job": "rls",
            "domain": "mesh",
            "rule": "company_id",
            "value": "company_id_acme",
        },
        [{"alertname": "RlsNearLimit", "job": "rls", "domain": "mesh", "rule": "company_id"}],
        [{"alertname": "RlsNearLimit", "job": "rls", "domain": "mesh", "rule": "remote_address"}],
    ),
    "an Envoy": (
        {"alertname": "EnvoyFailsOpen", "namespace": "users", "cluster_name": "inbound|9000||"},
        [{"alertname": "EnvoyGetsErrors", "namespace": "users", "cluster_name": "inbound|9000||"}],
        [{"alertname": "EnvoyGetsErrors", "namespace": "users", "cluster_name": "other"}],
    ),
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture
def alertmanager(tmp_path: Path, receiver: Receiver) -> Iterator[Alertmanager]:
    with Alertmanager(tmp_path / "alertmanager", receiver.port) as started:
        yield started


def test_the_configuration_is_taken() -> None:
    ran = tool("amtool", "check-config", ALERTMANAGER)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 receivers" in ran.stdout


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_goes_where_its_severity_says(alert: Alert) -> None:
    options = ("--config.file", str(ALERTMANAGER), f"--verify.receivers={RECEIVERS[alert.severity]}")
    labels = (f"alertname={alert.name}", f"severity={alert.severity}")
    ran = tool("amtool", "config", "routes", "test", *options, *labels)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_wrong_receiver_is_found() -> None:
    options = ("--config.file", str(ALERTMANAGER), "--verify.receivers=ticket")
    assert tool("amtool", "config", "routes", "test", *options, "alertname=RlsOff", "severity=page").returncode != 0


@pytest.mark.parametrize("case", FOLLOWS)
def test_what_follows_from_another_alert_is_silent(case: str, alertmanager: Alertmanager, receiver: Receiver) -> None:
    """And what does not follow is not."""
    source, follows, others = FOLLOWS[case]
    severities = {alert.name: alert.severity for alert in alerts()}
    fired = [labels | {"severity": severities[labels["alertname"]]} for labels in [source, *follows, *others]]
    # The source first, as it would be: an inhibition holds from when it is there.
    alertmanager.fire(*fired)
    loud = {labels["alertname"] for labels in [source, *others]}

    def heard() -> bool:
        return all(receiver.alerts(RECEIVERS[severities[name]], name) for name in loud)

    alertmanager.wait_until(heard, "all others are heard of")
    alertmanager.wait_until(lambda: alertmanager.inhibited() >= {labels["alertname"] for labels in follows}, "silence")
    came = [alert["labels"] for message in receiver.messages for alert in message["alerts"]]
    assert not [labels for labels in came if any(labels.items() >= silent.items() for silent in follows)]


def test_many_pods_make_one_message(alertmanager: Alertmanager, receiver: Receiver) -> None:
    pods = [
        POD | {"alertname": "RlsOff", "reason": "no_rules", "severity": "page", "pod": f"rls-{n}"} for n in range(5)
    ]
    alertmanager.fire(*pods)
    alertmanager.wait_until(lambda: len(receiver.alerts("page", "RlsOff")) == 5, "all have come")
    assert len(receiver.messages) == 1
