import shutil
import subprocess
from collections.abc import Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rls.core.decide import Decision, Modes, decide
from rls.core.model import Code, RateLimit, Unit
from rls.core.plan import CountingOptions
from rls.core.rules import OnBackendError, RuleSet
from rls.engine.events import RulesLoaded, RulesRejected, StoreFailed
from rls.errors import Diagnostic, SourceLocation
from rls.observe.metrics import Metrics
from tests.recorded import decided
from tests.redis_server import missing
from tests.tries import Step, descriptor, plan, request, rule, rule_set

PROBLEM = Diagnostic(SourceLocation("a.yaml", 1, 2), "wrong")
RULES = rule_set(
    {
        (Step("a"),): rule("a", 20),
        (Step("shadow"),): rule("shadow", 10, shadow_mode=True),
        (Step("free"),): rule("free", None),
        (Step("each", value_to_metric=True),): rule("each", 10),
    }
)


class Watched:
    """Metrics, and requests that they are told of."""

    def __init__(self, rules: RuleSet = RULES, problems: tuple[Diagnostic, ...] = ()) -> None:
        self.metrics = Metrics(version="1.2.3", clock=lambda: self.now)
        self.now = 1000.0
        self.load(rules, problems)

    def load(self, rules: RuleSet, problems: tuple[Diagnostic, ...] = (), at: float = 1000.0) -> None:
        self.rules = rules
        self.metrics.rules_loaded(RulesLoaded(rules, ("a.yaml",), problems, at))

    def planned(self, *descriptors, **more):
        return plan(request(*descriptors, **more), self.rules, CountingOptions())

    def decided(self, counts: Sequence[int], *descriptors, seconds: float = 0.0003, modes=None, **more) -> None:
        decision = decide(self.planned(*descriptors, **more), counts, int(self.now), modes or Modes())
        request = decided(decision, seconds)
        request.began = self.now
        self.metrics.decided(request)

    def text(self) -> str:
        return b"".join(self.metrics.page()[1]).decode()

    def value(self, name: str, /, **labels: str) -> float:
        """The one sample that has this name and *labels*."""
        found = [
            sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) == 1, f"{name} {labels}: {found}"
        return found[0]

    def of_rule(self, path: str, value: str = "") -> dict[str, float]:
        """The hits on a rule that are not 0; with *value* those that had it."""
        return {
            sample.name.removeprefix("rls_").removesuffix("_total"): sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if family.type == "counter" and sample.labels.get("rule") == path
            if sample.labels.get("value", "") == value and sample.value
        }

    def shares(self, path: str = "a") -> tuple[float, ...]:
        """How much of its limit a rule has reached, in the current period and the last one; empty where that is not shown."""
        return tuple(
            sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == "rls_rule_utilization_ratio" and sample.labels["rule"] == path
        )


@pytest.mark.parametrize(
    ("limit", "addend", "after", "expected"),
    [
        (20, 7, 22, {"hits": 7, "over_limit": 2, "near_limit": 4}),
        (8, 2, 7, {"hits": 2, "near_limit": 1, "within_limit": 2}),
        (10, 3, 30, {"hits": 3, "over_limit": 3}),
        (10, 1, 1, {"hits": 1, "within_limit": 1}),
    ],
)
def test_hits_are_accounted_for_as_in_the_reference(limit: int, addend: int, after: int, expected) -> None:
    watched = Watched(rule_set({(Step("a"),): rule("a", limit)}))
    watched.decided([after], descriptor(("a", "x")), hits_addend=addend)
    assert watched.of_rule("a") == expected


def test_a_rule_in_shadow_mode_counts_what_it_let_pass() -> None:
    watched = Watched()
    watched.decided([12], descriptor(("shadow", "x")), hits_addend=3)
    assert watched.of_rule("shadow") == {"hits": 3, "over_limit": 2, "near_limit": 1, "shadow_mode": 2}
    assert watched.value("rls_requests_total", code="OK") == 1


def test_requests_by_overall_code() -> None:
    watched = Watched()
    watched.decided([1], descriptor(("a", "x")))
    watched.decided([21], descriptor(("a", "x")))
    watched.decided([22], descriptor(("a", "x")), modes=Modes(shadow_mode=True))
    assert watched.value("rls_requests_total", code="OK") == 2
    assert watched.value("rls_requests_total", code="OVER_LIMIT") == 1
    assert watched.value("rls_global_shadow_mode_total") == 1


