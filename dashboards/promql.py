"""Queries that several dashboards use. `$__rate_interval` is Grafana's: at least four scrapes."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.parts import GREEN, RED, YELLOW, Query

RATE = "[$__rate_interval]"
RULES = '{domain=~"$domain", rule=~"$rule"}'
"""The rules that are chosen above the panels."""

STATES = {"0": ("enforced", GREEN), "1": ("degraded", YELLOW), "2": ("off", RED)}
"""Texts and colours of the numbers that `STATE_BY_POD` and `WORST_STATE` return."""
STATE_BY_POD = (
    'sum by (instance) (rls_enforcement_state{state="degraded"})'
    ' + 2 * sum by (instance) (rls_enforcement_state{state="off"})'
)
WORST_STATE = f"max({STATE_BY_POD})"
REASONS = "max by (reason) (rls_enforcement_reason_since_timestamp_seconds > 0) > bool 0"
"""1 for each reason for which limits are weaker than written, while it holds."""

GOAL_SECONDS = 0.01
"""What a check may take: half of the time that Envoy waits."""
REDIS_GOAL_SECONDS = 0.005


def rate(metric: str, labels: str = "", by: str = "") -> str:
    """The sum over all pods of a counter's rate per second, with a sum for each value of *by*."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{labels}{RATE}))"


def or_zero(expr: str) -> str:
    """*expr*, or 0 where it has no series: counters of rare events appear with the first."""
    return f"{expr} or vector(0)"


def share(part: str, whole: str) -> str:
    """*part* of *whole*; nothing without traffic."""
    return f"({or_zero(part)}) / ({whole} > 0)"


def quantile(q: float, histogram: str, by: str = "") -> str:
    """A quantile over all pods."""
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({grouped}) (rate({histogram}_bucket{RATE})))"


def quantiles(histogram: str, wanted: Sequence[float] = (0.5, 0.99)) -> list[Query]:
    """A line for each quantile."""
    return [Query(quantile(q, histogram), f"p{100 * q:g}") for q in wanted]


def within(histogram: str, seconds: float) -> str:
    """Which share was no slower; *seconds* is the bound of a bucket."""
    return share(rate(f"{histogram}_bucket", f'{{le="{seconds:g}"}}'), rate(f"{histogram}_count"))


DECIDED = rate("rls_requests_total")
REFUSED = rate("rls_requests_total", '{code="OVER_LIMIT"}')
REFUSED_SHARE = share(REFUSED, DECIDED)
ENVOY_CLUSTERS = "cluster_name, envoy_cluster_name"
"""Istio's label and Envoy's own: the service behind the limits, as Envoy names it."""
