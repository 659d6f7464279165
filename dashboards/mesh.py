"""What Envoy knows of its limits: the only view that shows requests that never reached rls."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.board import Section, board
from dashboards.parts import (
    COUNT,
    GREEN,
    NONE_IS_GOOD,
    PER_SECOND,
    RED,
    SECONDS,
    SHARE,
    YELLOW,
    Panel,
    Query,
    Steps,
    Text,
    graph,
    number,
)
from dashboards.promql import DECIDED, ENVOY_CLUSTERS, RATE, or_zero, rate, share

TO_RLS = '{cluster_name=~"outbound.8081..rls[.].*"}'
ENVOY_TO_RLS = '{envoy_cluster_name=~"ratelimit|outbound.8081..rls[.].*"}'
"""The cluster of rls: with Istio's label, and with Envoy's own, where the name is that of examples/mesh or Istio's."""
_OK, _OVER, _ERROR, _PASSED = (
    f"envoy_cluster_ratelimit_{name}" for name in ("ok", "over_limit", "error", "failure_mode_allowed")
)
_SERVICE = "{{cluster_name}}{{envoy_cluster_name}}"


def mesh() -> Dashboard:
    """*RLS / Mesh*."""
    return board(
        "rls-mesh",
        "Mesh",
        "Limits as Envoy sees them. Only Envoy shows the requests that never reached rls. Istio hides these statistics"
        " unless istio/values-istiod.yaml is in force.",
        Section("Now", _now()),
        Section("Verdicts, by the service behind", _verdicts()),
        Section("The way to rls", _way()),
    )


def _both(metric: str, by: str = "") -> str:
    """The rate of a metric of the cluster of rls, whichever label names it."""
    return f"({rate(metric, TO_RLS, by)} or {rate(metric, ENVOY_TO_RLS, by)})"


def _gauge(metric: str) -> str:
    return f"(sum by (job, instance) ({metric}{TO_RLS}) or sum by (job, instance) ({metric}{ENVOY_TO_RLS}))"


def _now() -> list[Panel]:
    asked = f"({' + '.join(f'({or_zero(rate(one))})' for one in (_OK, _OVER, _ERROR))})"
    return [
        number(Text("Asked", "Requests in a second for which Envoy asked rls."), PER_SECOND, asked),
        number(Text("Refused", "Share of them that rls refused."), SHARE, share(rate(_OVER), asked), decimals=1),
        number(
            Text("No verdict", "Share of them that got an error or no answer in time. Must be 0.", "first-steps"),
            SHARE,
            share(rate(_ERROR), asked),
            decimals=2,
            steps=Steps(GREEN, {1e-9: YELLOW, 0.001: RED}),
        ),
        number(
            Text(
                "Passed unlimited",
                "Requests in a second that Envoy let pass since it had no verdict. With failure_mode_deny they were"
                " answered with 500 instead.",
                "first-steps",
            ),
            PER_SECOND,
            or_zero(rate(_PASSED)),
            steps=NONE_IS_GOOD,
        ),
        number(
            Text(
                "Proxies without rls",
                "Proxies that know no healthy pod of rls: all of their requests pass.",
                "first-steps",
            ),
            COUNT,
            or_zero(f"count({_gauge('envoy_cluster_membership_healthy')} == 0)"),
            steps=NONE_IS_GOOD,
        ),
        number(
            Text(
                "Seen by rls",
                "Answers of rls as a share of what Envoy asked. Below 100 % requests get lost on the way, or not every"
                " proxy or pod is scraped; above, others ask rls too.",
                "first-steps",
            ),
            SHARE,
            f"{DECIDED} / ({asked} > 0)",
            decimals=0,
        ),
    ]


def _verdicts() -> list[Panel]:
    return [
        graph(
            Text(title, about, "first-steps" if runbook else ""),
            PER_SECOND,
            Query(rate(metric, by=ENVOY_CLUSTERS), _SERVICE),
            stacked=True,
        )
        for title, about, metric, runbook in (
            ("Within limits", "Requests within their limits, in a second, by the service behind.", _OK, False),
            (
                "Over limits",
                "Requests over a limit, in a second, by the service behind. Clients got 429.",
                _OVER,
                False,
            ),
            (
                "Without a verdict",
                "Requests for which rls gave no answer in time or an error, in a second, by the service behind.",
                _ERROR,
                True,
            ),
            (
                "Let pass without a verdict",
                "Requests that passed since there was no verdict, in a second, by the service behind.",
                _PASSED,
                True,
            ),
        )
    ]


def _way() -> list[Panel]:
    histogram = "envoy_cluster_upstream_rq_time"
    buckets = f"(sum by (le) (rate({histogram}_bucket{TO_RLS}{RATE})) or sum by (le) (rate({histogram}_bucket{ENVOY_TO_RLS}{RATE})))"
    return [
        graph(
            Text(
                "Time of a call to rls",
                "How long Envoy waits for rls, the network and its own queue included. What the page Overview shows less is"
                " the way. Envoy gives up after its timeout, by default 20 ms.",
                "overload",
            ),
            SECONDS,
            *(Query(f"histogram_quantile({q}, {buckets}) / 1000", f"p{100 * q:g}") for q in (0.5, 0.99)),
            steps=Steps(GREEN, {0.01: YELLOW, 0.02: RED}),
        ),
        graph(
            Text(
                "Calls that failed",
                "In a second: timeouts, resets, and connections that could not be made.",
                "overload",
            ),
            PER_SECOND,
            Query(_both("envoy_cluster_upstream_rq_timeout"), "timeout"),
            Query(_both("envoy_cluster_upstream_rq_rx_reset"), "reset by rls"),
            Query(_both("envoy_cluster_upstream_cx_connect_fail"), "no connection"),
            Query(_both("envoy_cluster_upstream_rq_pending_overflow"), "circuit breaker"),
        ),
        graph(
            Text("Pods that a proxy knows", "Healthy pods of rls, as each proxy sees them.", "first-steps"),
            COUNT,
            Query(_gauge("envoy_cluster_membership_healthy"), "{{instance}}"),
        ),
        graph(
            Text(
                "429 by service",
                "Requests that Istio's proxies answered with 429, in a second. Its flag RL says that a limit did it, and not"
                " the service itself. From Istio's own metrics.",
            ),
            PER_SECOND,
            Query(
                'sum by (destination_service_name, response_flags) (rate(istio_requests_total{response_code="429",'
                ' reporter="destination"}[$__rate_interval]))',
                "{{destination_service_name}} {{response_flags}}",
            ),
        ),
    ]
