"""Queries that return nothing in the tests, and why: their source does not run here, or nothing is wrong.

A query that is not here must return data. One that is here, and returns data anyway, is an error as well, except where
it says that it *may*.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.dashboards.trees import Query


class Excuse(NamedTuple):
    """Why the queries whose `Query.place` or PromQL matches *pattern* return nothing."""

    pattern: str
    reason: str
    may: bool = False


EXCUSES = (
    Excuse(
        r"\bredis_(memory|commands|connected|cluster|instance)_",
        "tests/integration/test_alerts_of_redis.py has a Redis exporter",
    ),
    Excuse(r"\bkube_", "tests/k8s/test_alerts_of_kubernetes.py has a kube-state-metrics"),
    Excuse(r"\bistio_requests_total\b", "metrics of Istio's proxies; a plain Envoy has none of them"),
    Excuse(r"\bALERTS\b", "no alert has its `for` behind it in a test of a minute", may=True),
    Excuse(r"overload: Throttling: ", "only where cpu.stat tells of a CPU limit", may=True),
    Excuse(r"\brls_redis_evicted_keys_total\b(?!.*or vector)", "polled twice a minute", may=True),
    Excuse(r"\brls_clock_skew_seconds\b", "polled twice a minute", may=True),
    Excuse(r"overload: Connections closed by rls: ", "appears with the first that is closed", may=True),
    Excuse(
        r"mesh: Time of a call to rls: ", "a histogram of Envoy appears when it has merged its first values", may=True
    ),
)


def excuse(query: Query) -> Excuse | None:
    """The one that fits."""
    return next((one for one in EXCUSES if re.search(one.pattern, f"{query.place}\n{query.expr}")), None)
