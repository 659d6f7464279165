"""Settings → the store of a server, with the cache before it."""

from __future__ import annotations

from collections.abc import Sequence

from rls.app.unusable import value_of
from rls.engine.enforcement import Reporter
from rls.observe.decisions import MEMORY, REDIS
from rls.observe.metrics import Metrics
from rls.settings import BackendUrl, Settings
from rls.stores import schemes
from rls.stores.base import CounterStore, OnBatch
from rls.stores.memory import MemoryStore
from rls.stores.opening import open_store
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.per_second import PerSecondStore
from rls.stores.redis import BatchNumbers, Inspection, RedisClusterStore, RedisStore
from rls.stores.schemes import StoreOptions


def open_backend(
    settings: Settings,
    metrics: Metrics,
    report_ttl_refused: Reporter,
    inspection: Inspection,
    on_batch: OnBatch | None = None,
) -> tuple[CounterStore, Sequence[CounterStore]]:
    """What counts, and what spares it work; and the stores that it asks.

    Args:
        settings: Where counters are.
        metrics: Get the numbers of the backend.
        report_ttl_refused: Called with the replies of nodes that reject TTLs of counters.
        inspection: Asks the nodes of Redis.
        on_batch: Called with each batch that is sent; None for nobody.

    Raises:
        UnusableSetting: A URL is of no use.
    """
    refusals = TtlRefusals(report_ttl_refused)
    with value_of("backend"):
        backend = _open(settings.backend, settings, metrics, refusals, on_batch)
    opened: list[CounterStore] = [backend]
    if settings.per_second_backend is not None:
        with value_of("per_second_backend"):
            per_second = _open(settings.per_second_backend, settings, metrics, refusals, on_batch)
        opened.append(per_second)
        backend = PerSecondStore(backend, per_second)
    in_redis = [one for one in opened if isinstance(one, RedisStore | RedisClusterStore)]
    inspection.add(in_redis)
    _show_nodes(in_redis, inspection, metrics)
    if isinstance(backend, MemoryStore) or not settings.over_limit_cache_size:
        return backend, opened
    cache = OverLimitCache(backend, capacity=settings.over_limit_cache_size)
    metrics.register_store("over_limit_cache", settings.over_limit_cache_size, cache.__len__)
    metrics.register_counter(
        "rls_over_limit_cache_hits_total", "Hits over the limit, decided without asking Redis.", lambda: cache.answered
    )
    return cache, opened


def _show_nodes(backends: Sequence[RedisStore | RedisClusterStore], inspection: Inspection, metrics: Metrics) -> None:
    if not backends:
        return
    metrics.register_gauge(
        "rls_redis_up",
        "1 while the Redis node is available, else 0.",
        lambda: {address: int(up) for one in backends for address, up in one.up.items()},
        "node",
    )
    metrics.register_gauge(
        "rls_clock_skew_seconds",
        "How far the Redis node's clock is ahead of this one, in seconds.",
        lambda: inspection.clocks.ahead,
        "node",
    )
    metrics.register_counter(
        "rls_counter_losses_total",
        "How often the Redis node turned out to have lost counters.",
        lambda: inspection.losses.found,
        "node",
    )
    metrics.register_counter(
        "rls_redis_evicted_keys_total",
        "Keys that the Redis node has evicted.",
        lambda: inspection.evictions.evicted,
        "node",
    )

    def numbers() -> dict[str, BatchNumbers]:
        return {node.endpoint.address: node.sender.numbers for one in backends for node in one.nodes}

    metrics.register_histograms(
        "rls_redis_batch_calls",
        "Calls whose updates went out in one write.",
        lambda: {address: found.calls for address, found in numbers().items()},
        "node",
    )
    metrics.register_histograms(
        "rls_redis_queue_seconds",
        "Time that the first call of a write waited until it was sent, in seconds.",
        lambda: {address: found.queue_seconds for address, found in numbers().items()},
        "node",
    )
    metrics.register_histograms(
        "rls_redis_round_trip_seconds",
        "Time from a write until its replies came, in seconds.",
        lambda: {address: found.round_trip_seconds for address, found in numbers().items()},
        "node",
    )


class TtlRefusals:
    """The replies of nodes that reject TTLs of counters, as one text; "" when none does any more."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._texts: dict[str, str] = {}

    def __call__(self, address: str, text: str) -> None:
        """The node at *address* replied *text*; "" if it accepts TTLs."""
        if text:
            self._texts[address] = text
        else:
            self._texts.pop(address, None)
        self._report("; ".join(self._texts.values()))


def _open(
    url: BackendUrl, settings: Settings, metrics: Metrics, refusals: TtlRefusals, on_batch: OnBatch | None
) -> CounterStore:
    """The store at *url*, one of ours or one from elsewhere."""
    options = StoreOptions(settings.backend_timeout, settings.key_prefix, settings.memory_counters, on_batch)
    jitter = int(settings.expiration_jitter)
    store = open_store(url.reveal(), options, jitter_seconds=jitter, on_ttl_refused=refusals)
    if isinstance(store, MemoryStore):
        metrics.register_store("memory", settings.memory_counters, store.__len__, lambda: store.evicted)
    return store


def store_of(scheme: str) -> str:
    """What decisions call the store of a backend URL with that *scheme*; see `decisions.answered_by`."""
    if scheme == schemes.MEMORY:
        return MEMORY
    return REDIS if scheme in schemes.OWN else scheme