def test_what_a_failing_backend_could_not_count() -> None:
    """Hits count all the same, as in the reference; they are neither over nor within the limit."""
    watched = Watched()
    plan = watched.planned(descriptor(("a", "x")), descriptor(("a", "y"), is_negative_hits=True))
    watched.metrics.store_failed(StoreFailed(decided(Decision(Code.OK, (), plan), 0.01), plan, "gone"))
    assert watched.of_rule("a") == {"hits": 1}
    assert watched.value("rls_backend_errors_total") == 1
    assert watched.value("rls_backend_duration_seconds_count") == 1


def test_what_a_policy_answered_is_counted_with_its_decision() -> None:
    """Neither its hits nor its time are counted twice."""
    watched = Watched()
    plan = watched.planned(descriptor(("a", "x")))
    watched.metrics.store_failed(StoreFailed(decided(Decision(Code.OK, (), plan), 0.01), plan, "gone", answered=True))
    watched.decided([1], descriptor(("a", "x")))
    assert watched.of_rule("a") == {"hits": 1, "within_limit": 1}
    assert watched.value("rls_backend_errors_total") == 1
    assert watched.value("rls_backend_duration_seconds_count") == 1


def test_hits_given_back_are_counted_apart() -> None:
    watched = Watched()
    watched.decided([0], descriptor(("a", "x"), is_negative_hits=True), hits_addend=4)
    assert watched.of_rule("a") == {"negative_hits": 4}


def test_a_look_counts_nothing() -> None:
    watched = Watched()
    watched.decided([3], descriptor(("a", "x"), hits_addend=0))
    assert watched.of_rule("a") == {}


@pytest.mark.parametrize(("own", "of_request", "hits"), [(None, 0, 1), (None, 5, 5), (7, 5, 7)])
def test_unlimited_hits(own: int | None, of_request: int, hits: int) -> None:
    watched = Watched()
    watched.decided([], descriptor(("free", "x"), hits_addend=own), hits_addend=of_request)
    assert watched.of_rule("free") == {"unlimited": hits}


def test_overrides_share_one_label_of_their_domain() -> None:
    watched = Watched()
    for key in ("a", "unheard-of"):
        watched.decided([1], descriptor((key, "x"), limit=RateLimit(5, Unit.SECOND)))
    assert watched.of_rule("(override)") == {"hits": 2, "within_limit": 2}


def test_a_rule_that_shows_values() -> None:
    watched = Watched()
    watched.decided([1], descriptor(("each", "x")))
    watched.decided([1], descriptor(("each", "y")))
    assert watched.of_rule("each", "each_x") == watched.of_rule("each", "each_y") == {"hits": 1, "within_limit": 1}
    assert watched.of_rule("each") == {}
    assert watched.shares("each") == (0.1, 0)


def test_descriptors_without_a_rule_are_counted_by_domain() -> None:
    watched = Watched()
    watched.decided([1], descriptor(("unheard-of", "x")), descriptor(("a", "x")))
    assert watched.value("rls_unmatched_descriptors_total", domain="domain") == 1


def test_an_unknown_domain_is_counted_but_never_named() -> None:
    """Its name is the client's."""
    watched = Watched()
    watched.decided([], descriptor(("a", "x")), descriptor(("a", "y")), domain="made-up")
    assert watched.value("rls_domain_not_found_total") == 1
    assert "made-up" not in watched.text()


def test_durations_fall_into_buckets() -> None:
    watched = Watched()
    watched.decided([1], descriptor(("a", "x")), seconds=0.0001)
    watched.decided([], descriptor(("unheard-of", "x")), seconds=0.0004)
    watched.decided([1], descriptor(("a", "x")), seconds=3)
    buckets = {
        le: watched.value("rls_check_duration_seconds_bucket", le=le) for le in ("0.0001", "0.0005", "0.1", "+Inf")
    }
    assert buckets == {"0.0001": 1, "0.0005": 2, "0.1": 2, "+Inf": 3}
    assert watched.value("rls_check_duration_seconds_sum") == pytest.approx(3.0005)
    assert watched.value("rls_backend_duration_seconds_count") == 2, "only what had something to count"


def test_a_complete_load() -> None:
    watched = Watched()
    assert watched.value("rls_config_last_reload_successful") == 1
    assert watched.value("rls_config_last_reload_success_timestamp_seconds") == 1000
    assert watched.value("rls_config_rules", domain="domain") == 4
    assert watched.value("rls_config_errors") == 0


def test_a_load_with_mistakes_is_no_success() -> None:
    """The alert's contract: 0 as long as not all of the configuration is in force, and the time of the last success stays."""
    watched = Watched()
    watched.load(RULES, (PROBLEM,), at=2000.0)
    assert watched.value("rls_config_last_reload_successful") == 0
    assert watched.value("rls_config_last_reload_success_timestamp_seconds") == 1000
    assert watched.value("rls_config_errors") == 1
    assert watched.value("rls_config_loads_total", result="partial") == 1


