"""For those who own products and plans: who uses how much of what, without the words of the trade."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.board import Section, board, domains
from dashboards.parts import (
    COUNT,
    GREEN,
    HALF,
    QUARTER,
    RED,
    SHARE,
    YELLOW,
    Panel,
    Query,
    Steps,
    Text,
    graph,
    number,
    rows,
)

_CHOSEN = '{domain=~"$domain"}'
_USED = Steps(GREEN, {0.8: YELLOW, 1: RED})
_PAGE = "observability.md#for-product-owners"


def usage() -> Dashboard:
    """*RLS / Who uses how much*."""
    return board(
        "rls-usage",
        "Who uses how much",
        "For product owners: how much customers use of what they may, and whom we turned away. Choose the period at the"
        " top right. The numbers are good to a percent or two; do not bill by them.",
        Section("In this period", _totals()),
        Section("Customers and plans", _tables()),
        Section("Over time", _over_time()),
        variables=(domains(),),
        period="now-24h",
    )


def _in_period(metric: str, by: str = "", labels: str = _CHOSEN) -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (increase({metric}{labels}[$__range]))"


def _totals() -> list[Panel]:
    hits, over, shadow = (_in_period(f"rls_{name}_total") for name in ("hits", "over_limit", "shadow_mode"))
    return [
        number(
            Text(
                "Requests",
                "Requests that had a limit, in this period. One that has two limits counts twice, one without a limit not.",
                _PAGE,
            ),
            COUNT,
            hits,
            width=QUARTER,
        ),
        number(
            Text("Turned away", "Requests that we turned away because a customer had used up a limit.", _PAGE),
            COUNT,
            f"{over} - {shadow}",
            width=QUARTER,
        ),
        number(
            Text("Turned away, share", "Out of 100 requests, how many we turned away.", _PAGE),
            SHARE,
            f"({over} - {shadow}) / ({hits} > 0)",
            width=QUARTER,
            decimals=1,
            steps=Steps(GREEN, {0.05: YELLOW, 0.2: RED}),
        ),
        number(
            Text(
                "On trial",
                "Requests that limits on trial would have turned away. They passed, since these limits are not switched"
                " on yet.",
                _PAGE,
            ),
            COUNT,
            shadow,
            width=QUARTER,
        ),
    ]


def _tables() -> list[Panel]:
    by = "domain, rule"
    who = f"{by}, value"
    named = _CHOSEN[:-1] + ', value!=""}'
    hits, over = _in_period("rls_hits_total", who, named), _in_period("rls_over_limit_total", who, named)
    return [
        rows(
            Text(
                "Busiest customers",
                "Customers with the most requests in this period, and how many of these were over the limit. Only limits"
                " that count each customer by name are here; the others are in the next table.",
                _PAGE,
            ),
            {"requests": f"topk(25, {hits})", "over the limit": over, "share": f"{over} / ({hits} > 0)"},
            {"requests": COUNT, "over the limit": COUNT, "share": SHARE},
            names={"value": "customer", "rule": "limit", "domain": "area"},
            sort="requests",
            width=HALF,
            height=11,
            bounds={"share": Steps(GREEN, {0.05: YELLOW, 0.2: RED})},
        ),
        rows(
            Text(
                "Limits",
                "What each limit allows, how much of it the busiest customer uses now, and what was over it. Near 100 %:"
                " talk to the customer before we turn them away.",
                _PAGE,
            ),
            {
                "allowed": f"max by ({by}) (rls_rule_limit{_CHOSEN})",
                "in seconds": f"max by ({by}) (rls_rule_window_seconds{_CHOSEN})",
                "used by the busiest": f"max by ({by}) (rls_rule_utilization_ratio{_CHOSEN})",
                "requests": _in_period("rls_hits_total", by),
                "over the limit": _in_period("rls_over_limit_total", by),
            },
            {
                "allowed": COUNT,
                "in seconds": COUNT,
                "used by the busiest": SHARE,
                "requests": COUNT,
                "over the limit": COUNT,
            },
            names={"rule": "limit", "domain": "area"},
            sort="requests",
            width=HALF,
            height=11,
            bounds={"used by the busiest": _USED},
        ),
    ]


def _over_time() -> list[Panel]:
    every = "[$__rate_interval]"
    return [
        graph(
            Text("Requests over time", "Requests a second, by limit.", _PAGE),
            "reqps",
            Query(f"sum by (rule) (rate(rls_hits_total{_CHOSEN}{every}))", "{{rule}}"),
            stacked=True,
        ),
        graph(
            Text(
                "Turned away over time",
                "Out of 100 requests of each limit, how many were over it. A step up after a blue mark: the new limits did"
                " it.",
                _PAGE,
            ),
            SHARE,
            Query(
                f"sum by (rule) (rate(rls_over_limit_total{_CHOSEN}{every}))"
                f" / (sum by (rule) (rate(rls_hits_total{_CHOSEN}{every})) > 0)",
                "{{rule}}",
            ),
        ),
    ]
