"""Every query of every dashboard, answered by a real Prometheus that scrapes two rls under load, and a real Envoy.

First a stretch without faults, whose numbers are compared with what the test counted itself; then faults, after which
every query must return something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from examples.mesh.processes import Missing
from examples.observe.stage import stage
from tests.dashboards.trees import NAMES, Query, committed, queries, variables
from tests.dashboards.unavailable import EXCUSES, excuse
from tests.dashboards.watched import INTERVAL_SECONDS, PATIENCE, Watched, substituted, watch
from tests.redis_server import missing

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Iterator[Watched]:
    interval = f"{1000 * INTERVAL_SECONDS:.0f}ms"
    try:
        with stage(tmp_path_factory.mktemp("observe"), interval=interval, patience=PATIENCE) as running:
            yield watch(running)
    except Missing as error:
        missing(str(error))


@pytest.mark.parametrize("query", tuple(queries()), ids=lambda query: query.place)
def test_every_query_returns_data(watched: Watched, query: Query):
    found, excused = watched.shown(query), excuse(query)

    if excused is None:
        assert found, substituted(query.expr, watched.all.seconds)
    elif not excused.may:
        assert not found, f"returns data, although: {excused.reason}"


def test_no_excuse_is_left_over():
    places = [f"{query.place}\n{query.expr}" for query in queries()]

    assert [one.pattern for one in EXCUSES if not any(re.search(one.pattern, place) for place in places)] == []


@pytest.mark.parametrize("name", NAMES)
def test_variables_offer_what_is_there(watched: Watched, name: str):
    offered = {
        variable: watched.running.prometheus.label_values(label, substituted(match, 60))
        for variable, query in variables(committed(name)).items()
        for match, label in re.findall(r"^label_values\((.+), (\w+)\)$", query)
    }
    expected = {
        "domain": ["users"],
        "rule": ["company_id", "company_id_initech", "company_id_umbrella", "remote_address"],
    }
    assert offered == {variable: expected[variable] for variable in offered}


CALM = {
    # Of how many requests of the clients a panel's rate over the stretch must be: by status and client.
    ("overview", "Answers", "A"): (None, ""),
    ("mesh", "Asked", "A"): (None, ""),
    ("mesh", "Within limits", "A"): (200, ""),
    ("mesh", "Over limits", "A"): (429, ""),
    ("overview", "What Envoy saw", "A"): (200, ""),
    ("overview", "What Envoy saw", "B"): (429, ""),
    ("rules", "Hits", "A"): (None, ""),
    ("rules", "Top values", "A", "value=company_id_acme"): (429, "acme"),
    ("rules", "Top values", "B", "value=company_id_acme"): (None, "acme"),
    ("rules", "Top values", "B", "value=company_id_globex"): (None, "globex"),
    ("rules", "Hits by rule", "A", "rule=company_id_initech"): (200, "initech"),
    ("overview", "Answers by verdict", "A", "code=OVER_LIMIT"): (429, ""),
    ("overview", "Answers by verdict", "A", "code=OK"): (200, ""),
}


def labelled(place: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """The place of a query, and the labels of a series of it."""
    return list(place[:3]), dict(text.split("=") for text in place[3:])


@pytest.mark.parametrize("place", CALM, ids=": ".join)
def test_rates_are_those_that_the_clients_counted(watched: Watched, place: tuple[str, ...]):
    at, labels = labelled(place)
    counted = watched.counted.count(*CALM[place])

    assert counted > 20
    assert watched.calm.nearly < 0.3
    shown = watched.number(*at, **labels) * watched.calm.seconds
    assert shown == pytest.approx(counted, rel=watched.calm.nearly)


def test_numbers_of_a_period_are_those_that_the_clients_counted(watched: Watched):
    counted = watched.counted
    refused = counted.count(429)

    limited = counted.count() - counted.count(name="initech")
    assert watched.number("usage", "Requests") == pytest.approx(limited, rel=watched.calm.nearly)
    assert watched.number("usage", "Turned away") == pytest.approx(refused, rel=watched.calm.nearly)
    assert watched.number("usage", "Busiest customers", "A", value="company_id_acme") == pytest.approx(
        counted.count(name="acme"), rel=watched.calm.nearly
    )
    # Those over 5 in each second, of 8: the trial refuses nobody.
    assert counted.count(429, "umbrella") == 0
    assert watched.number("usage", "On trial") == pytest.approx(counted.count(name="umbrella") * 3 / 8, rel=0.3)


def test_shares_are_those_that_the_clients_counted(watched: Watched):
    counted = watched.counted
    share = counted.count(429) / counted.count()

    assert 0.05 < share < 0.5
    for place in (("overview", "Refused"), ("overview", "Refused share"), ("mesh", "Refused")):
        assert watched.number(*place) == pytest.approx(share, rel=0.03), place
    limited = counted.count() - counted.count(name="initech")
    assert watched.number("usage", "Turned away, share") == pytest.approx(counted.count(429) / limited, rel=0.03)
    acme = counted.count(429, "acme") / counted.count(name="acme")
    assert watched.number("rules", "Top values", "C", value="company_id_acme") == pytest.approx(acme, rel=0.03)


def test_times_are_those_of_the_histograms_that_rls_shows(watched: Watched):
    """In seconds: a median in milliseconds or microseconds would be far off."""
    for dashboard, share, time_, histogram, bound in (
        ("overview", "Within 10 ms", "Time of a check", "rls_check_duration_seconds", "0.01"),
        ("redis", "Within 5 ms", "Time to count", "rls_backend_duration_seconds", "0.005"),
    ):
        count = watched.total(f"{histogram}_count")
        # The first three seconds are in these totals, and not in the panels.
        within = watched.total(f"{histogram}_bucket", le=bound) / count
        assert watched.number(dashboard, share) == pytest.approx(within, abs=0.15)
        mean = watched.total(f"{histogram}_sum") / count
        assert mean / 30 < watched.number(dashboard, time_) < mean * 30
    calls = watched.total("rls_redis_batch_calls_sum") / watched.total("rls_redis_batch_calls_count")
    assert watched.number("redis", "Calls in a write") == pytest.approx(calls, rel=0.3)


def test_states_and_limits_are_those_in_force(watched: Watched):
    expected = {
        ("overview", "Revisions", "A"): 1,
        ("overview", "Revisions over pods", "A"): 2,
        ("redis", "Nodes down", "A"): 0,
        ("mesh", "Pods that a proxy knows", "A"): 2,
        ("mesh", "Proxies without rls", "A"): 0,
        ("rules", "Rules", "A", "rule=company_id"): 20,
        ("rules", "Rules", "A", "rule=remote_address"): 5,
        ("rules", "Rules", "B", "rule=company_id"): 1,
    }
    shown = {}
    for place in expected:
        at, labels = labelled(place)
        shown[place] = watched.number(*at, **labels)
    assert shown == expected
    since = watched.number("rules", "Refusing since") / 1000
    assert watched.calm.start - 10 < since < watched.calm.end
    # Acme is nearly the only company that is refused.
    assert watched.number("rules", "Does one client hammer?", rule="company_id") == pytest.approx(1, abs=0.3)
    # 30 a second of 20.
    assert 1 < watched.number("rules", "Fullest counter") < 3


def test_the_state_is_the_worst_of_any_pod(watched: Watched):
    """Which it is depends on how busy this machine is."""
    worst = 0
    for labels, value in watched.ask("rls_enforcement_state == 1", watched.calm):
        worst = max(worst, ("enforced", "degraded", "off").index(labels["state"]))
        assert value == 1

    assert watched.number("overview", "State") == worst


def test_faults_show(watched: Watched):
    """After the faults: policies decided, Envoy let requests pass, and the rules are others."""
    shown = {query[:3]: max(watched.shown(query), default=0) for query in queries()}

    assert shown["redis", "Not counted", "A"] > 0
    assert shown["redis", "Decided by policy", "A"] > 0
    assert shown["overview", "Passed unlimited", "A"] > 0
    assert shown["mesh", "No verdict", "A"] > 0
    assert shown["rules", "Matched by no rule", "A"] > 0
    assert shown["rules", "Matched by no rule", "B"] > 0
    assert shown["rules", "Rules", "A"] == 8


def test_new_rules_are_marked_when_they_came(watched: Watched):
    """One mark for each revision, at the time when it was first in force."""
    (mark,) = {query.expr for query in queries() if query.panel == "annotation"}
    now = watched.running.prometheus.query(mark, watched.all.end)
    before = watched.running.prometheus.query(mark, watched.calm.end)

    (new,), (old,) = (
        [(each["metric"]["revision"], float(each["value"][1]) / 1000) for each in found] for found in (now, before)
    )
    assert new[0] != old[0]
    assert old[1] < watched.calm.end < new[1] < watched.all.end