def test_a_rejected_configuration() -> None:
    metrics = Watched()
    metrics.metrics.rules_rejected(RulesRejected((PROBLEM, PROBLEM), 2000.0))
    assert metrics.value("rls_config_last_reload_successful") == 0
    assert metrics.value("rls_config_errors") == 2
    assert metrics.value("rls_config_loads_total", result="rejected") == 1


def test_a_check_that_was_planned_before_a_reload_is_still_counted() -> None:
    watched = Watched()
    decision = decide(watched.planned(descriptor(("a", "x"))), [1], 1000, Modes())
    watched.load(RuleSet())
    watched.metrics.decided(decided(decision, 0.001))
    assert watched.value("rls_requests_total", code="OK") == 1


def test_what_others_count_is_read_when_asked_for() -> None:
    watched = Watched()
    dropped = {"late": 1}
    watched.metrics.register_counter("rls_dropped_total", "Dropped.", lambda: dropped, "reason")
    watched.metrics.register_gauge("rls_known", "Known.", lambda: 7)
    dropped["late"] += 1
    assert watched.value("rls_dropped_total", reason="late") == 2
    assert watched.value("rls_known") == 7


def test_what_is_running() -> None:
    watched = Watched()
    assert watched.value("rls_build_info", version="1.2.3") == 1
    assert watched.value("process_start_time_seconds") > 0
    assert 'python_info{implementation="CPython"' in watched.text()


def test_promtool_finds_nothing_to_complain_about() -> None:
    promtool = shutil.which("promtool") or missing("needs promtool, of Prometheus")
    watched = Watched()
    watched.decided([1], descriptor(("each", 'odd"\n\\')), hits_addend=3)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=watched.text().encode(), capture_output=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_the_names_of_a_rule_and_its_limit() -> None:
    place = SourceLocation("rules/mesh.yaml", 12, 5)
    named = rule("a", 20, Unit.HOUR, unit_multiplier=2, name="all of a", place=place)
    watched = Watched(rule_set({(Step("a"),): named, (Step("free"),): rule("free", None)}))
    names = {"name": "all of a", "file": "rules/mesh.yaml", "line": "12"}
    assert watched.value("rls_rule_info", domain="domain", rule="a", **names) == 1
    assert watched.value("rls_rule_info", domain="domain", rule="free", name="", file="", line="") == 1
    assert watched.value("rls_rule_limit", domain="domain") == 20, "the other is unlimited"
    assert watched.value("rls_rule_window_seconds", domain="domain", rule="a") == 7200


def test_rules_with_one_path_have_one_series_each() -> None:
    """Of one of them: a join on domain and rule must find one."""
    watched = Watched(rule_set({(Step("a_b"),): rule("a_b", 5, name="1"), (Step("a", "b"),): rule("a_b", 7, name="2")}))
    assert watched.value("rls_rule_info", rule="a_b") == 1
    assert watched.value("rls_rule_limit", rule="a_b") in (5, 7)


def test_with_very_many_rules_those_that_had_hits_are_named(monkeypatch) -> None:
    monkeypatch.setattr("rls.observe.rule_counters.LONGEST_ZEROS", 1)
    watched = Watched()
    watched.decided([1], descriptor(("a", "x")))
    watched.decided([1], descriptor(("each", "x")))
    watched.decided([], descriptor(("free", "x")))
    listed = {
        sample.labels["rule"]
        for family in text_string_to_metric_families(watched.text())
        for sample in family.samples
        if sample.name == "rls_rule_info"
    }
    assert listed == {"a", "each", "free"}, "but not shadow"


def test_the_highest_share_of_a_limit_that_a_counter_reached() -> None:
    watched = Watched()
    assert watched.shares() == ()
    for count in (3, 15, 9):
        watched.decided([count], descriptor(("a", f"{count}")))
    assert watched.shares() == (0.75, 0)
    watched.decided([50], descriptor(("a", "15")))
    assert watched.shares() == (2.5, 0), "above 1 where hits are over the limit"
    watched.now += 60
    assert watched.shares() == (0, 2.5)
    watched.decided([5], descriptor(("a", "x")))
    assert watched.shares() == (0.25, 2.5)
    watched.now += 60
    assert watched.shares() == (0, 0.25)
    watched.now += 60
    assert watched.shares() == ()


