"""Decisions while the backend fails, and refunds of over-limit requests, as metrics."""

from __future__ import annotations

from collections.abc import Callable

from rls.engine.failure_policies import FailurePolicies
from rls.engine.refunds import Refunds
from rls.observe.metrics import Metrics


def register_failure_policy_metrics(metrics: Metrics, policies: FailurePolicies, replicas: Callable[[], int]) -> None:
    """Add the numbers of *policies* to *metrics*, and how many *replicas* share the limits."""
    metrics.register_gauge("rls_replicas", "Servers that share the limits, from --replicas; 0 while unknown.", replicas)
    metrics.register_counter(
        "rls_no_room_total",
        "Requests with a new counter for which memory had no room.",
        lambda: policies.no_room,
    )
    metrics.register_counter(
        "rls_counter_refused_total",
        "Requests with a counter that Redis rejects while it accepts others.",
        lambda: policies.refused,
    )
    counters = policies.local.counters
    metrics.register_store("fallback", counters.capacity, counters.__len__, lambda: counters.evicted)
    metrics.register_counter(
        "rls_fallback_hits_total",
        "Hits counted in this process while the backend failed: sent to it later, lost, or in doubt.",
        lambda: policies.caught_up,
        "result",
    )


def register_refund_metrics(metrics: Metrics, refunds: Refunds) -> None:
    """Add the numbers of *refunds* to *metrics*."""
    metrics.register_counter(
        "rls_refunded_hits_total",
        "Hits of over-limit requests that were refunded (sent) or may not have been (failed).",
        lambda: refunds.refunded,
        "result",
    )
