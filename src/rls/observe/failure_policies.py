"""What is decided while the backend fails, and what refused requests do not spend, as metrics."""

from __future__ import annotations

from collections.abc import Callable

from rls.engine.failure_policies import FailurePolicies
from rls.engine.refunds import Refunds
from rls.observe.metrics import Metrics


def register_failure_policy_metrics(metrics: Metrics, policies: FailurePolicies, replicas: Callable[[], int]) -> None:
    """Add the numbers of *policies* to *metrics*, and how many *replicas* share the limits."""
    metrics.register_gauge(
        "rls_replicas", "Servers that share the limits, as --replicas says or DNS; 0 while it is not known.", replicas
    )
    metrics.register_counter(
        "rls_fallback_total",
        "Checks that were decided without their count, by on_backend_error.",
        lambda: policies.decided,
        "policy",
    )
    metrics.register_counter(
        "rls_no_room_total",
        "Requests with a new counter for which there was no room, here or in memory://.",
        lambda: policies.no_room,
    )
    metrics.register_counter(
        "rls_counter_refused_total",
        "Requests with a counter that Redis refuses, although it counts others.",
        lambda: policies.refused,
    )
    metrics.register_gauge(
        "rls_fallback_counters", "Counters of this process while the backend fails.", lambda: len(policies.local)
    )
    metrics.register_counter(
        "rls_fallback_hits_total",
        "Hits that were counted in this process: sent to the backend afterwards, lost on the way, or in doubt.",
        lambda: policies.caught_up,
        "result",
    )


def register_refund_metrics(metrics: Metrics, refunds: Refunds) -> None:
    """Add the numbers of *uncharge* to *metrics*."""
    metrics.register_counter(
        "rls_uncharged_total",
        "Hits of refused requests that were given back, or may not have been.",
        lambda: refunds.given_back,
        "result",
    )
