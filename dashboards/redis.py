"""Is Redis the cause: does it answer, how fast, what did it lose, and is it full?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.board import Section, board
from dashboards.parts import (
    BYTES,
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
    timeline,
)
from dashboards.promql import REDIS_GOAL_SECONDS, or_zero, quantile, quantiles, rate, share, within

UNAVAILABLE = "backend_unavailable"
_NODE = "{{pod}} {{instance}}"
"""Outside of Kubernetes there are no pods."""


def redis() -> Dashboard:
    """*RLS / Redis*."""
    return board(
        "rls-redis",
        "Redis",
        "Is Redis the cause: does it answer, how fast, what did it lose, and is it full?",
        Section("Now", [*_counts(), *_losses()]),
        Section("Answers of Redis, as rls sees them", _answers()),
        Section("While Redis fails", _failures()),
        Section("Room for counters", _room()),
        Section("Redis itself, from its exporter", _exporter()),
    )


def _counts() -> list[Panel]:
    return [
        number(
            Text("Nodes down", "Nodes that do not accept writes, as seen by any pod. Must be 0.", UNAVAILABLE),
            COUNT,
            "count(min by (node) (rls_redis_up) == 0) or vector(0)",
            steps=NONE_IS_GOOD,
        ),
        number(
            Text("Within 5 ms", "Share of the counts that Redis answered in 5 ms. It has 10 ms.", UNAVAILABLE),
            SHARE,
            within("rls_backend_duration_seconds", REDIS_GOAL_SECONDS),
            decimals=2,
            steps=Steps(RED, {0.99: YELLOW, 0.999: GREEN}),
        ),
        number(
            Text(
                "Not counted",
                "Share of the checks that Redis failed to count. A policy decided instead.",
                "when-the-backend-fails",
            ),
            SHARE,
            share(rate("rls_backend_errors_total"), rate("rls_backend_duration_seconds_count")),
            decimals=2,
            steps=NONE_IS_GOOD,
        ),
        number(
            Text(
                "Calls in a write",
                "How many calls go to Redis in one write, on average. More calls make a check cheaper.",
            ),
            COUNT,
            f"{rate('rls_redis_batch_calls_sum')} / ({rate('rls_redis_batch_calls_count')} > 0)",
            decimals=1,
        ),
    ]


def _losses() -> list[Panel]:
    return [
        number(
            Text(
                "Hits lost",
                "Hits of this period that Redis may have missed. Its counters are too low by them until their windows end.",
                "what-is-exact-and-what-is-not",
            ),
            COUNT,
            or_zero('sum(increase(rls_fallback_hits_total{result=~"lost|in_doubt"}[$__range]))'),
            decimals=0,
            steps=NONE_IS_GOOD,
        ),
        number(
            Text(
                "Evictions",
                "Counters in a second that Redis dropped for lack of memory. They begin at 0.",
                "redis_evicts",
            ),
            PER_SECOND,
            or_zero(rate("rls_redis_evicted_keys_total")),
            steps=NONE_IS_GOOD,
        ),
    ]


def _answers() -> list[Panel]:
    return [
        graph(
            Text(
                "Time to count",
                "How long Redis takes to count a request, failures included. The line is the goal; from 10 ms on a policy"
                " decides.",
                UNAVAILABLE,
            ),
            SECONDS,
            *quantiles("rls_backend_duration_seconds", (0.5, 0.99, 0.999)),
            steps=Steps(GREEN, {REDIS_GOAL_SECONDS: RED}),
        ),
        graph(
            Text(
                "Round trip by node",
                "From a write to a node until its replies came, 99 of 100. One node that is slow is a busy or distant"
                " machine; all of them point to the network, or to this pod's CPU.",
                UNAVAILABLE,
            ),
            SECONDS,
            Query(quantile(0.99, "rls_redis_round_trip_seconds", "node"), "{{node}}"),
            steps=Steps(GREEN, {REDIS_GOAL_SECONDS: RED}),
        ),
        timeline(
            Text(
                "Nodes",
                "Whether each node accepts writes. A row that is red on one pod only: the network.",
                UNAVAILABLE,
            ),
            Query("max by (node, instance) (rls_redis_up)", "{{node}} from {{instance}}"),
            words={"1": ("up", GREEN), "0": ("down", RED)},
        ),
        graph(
            Text(
                "Wait before a write",
                "How long the first call of a write waited until it was sent: for the write before it. 99 of 100.",
                UNAVAILABLE,
            ),
            SECONDS,
            *quantiles("rls_redis_queue_seconds"),
        ),
    ]


def _failures() -> list[Panel]:
    return [
        graph(
            Text(
                "Decided by policy",
                "Checks that on_backend_error decided instead of a count, in a second. local: each pod counts by itself."
                " allow: they passed. deny: they were refused. error: Envoy decided.",
                "when-the-backend-fails",
            ),
            PER_SECOND,
            Query(rate("rls_fallback_total", by="policy"), "{{policy}}"),
            stacked=True,
            colors={"local": YELLOW, "allow": RED, "deny": "orange", "error": "dark-red"},
        ),
        graph(
            Text(
                "Hits counted without Redis",
                "In a second. sent: Redis got them later. lost, in_doubt: it may have missed them.",
                "what-is-exact-and-what-is-not",
            ),
            PER_SECOND,
            Query(rate("rls_fallback_hits_total", by="result"), "{{result}}"),
            colors={"sent": GREEN, "lost": RED, "in_doubt": YELLOW},
        ),
        graph(
            Text(
                "Refused by Redis",
                "Requests in a second with a counter that Redis rejects while it accepts others: a key of another type, or"
                " a missing right.",
                "counter_refused",
            ),
            PER_SECOND,
            Query(or_zero(rate("rls_counter_refused_total")), "counter refused"),
        ),
        graph(
            Text(
                "Clock skew",
                "How far the clock of each node is ahead of each pod's. Pods that differ by more than a second count in"
                " different windows.",
                "clock_skew",
            ),
            SECONDS,
            Query("max by (instance, node) (abs(rls_clock_skew_seconds))", "{{instance}} to {{node}}"),
            steps=Steps(GREEN, {1: RED}),
        ),
    ]


def _room() -> list[Panel]:
    return [
        graph(
            Text(
                "Room for counters in the pods",
                "How full each store of counters in a pod is. fallback fills while Redis is away.",
                "room-for-counters",
            ),
            SHARE,
            Query(
                "max by (store) (rls_store_counters / on (job, instance, store) (rls_store_counters_limit > 0))",
                "{{store}}",
            ),
            largest=1,
            steps=Steps(GREEN, {0.9: RED}),
        ),
        graph(
            Text(
                "Counters that had to go",
                "In a second. evicted: made room in a pod and began at 0. no room: a new counter found none, and the rule's"
                " policy decided.",
                "no_room",
            ),
            PER_SECOND,
            Query(or_zero(rate("rls_store_evictions_total")), "evicted in a pod"),
            Query(or_zero(rate("rls_no_room_total")), "no room"),
        ),
        graph(
            Text(
                "Answered without asking Redis",
                "Hits over the limit, in a second, that a pod refused since it knows that the counter is full. Redis gets"
                " them within a second.",
            ),
            PER_SECOND,
            Query(or_zero(rate("rls_over_limit_cache_hits_total")), "from the over-limit cache"),
        ),
        graph(
            Text("Evicted by Redis", "Keys in a second that each node dropped for lack of memory.", "redis_evicts"),
            PER_SECOND,
            Query("max by (node) (rate(rls_redis_evicted_keys_total[$__rate_interval]))", "{{node}}"),
        ),
    ]


def _exporter() -> list[Panel]:
    return [
        graph(
            Text(
                "Memory",
                "What each node uses of its memory. With noeviction, a full node refuses to count.",
                "redis_evicts",
            ),
            BYTES,
            Query("redis_memory_used_bytes", _NODE),
            Query("redis_memory_max_bytes > 0", f"{_NODE} at most"),
        ),
        graph(
            Text("Commands", "Commands that each node ran, in a second."),
            PER_SECOND,
            Query("sum by (pod, instance) (rate(redis_commands_processed_total[$__rate_interval]))", _NODE),
        ),
        graph(
            Text(
                "Replication",
                "Replicas of each primary. A primary without one loses its counters when it fails.",
                "redisreplicacutoff",
            ),
            COUNT,
            Query('redis_connected_slaves and on (instance) redis_instance_info{role="master"}', _NODE),
        ),
        graph(
            Text("Slots", "Slots of the cluster that are served: must be 16384.", "redisslotsmissing"),
            COUNT,
            Query("max(redis_cluster_slots_ok)", "served"),
        ),
    ]
