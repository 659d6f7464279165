"""Bounded stores in this process, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import Metric

from rls.observe.families import counter, gauge


class Store(NamedTuple):
    """A store: see `Metrics.register_store`."""

    limit: int
    size: Callable[[], int]
    evicted: Callable[[], int] | None


def store_families(stores: Mapping[str, Store]) -> Iterator[Metric]:
    """What *stores* hold, by name."""
    found = stores.items()
    counters = {name: store.size() for name, store in found}
    yield gauge("rls_store_counters", "Counters that this process holds.", counters, "store")
    limits = {name: store.limit for name, store in found}
    yield gauge("rls_store_counters_limit", "The most counters that the store holds.", limits, "store")
    evicted = {name: store.evicted() for name, store in found if store.evicted is not None}
    yield counter(
        "rls_store_evictions_total",
        "Counters that made room for others before their window ended.",
        evicted,
        "store",
    )
