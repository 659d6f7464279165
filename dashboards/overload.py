"""Is there more to do than rls can: what is dropped and why, and what holds it up?"""

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
)
from dashboards.promql import DECIDED, GOAL_SECONDS, or_zero, quantile, quantiles, rate, share

_OURS = " and on (job, instance) rls_build_info"
"""Of metrics that every Python process has, those of rls."""
_DROPPED = '{class!="stream"}'


def overload() -> Dashboard:
    """*RLS / Overload*."""
    return board(
        "rls-overload",
        "Overload",
        "Is there more to do than rls can: what is dropped and why, and what holds it up?",
        Section("Now", [*_load(), *_hindrances()]),
        Section("Calls", _calls()),
        Section("What holds it up", _causes()),
        Section("Connections and resources", _resources()),
    )


def _load() -> list[Panel]:
    calls = f"({DECIDED} + ({or_zero(rate('rls_dropped_total', _DROPPED))}))"
    return [
        number(
            Text("Dropped", "Share of the calls that were not decided in time. Envoy lets them pass.", "calls_shed"),
            SHARE,
            share(rate("rls_dropped_total", _DROPPED), calls),
            decimals=2,
            steps=Steps(GREEN, {1e-9: YELLOW, 0.001: RED}),
        ),
        number(
            Text("Calls in progress", "Calls that are not answered yet, over all pods.", "overload"),
            COUNT,
            "sum(rls_calls_in_progress)",
        ),
        number(
            Text(
                "Fullest pod",
                "Calls in progress as a share of the most that the pod accepts. At 100 % it sheds.",
                "overload",
            ),
            SHARE,
            "max(rls_calls_in_progress / (rls_concurrency_limit > 0))",
            steps=Steps(GREEN, {0.7: YELLOW, 0.9: RED}),
            no_value="no limit",
        ),
    ]


def _hindrances() -> list[Panel]:
    return [
        number(
            Text(
                "Longest turns",
                "One of 1,000 turns of the event loop takes this long. Above 10 ms calls are late.",
                "calls_late",
            ),
            SECONDS,
            quantile(0.999, "rls_loop_turn_seconds"),
            steps=Steps(GREEN, {0.005: YELLOW, 0.01: RED}),
        ),
        number(
            Text(
                "Throttled",
                "Seconds in each second in which the CPU limit stopped a pod, the worst pod.",
                "cpu_throttled",
            ),
            SHARE,
            or_zero("max(rate(rls_cpu_throttled_seconds_total[$__rate_interval]))"),
            steps=Steps(GREEN, {0.01: YELLOW, 0.05: RED}),
        ),
        number(
            Text("Connections turned away", "In a second, since as many were open as may be.", "connections_refused"),
            PER_SECOND,
            or_zero(rate("rls_connections_closed_total", '{listener="grpc", reason="too_many"}')),
            steps=NONE_IS_GOOD,
        ),
    ]


def _calls() -> list[Panel]:
    return [
        graph(
            Text(
                "Calls and the limit",
                "Calls in progress, and how many the pods accept. The limit falls while calls wait for the CPU.",
                "overload",
            ),
            COUNT,
            Query("sum by (instance) (rls_calls_in_progress)", "{{instance}} in progress"),
            Query("sum by (instance) (rls_concurrency_limit)", "{{instance}} limit"),
        ),
        graph(
            Text(
                "Dropped, by reason",
                "Calls without a decision in time, in a second. shed, queued: rls turned them away. expired, late,"
                " cancelled: their caller gave up first.",
                "calls_shed",
            ),
            PER_SECOND,
            Query(rate("rls_dropped_total", by="class, reason"), "{{class}} {{reason}}"),
            stacked=True,
        ),
        graph(
            Text("Decided", "Requests that each pod decided, in a second. Pods should share the load."),
            PER_SECOND,
            Query(rate("rls_requests_total", by="instance"), "{{instance}}"),
            stacked=True,
        ),
        graph(
            Text(
                "Time of a check, by pod",
                "99 of 100 checks of each pod take no longer. The line is the goal.",
                "calls_late",
            ),
            SECONDS,
            Query(quantile(0.99, "rls_check_duration_seconds", "instance"), "{{instance}}"),
            steps=Steps(GREEN, {GOAL_SECONDS: RED}),
        ),
    ]


def _causes() -> list[Panel]:
    return [
        graph(
            Text(
                "Turns of the event loop",
                "How long a call may wait for the current turn. A turn above 10 ms is a pause for every call.",
                "calls_late",
            ),
            SECONDS,
            *quantiles("rls_loop_turn_seconds", (0.5, 0.99, 0.999)),
            steps=Steps(GREEN, {GOAL_SECONDS: RED}),
        ),
        graph(
            Text(
                "CPU",
                "CPU seconds of each pod in a second. One core is the most that a pod uses; from 60 % on the autoscaler"
                " adds pods.",
                "size",
            ),
            SHARE,
            Query(f"rate(process_cpu_seconds_total[$__rate_interval]){_OURS}", "{{instance}}"),
            steps=Steps(GREEN, {0.6: YELLOW, 0.9: RED}),
        ),
        graph(
            Text(
                "Throttling",
                "Seconds in each second in which the CPU limit stopped the pod. Raise the limit or remove it.",
                "cpu_throttled",
            ),
            SHARE,
            Query("sum by (instance) (rate(rls_cpu_throttled_seconds_total[$__rate_interval]))", "{{instance}}"),
        ),
        graph(
            Text(
                "Pods",
                "Pods that the autoscaler has and wants. If it wants as many as it may have, raise maxReplicas. From"
                " kube-state-metrics.",
                "calls_shed",
            ),
            COUNT,
            *(
                Query(f'max(kube_horizontalpodautoscaler_{name}{{horizontalpodautoscaler="rls"}})', legend)
                for name, legend in (
                    ("status_current_replicas", "there"),
                    ("status_desired_replicas", "wanted"),
                    ("spec_max_replicas", "at most"),
                )
            ),
        ),
    ]


def _resources() -> list[Panel]:
    connections = 'rls_connections{listener="grpc"}'
    return [
        graph(
            Text("Connections", "Open gRPC connections, and how many may be open.", "connections_refused"),
            COUNT,
            Query(f"sum by (instance) ({connections})", "{{instance}}"),
            Query('min(rls_connections_limit{listener="grpc"})', "limit of a pod"),
        ),
        graph(
            Text("Connections closed by rls", "In a second, by reason. age is normal.", "metrics.md#connections"),
            PER_SECOND,
            Query(rate("rls_connections_closed_total", by="listener, reason"), "{{listener}} {{reason}}"),
        ),
        graph(
            Text(
                "Memory", "What each pod holds in memory. It has 1 GiB in k8s/base.", "answers.md#what-does-a-pod-need"
            ),
            BYTES,
            Query(f"process_resident_memory_bytes{_OURS}", "{{instance}}"),
        ),
        graph(
            Text("File descriptors", "Share of the file descriptors that each pod uses.", "file_descriptors_exhausted"),
            SHARE,
            Query(f"process_open_fds / process_max_fds{_OURS}", "{{instance}}"),
            largest=1,
            steps=Steps(GREEN, {0.9: RED}),
        ),
    ]
