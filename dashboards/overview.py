"""The first page: is it limiting, is it fast, who is refused, and did the last push do this?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.board import Section, board
from dashboards.parts import (
    AGO,
    COUNT,
    GREEN,
    HALF,
    NONE_IS_GOOD,
    PER_SECOND,
    RED,
    SECONDS,
    SHARE,
    SIXTH,
    YELLOW,
    Panel,
    Query,
    Steps,
    Text,
    graph,
    number,
    rows,
    timeline,
)
from dashboards.promql import (
    DECIDED,
    GOAL_SECONDS,
    REASONS,
    REFUSED_SHARE,
    STATE_BY_POD,
    STATES,
    WORST_STATE,
    or_zero,
    quantiles,
    rate,
    within,
)


def overview() -> Dashboard:
    """*RLS / Overview*."""
    return board(
        "rls-overview",
        "Overview",
        "Is rls limiting, is it fast, who is refused, and did the last push of rules do this?",
        Section("Now", [*_verdicts(), *_promises()]),
        Section("Answers", _answers()),
        Section("Enforcement and rules", _enforcement()),
        Section("Who is refused, and which alerts fire", _refused()),
    )


def _verdicts() -> list[Panel]:
    return [
        number(
            Text(
                "State",
                "The worst state of any pod. Enforced: all limits are enforced as written. Degraded: some are weaker."
                " Off: nothing is limited.",
                "first-steps",
            ),
            COUNT,
            WORST_STATE,
            steps=Steps(GREEN, {1: YELLOW, 2: RED}),
            words=STATES,
            no_value="no pod",
        ),
        number(Text("Answers", "Requests that rls decided, in a second, over all pods."), PER_SECOND, DECIDED),
        number(
            Text(
                "Refused",
                "Share of the decided requests that were over a limit. A sudden change means a new rule or a client that"
                " hammers: see the table below.",
            ),
            SHARE,
            REFUSED_SHARE,
            decimals=1,
            steps=Steps(GREEN, {0.2: YELLOW, 0.5: RED}),
        ),
    ]


def _promises() -> list[Panel]:
    return [
        number(
            Text(
                "Within 10 ms",
                "Share of the checks that took no more than 10 ms. Proxies wait for 100 ms (istio/), and then let the request pass.",
                "overload",
            ),
            SHARE,
            within("rls_check_duration_seconds", GOAL_SECONDS),
            decimals=2,
            steps=Steps(RED, {0.99: YELLOW, 0.999: GREEN}),
        ),
        number(
            Text(
                "Passed unlimited",
                "Requests in a second that Envoy let pass because it got no answer from rls. Must be 0.",
                "first-steps",
            ),
            PER_SECOND,
            or_zero(rate("envoy_cluster_ratelimit_failure_mode_allowed")),
            steps=NONE_IS_GOOD,
        ),
        number(
            Text(
                "Revisions",
                "How many different sets of rules the pods have. More than 1 for over two minutes: a push has not"
                " arrived everywhere.",
                "reload",
            ),
            COUNT,
            "count(count by (revision) (rls_config_info))",
            width=SIXTH,
            steps=Steps(GREEN, {2: RED}),
            no_value="no rules",
        ),
    ]


def _answers() -> list[Panel]:
    return [
        graph(
            Text(
                "Answers by verdict",
                "What rls answered, in a second. Errors are answers without a verdict, and dropped calls were not decided"
                " in time: Envoy lets both pass.",
                "overload",
            ),
            PER_SECOND,
            Query(rate("rls_requests_total", by="code"), "{{code}}"),
            Query(or_zero(rate("rls_request_errors_total")), "errors"),
            Query(or_zero(rate("rls_dropped_total", '{class!="stream"}')), "dropped"),
            stacked=True,
            colors={"OK": GREEN, "OVER_LIMIT": "orange", "errors": RED, "dropped": "dark-red"},
        ),
        graph(
            Text("Refused share", "Share of the decided requests that were over a limit."),
            SHARE,
            Query(REFUSED_SHARE, "refused"),
            largest=1,
        ),
        graph(
            Text(
                "Time of a check",
                "How long rls takes to count and decide. The line is the goal: 99 of 100 checks in 10 ms. Dots lead to"
                " traces of single checks, if traces are on.",
                "overload",
            ),
            SECONDS,
            *quantiles("rls_check_duration_seconds", (0.5, 0.99, 0.999)),
            exemplars=True,
            steps=Steps(GREEN, {GOAL_SECONDS: RED}),
        ),
        graph(
            Text(
                "What Envoy saw",
                "Answers as Envoy counts them, in a second. error: no answer in time. failure_mode_allowed: passed"
                " unlimited because of that. If these grow while rls looks well, the fault is between them.",
                "first-steps",
            ),
            PER_SECOND,
            *(
                Query(or_zero(rate(f"envoy_cluster_ratelimit_{name}")), name)
                for name in ("ok", "over_limit", "error", "failure_mode_allowed")
            ),
            colors={"ok": GREEN, "over_limit": "orange", "error": RED, "failure_mode_allowed": "dark-red"},
        ),
    ]


def _enforcement() -> list[Panel]:
    return [
        timeline(
            Text(
                "Why limits are weaker than written",
                "A row for each reason, coloured while it holds on any pod. The runbook has an entry for each reason.",
                "what-to-do",
            ),
            Query(REASONS, "{{reason}}"),
            words={"1": ("weaker", RED)},
        ),
        timeline(
            Text(
                "State of each pod",
                "One pod that differs points to its node, its network or its rules. All at one time point to Redis or to a"
                " push.",
                "enforcement-state",
            ),
            Query(STATE_BY_POD, "{{instance}}"),
            words=STATES,
        ),
        graph(
            Text(
                "Revisions over pods",
                "How many pods have which set of rules. Two colours are right for a minute or two after a push. Blue marks"
                " on all graphs show when a revision was first in force.",
                "reload",
            ),
            COUNT,
            Query("count by (revision) (rls_config_info)", "{{revision}}"),
            stacked=True,
        ),
        graph(
            Text(
                "Mistakes in the rules",
                "Errors in the rule files. Bad files keep their last good rules, until the pod ends.",
                "rules_invalid",
            ),
            COUNT,
            Query("max by (instance) (rls_config_errors)", "{{instance}}"),
        ),
    ]


def _refused() -> list[Panel]:
    over = "topk(10, sum by (domain, rule) (rate(rls_over_limit_total[$__rate_interval])) > 0)"
    return [
        rows(
            Text(
                "Rules that refuse most",
                "The ten rules with the most hits over their limit, and since when they refuse. Rules in shadow mode are"
                " among them, although they let pass. More: the dashboard Rules.",
                "metrics.md#rules",
            ),
            {
                "over the limit": over,
                "since": "min by (domain, rule) (rls_rule_over_limit_since_timestamp_seconds) * 1000"
                f" and on (domain, rule) {over}",
            },
            {"over the limit": PER_SECOND, "since": AGO},
            names={"domain": "domain", "rule": "rule"},
            sort="over the limit",
            width=HALF,
        ),
        rows(
            Text(
                "Alerts that fire",
                "Alerts of the rules in k8s/components/prometheus. Empty is good. Each has a runbook in its annotations.",
                "alerts",
            ),
            {
                "pods": 'count by (alertname, severity) (ALERTS{alertstate="firing", alertname=~"Rls.*|Envoy.*|Redis.*", severity!="none"})'
            },
            {"pods": COUNT},
            names={"severity": "severity", "alertname": "alert"},
            width=HALF,
        ),
    ]
