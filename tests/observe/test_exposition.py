"""The page in both forms, read by parsers of others and scraped by a real Prometheus (see test_scraped.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from rls.core.decide import Modes, decide
from rls.core.plan import CountingOptions
from rls.engine.events import RequestContext, RulesLoaded
from rls.observe.exemplars import RENEW_SECONDS, RETRY_SECONDS
from rls.observe.families import OPENMETRICS, TEXT, form_for
from rls.observe.metrics import Metrics
from tests.tries import Step, descriptor, plan, request, rule, rule_set

OPEN = "application/openmetrics-text"
OF_PROMETHEUS = f"{OPEN};version=1.0.0,{OPEN};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
RULES = rule_set({(Step("a"),): rule("a", 20), (Step("each", value_to_metric=True),): rule("each", 10)})
TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED, UNSAMPLED = (f"00-{TRACE}-b7ad6b7169203331-{flags}" for flags in ("01", "00"))


class Traced(RequestContext):
    """A request of a caller with a trace; counts how often it is asked for it."""

    def __init__(self, traceparent: str | None, began: float, **sent: str) -> None:
        self.decision = decide(plan(request(descriptor(("a", "x"))), RULES, CountingOptions()), [1], 1000, Modes())
        self.began, self.seconds = began, 0.0007
        self.asked = 0
        self._sent = sent if traceparent is None else {"traceparent": traceparent, **sent}

    @property
    def may_be_sampled(self) -> bool:
        return True

    def metadata(self, name: str) -> str | None:
        self.asked += name == "traceparent"
        return self._sent.get(name)


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(version="1.2.3", clock=lambda: 1000.0)
    metrics.rules_loaded(RulesLoaded(RULES, (), (), 1000.0))
    return metrics


def page(metrics: Metrics, accept: str) -> str:
    return b"".join(metrics.page(accept)[1]).decode()


def numbers(families: Iterable[Metric]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples of ours by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("rls_")
    }


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        (OF_PROMETHEUS, OPENMETRICS),
        (OPEN, OPENMETRICS),
        (f"text/plain;q=0.5, {OPEN.upper()} ; version=1.0.0 ; q=0.6", OPENMETRICS),
        (f"{OPEN};q=0.3, text/plain", TEXT),
        (f"{OPEN};q=0", TEXT),
        (f"{OPEN};q=nonsense", TEXT),
    ],
)
def test_the_form_is_the_one_that_the_scraper_likes_best(accept: str, form: object) -> None:
    assert form_for(accept) is form


def test_both_forms_say_the_same(metrics: Metrics) -> None:
    for found in (("a", "x"), ("each", 'odd"\n\\'), ("unheard-of", "x")):
        decision = decide(plan(request(descriptor(found)), RULES, CountingOptions()), [30], 1000, Modes())
        context = RequestContext()
        context.began, context.decision, context.seconds = 1000.0, decision, 0.0003
        metrics.decided(context)
    text, openmetrics = page(metrics, "text/plain"), page(metrics, OPEN)
    said = numbers(parse_openmetrics(openmetrics))
    assert numbers(parse_text(text)) == said
    assert said["rls_hits_total", frozenset({("domain", "domain"), ("rule", "a")})] == 1
    assert said["rls_rule_limit", frozenset({("domain", "domain"), ("rule", "a")})] == 20
    assert (text.count("# EOF"), openmetrics.count("# EOF")) == (0, 1)
    assert openmetrics.endswith("\n# EOF\n")
    assert "_created" not in text + openmetrics


def test_the_trace_of_a_sampled_call_is_in_its_bucket(metrics: Metrics) -> None:
    metrics.decided(Traced(SAMPLED, 1000.5))
    found = {
        sample.labels["le"]: sample.exemplar
        for family in parse_openmetrics(page(metrics, OPEN))
        for sample in family.samples
        if sample.name == "rls_check_duration_seconds_bucket" and sample.exemplar
    }
    assert list(found) == ["0.001"]
    exemplar = found["0.001"]
    assert exemplar is not None
    assert (exemplar.labels, exemplar.value, float(exemplar.timestamp or 0)) == ({"trace_id": TRACE}, 0.0007, 1000.5007)
    assert TRACE not in page(metrics, "text/plain"), "that form has no exemplars"


def test_calls_that_are_not_sampled_cost_nothing(metrics: Metrics) -> None:
    """The trace context of one call in some milliseconds is read, and after a sampled one none for a second."""
    calls = [Traced(UNSAMPLED, 1000.0 + n * RETRY_SECONDS / 100) for n in range(201)]
    for call in calls:
        metrics.decided(call)
    assert sum(call.asked for call in calls) == 3
    assert " # {" not in page(metrics, OPEN)
    metrics.decided(Traced(SAMPLED, 1001.0))
    soon = Traced(SAMPLED, 1001.0 + RENEW_SECONDS / 2)
    metrics.decided(soon)
    assert soon.asked == 0
    later = Traced(SAMPLED.replace(TRACE, "1" * 32), 1001.0 + RENEW_SECONDS)
    metrics.decided(later)
    assert "1" * 32 in page(metrics, OPEN)


@pytest.mark.parametrize(
    ("traceparent", "sent", "trace"),
    [
        (SAMPLED, {}, TRACE),
        (SAMPLED.replace("00-", "01-", 1) + "-more", {}, TRACE),
        (None, {"b3": f"{TRACE}-b7ad6b7169203331-1"}, TRACE),
        (UNSAMPLED, {}, ""),
        (SAMPLED.upper(), {}, ""),
        ('00-"} 1\n# EOF-01', {}, ""),
        (None, {}, ""),
    ],
)
def test_an_exemplar_is_of_a_trace_that_its_caller_samples(
    metrics: Metrics, traceparent: str | None, sent: dict[str, str], trace: str
) -> None:
    """What a valid trace context is, `test_trace_context.py` says."""
    metrics.decided(Traced(traceparent, 1000.5, **sent))
    found = re.findall(r' # \{trace_id="(.*?)"\}', page(metrics, OPEN))
    assert found == ([trace] if trace else [])
