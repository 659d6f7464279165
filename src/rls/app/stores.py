"""Settings → the counters of a server, and all that stands before them. Beside `app`, what knows concrete backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rls.engine.enforcement import Reporter
from rls.observe.metrics import Metrics
from rls.settings import BackendUrl, Settings
from rls.stores.base import CounterStore
from rls.stores.memory import MemoryStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.per_second import PerSecondStore
from rls.stores.redis import Inspection, RedisClusterStore, RedisSentinelStore, RedisStore


def open_backend(
    settings: Settings, metrics: Metrics, report_ttl_refused: Reporter, inspection: Inspection
) -> CounterStore:
    """What counts, and what spares it work.

    Args:
        settings: Where counters are.
        metrics: Get the numbers of the backend.
        report_ttl_refused: Called with the nodes that refuse to let counters expire.
        inspection: Asks the nodes of Redis.
    """
    refusals = TtlRefusals(report_ttl_refused)
    backend = BACKENDS[settings.backend.scheme](settings.backend, settings, metrics, refusals)
    opened = [backend]
    if settings.per_second_backend is not None:
        scheme = settings.per_second_backend.scheme
        per_second = BACKENDS[scheme](settings.per_second_backend, settings, metrics, refusals)
        opened.append(per_second)
        backend = PerSecondStore(backend, per_second)
    in_redis = [one for one in opened if isinstance(one, RedisStore | RedisClusterStore)]
    inspection.add(in_redis)
    _show_nodes(in_redis, inspection, metrics)
    if isinstance(backend, MemoryStore) or not settings.over_limit_cache_size:
        return backend
    cache = OverLimitCache(backend, capacity=settings.over_limit_cache_size)
    metrics.register_counter(
        "rls_over_limit_cache_hits_total", "Hits that were over the limit without asking.", lambda: cache.answered
    )
    return cache


def _show_nodes(backends: Sequence[RedisStore | RedisClusterStore], inspection: Inspection, metrics: Metrics) -> None:
    if backends:
        metrics.register_gauge(
            "rls_redis_up",
            "1 while the node can be used, else 0.",
            lambda: {address: int(up) for one in backends for address, up in one.up.items()},
            "node",
        )
        metrics.register_gauge(
            "rls_clock_skew_seconds",
            "How far the clock of the node of Redis is ahead of ours.",
            lambda: inspection.clocks.ahead,
            "node",
        )


class TtlRefusals:
    """What nodes say that do not give counters their TTL, as one text; "" when none refuses it any more."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._texts: dict[str, str] = {}

    def __call__(self, address: str, text: str) -> None:
        """The node at *address* says *text*."""
        if text:
            self._texts[address] = text
        else:
            self._texts.pop(address, None)
        self._report("; ".join(self._texts.values()))


def _memory(_: BackendUrl, settings: Settings, metrics: Metrics, __: TtlRefusals) -> CounterStore:
    backend = MemoryStore(capacity=settings.memory_counters)
    metrics.register_gauge("rls_memory_counters", "Counters in memory.", lambda: len(backend))
    return backend


def _redis(
    kind: type[RedisStore | RedisClusterStore],
    url: BackendUrl,
    settings: Settings,
    _: Metrics,
    refusals: TtlRefusals,
) -> CounterStore:
    return kind(
        url.reveal(),
        timeout_seconds=settings.backend_timeout,
        jitter_seconds=int(settings.expiration_jitter),
        key_prefix=settings.key_prefix,
        on_ttl_refused=refusals,
    )


BACKENDS: Mapping[str, Callable[[BackendUrl, Settings, Metrics, TtlRefusals], CounterStore]] = {
    "memory": _memory,
    "redis": partial(_redis, RedisStore),
    "rediss": partial(_redis, RedisStore),
    "unix": partial(_redis, RedisStore),
    "redis+cluster": partial(_redis, RedisClusterStore),
    "rediss+cluster": partial(_redis, RedisClusterStore),
    "redis+sentinel": partial(_redis, RedisSentinelStore),
    "rediss+sentinel": partial(_redis, RedisSentinelStore),
}
"""What is counted in, by the scheme of its URL."""
