"""What the sketches take, and whether one client has most of a rule's refusals, as metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rls.core.check import OVERRIDE
from rls.observe.families import Number
from rls.observe.metrics import Metrics
from rls.observe.top import TopTalkers

RULES = 100
"""Rules with a share: those that refused last, so that the number of series is bounded."""


def register_top_metrics(metrics: Metrics, top: TopTalkers) -> None:
    """Add the numbers of *top* to *metrics*."""

    def shares() -> Mapping[tuple[str, ...], Number]:
        return {
            (sketch.domain, OVERRIDE if sketch.rule is None else sketch.rule.path): round(share, 4)
            for sketch, share in top.refused_shares(RULES, time.time())
        }

    metrics.register_gauge("rls_top_sketches", "Rules whose top talkers are known.", lambda: len(top.sketches))
    metrics.register_gauge("rls_top_sketch_bytes", "Memory of the sketches of top talkers, about.", lambda: top.size)
    metrics.register_counter(
        "rls_top_sketches_dropped_total", "Sketches of top talkers that made room for others.", lambda: top.dropped
    )
    metrics.register_gauge(
        "rls_top_refused_ratio",
        "Share of a rule's refusals in the last minutes that the entries refused most have.",
        shares,
        "domain",
        "rule",
    )
