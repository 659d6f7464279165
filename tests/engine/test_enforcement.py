import io
import json

import pytest

from rls.engine.enforcement import EnforcementState, Reason, State
from rls.observe.enforcement import log_enforcement, register_enforcement_metrics
from rls.observe.logs import configure
from rls.observe.metrics import Metrics
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def enforcement(clock) -> EnforcementState:
    return EnforcementState(clock)


def test_at_first_limits_are_enforced(enforcement) -> None:
    assert (enforcement.state, enforcement.weaknesses) == (State.ENFORCED, [])


def test_the_worst_reason_is_the_state(enforcement) -> None:
    states = []
    for reason, text, state in (
        (Reason.NO_ROOM, "full", State.DEGRADED),
        (Reason.NO_RULES, "none", State.OFF),
        (Reason.NO_RULES, "", State.OFF),
        (Reason.NO_ROOM, "", State.DEGRADED),
    ):
        enforcement.report(reason, text, state=state)
        states.append(enforcement.state)
    assert states == [State.DEGRADED, State.OFF, State.DEGRADED, State.ENFORCED]


def test_what_is_off_comes_first_then_what_began_first(enforcement, clock) -> None:
    for reason, state in (
        (Reason.NO_ROOM, State.DEGRADED),
        (Reason.RULES_LOST, State.DEGRADED),
        (Reason.NO_RULES, State.OFF),
    ):
        enforcement.report(reason, "x", state=state)
        clock.now += 1
    assert [(found.reason, found.since) for found in enforcement.weaknesses] == [
        (Reason.NO_RULES, 102.0),
        (Reason.NO_ROOM, 100.0),
        (Reason.RULES_LOST, 101.0),
    ]


def test_a_text_that_changes_is_told_and_does_not_begin_anew(enforcement, clock) -> None:
    told = []
    enforcement.listen(lambda found, holds: told.append((found.text, found.since, holds)))
    report = enforcement.reporter(Reason.BACKEND_UNAVAILABLE)
    for text in ("refused", "refused", "no password", ""):
        report(text)
        clock.now += 1
    report("")
    assert told == [("refused", 100.0, True), ("no password", 100.0, True), ("no password", 100.0, False)]


def test_the_state_has_its_own_beginning(enforcement, clock) -> None:
    clock.now = 200
    enforcement.report(Reason.NO_ROOM, "full")
    clock.now = 300
    enforcement.report(Reason.RULES_LOST, "lost")
    assert enforcement.since == 200


@pytest.mark.parametrize("renewed", [True, False])
def test_a_reason_for_a_time_ends_unless_it_is_reported_again(enforcement, clock, renewed: bool) -> None:
    enforcement.report(Reason.NO_ROOM, "full", seconds=60)
    clock.now += 40
    if renewed:
        enforcement.report(Reason.NO_ROOM, "full", seconds=60)
    clock.now += 40
    enforcement.expire()
    assert enforcement.state is (State.DEGRADED if renewed else State.ENFORCED)


def test_a_reason_for_a_time_keeps_its_first_text(enforcement, clock) -> None:
    """Requests report it, with what their clients chose: that must not fill the log."""
    heard = []
    enforcement.listen(lambda found, _: heard.append(found.text))
    for key in "abc":
        enforcement.report(Reason.COUNTER_REFUSED, key, seconds=60)
        clock.now += 40
    assert heard == ["a"]
    clock.now += 60
    enforcement.expire()
    enforcement.report(Reason.COUNTER_REFUSED, "d", seconds=60)
    assert heard == ["a", "a", "d"]


def test_a_reason_for_a_time_may_become_one_without_end(enforcement, clock) -> None:
    enforcement.report(Reason.NO_ROOM, "full", seconds=1)
    enforcement.report(Reason.NO_ROOM, "full")
    clock.now += 2
    enforcement.expire()
    assert enforcement.state is State.DEGRADED


def test_it_is_in_the_metrics(enforcement) -> None:
    metrics = Metrics()
    register_enforcement_metrics(metrics, enforcement)
    enforcement.report(Reason.NO_RULES, "none", state=State.OFF)
    lines = b"".join(metrics.page()[1]).decode().splitlines()
    assert 'rls_enforcement_state{state="off"} 1.0' in lines
    assert 'rls_enforcement_state{state="enforced"} 0.0' in lines
    assert "rls_enforcement_state_since_timestamp_seconds 100.0" in lines
    assert 'rls_enforcement_reason_since_timestamp_seconds{reason="no_rules"} 100.0' in lines
    assert 'rls_enforcement_reason_since_timestamp_seconds{reason="no_room"} 0.0' in lines


def test_it_is_in_the_log(enforcement) -> None:
    stream = io.StringIO()
    log_enforcement(configure("info", "json", stream), enforcement)
    enforcement.report(Reason.STARTING, "starts", state=State.OFF)
    enforcement.report(Reason.BACKEND_UNAVAILABLE, "away")
    enforcement.report(Reason.BACKEND_UNAVAILABLE, "")
    enforcement.report(Reason.STARTING, "")
    enforcement.report(Reason.NO_RULES, "none", state=State.OFF)
    enforcement.report(Reason.NO_ROOM, "full")
    enforcement.report(Reason.NO_ROOM, "full", state=State.OFF)  # `server_not_ready` says so
    enforcement.report(Reason.NO_ROOM, "full")
    enforcement.report(Reason.NO_RULES, "")
    logged = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["event"], line["reason"], line["state"], line["detail"]) for line in logged] == [
        ("warning", "enforcement_weakened", "backend_unavailable", "degraded", "away"),
        ("info", "enforcement_restored", "backend_unavailable", "enforced", "away"),
        ("error", "enforcement_weakened", "no_rules", "off", "none"),
        ("warning", "enforcement_weakened", "no_room", "off", "full"),
        ("info", "enforcement_restored", "no_rules", "degraded", "none"),
    ]