def test_a_scrape_a_minute_sees_the_peak_of_windows_that_are_shorter() -> None:
    watched = Watched(rule_set({(Step("a"),): rule("a", 10, Unit.SECOND)}))
    watched.decided([9], descriptor(("a", "x")))
    watched.now += 10
    watched.decided([2], descriptor(("a", "x")))
    assert watched.shares() == (0.9, 0)
    watched.now += 60
    assert watched.shares() == (0, 0.9)


def test_a_window_without_hits_ends_what_was_reached() -> None:
    watched = Watched(rule_set({(Step("a"),): rule("a", 10, Unit.HOUR)}))
    watched.decided([9], descriptor(("a", "x")))
    watched.now += 2 * 3600
    watched.decided([1], descriptor(("a", "x")))
    assert watched.shares() == (0.1, 0)


def test_a_new_limit_does_not_change_what_was_reached() -> None:
    watched = Watched()
    watched.decided([10], descriptor(("a", "x")))
    watched.load(rule_set({(Step("a"),): rule("a", 1000)}))
    watched.decided([11], descriptor(("a", "x")))
    assert watched.shares() == (0.5, 0)
    watched.decided([700], descriptor(("a", "x")))
    assert watched.shares() == (0.7, 0)


def test_a_limit_of_0_is_used_up_by_any_hit() -> None:
    watched = Watched(rule_set({(Step("a"),): rule("a", 0)}))
    watched.decided([1], descriptor(("a", "x")))
    assert watched.shares() == (1, 0)


def test_hits_that_a_policy_decided_say_nothing_of_shares() -> None:
    """This process counts for itself then, against a part of the limit."""
    watched = Watched()
    one = decide(watched.planned(descriptor(("a", "x"))), [20], 1000, Modes())
    one.policies = frozenset({OnBackendError.LOCAL})
    watched.metrics.decided(decided(one, 0.001))
    assert watched.shares() == ()
    assert watched.of_rule("a")["hits"] == 1


def test_since_when_hits_are_over_the_limit() -> None:
    watched = Watched()
    since, last = "rls_rule_over_limit_since_timestamp_seconds", "rls_rule_last_over_limit_timestamp_seconds"
    watched.decided([1], descriptor(("a", "x")))
    assert f"{since}{{" not in watched.text()
    for now in (2000, 2100, 2390.5):
        watched.now = now
        watched.decided([30], descriptor(("a", "x")))
    assert (watched.value(since, rule="a"), watched.value(last, rule="a")) == (2000, 2390.5)
    watched.now = 2700
    watched.decided([30], descriptor(("a", "x")))
    assert (watched.value(since, rule="a"), watched.value(last, rule="a")) == (2700, 2700), "five minutes without any"


def test_policy_answers_by_rule() -> None:
    watched = Watched()
    one, override = watched.planned(
        descriptor(("a", "x")), descriptor(("b", "x"), limit=RateLimit(1, Unit.SECOND))
    ).checks
    for check in (one, one, override):
        watched.metrics.by_policy("domain", check, OnBackendError.LOCAL)
    watched.metrics.by_policy("domain", one, OnBackendError.DENY)
    assert watched.value("rls_fallback_total", domain="domain", rule="a", policy="local") == 2
    assert watched.value("rls_fallback_total", domain="domain", rule="a", policy="deny") == 1
    assert watched.value("rls_fallback_total", domain="domain", rule="(override)", policy="local") == 1


def test_the_revision_in_force() -> None:
    watched = Watched()
    assert "rls_config_info{" not in watched.text()
    watched.load(RuleSet(RULES.domains, "0123456789ab"), at=3000.0)
    assert watched.value("rls_config_info", revision="0123456789ab") == 1
    assert watched.value("rls_config_loaded_timestamp_seconds") == 3000


def test_the_buckets_show_the_goals() -> None:
    """A check takes 10 ms at most, Redis 5 ms."""
    watched = Watched()
    watched.decided([1], descriptor(("a", "x")), seconds=0.006)
    for le in ("0.001", "0.002", "0.005"):
        assert watched.value("rls_backend_duration_seconds_bucket", le=le) == 0
    for le in ("0.01", "0.02"):
        assert watched.value("rls_check_duration_seconds_bucket", le=le) == 1


def test_the_room_of_stores() -> None:
    watched = Watched()
    watched.metrics.register_store("memory", 100, lambda: 30, lambda: 4)
    watched.metrics.register_store("over_limit_cache", 50, lambda: 7)
    assert watched.value("rls_store_counters", store="memory") == 30
    assert watched.value("rls_store_counters_limit", store="over_limit_cache") == 50
    assert watched.value("rls_store_evictions_total") == 4, "of the one that evicts"
