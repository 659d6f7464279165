"""An observer from outside: it draws each check as a span of its caller's trace, and each batch with links to its checks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rls.api.health import Health
from rls.api.service import SHOULD_RATE_LIMIT, Service
from rls.app.transports import handlers_of, open_transport
from rls.engine.events import Observer, RequestContext
from rls.engine.limiter import Limiter
from rls.proto import rls_pb2
from rls.settings import Settings
from rls.stores.base import StoreBatch
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.redis import RedisStore
from rls.transport.base import ServerReports
from tests.counters import until
from tests.redis_server import RedisServer, redis_binary, running
from tests.tries import Step, rule, rule_set

CALLERS = [f"00-{number:032x}-{number:016x}-01" for number in (0xA, 0xB)]
_NANO = 1_000_000_000


class Spans(Observer):
    """Draws spans with OpenTelemetry's SDK."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("spans")
        self._contexts: dict[int, SpanContext] = {}
        self._batches: list[StoreBatch] = []

    def decided(self, request: RequestContext) -> None:
        """See `Observer`."""
        carrier = {"traceparent": request.traceparent or ""}
        span = self._tracer.start_span(
            "check",
            TraceContextTextMapPropagator().extract(carrier),
            SpanKind.SERVER,
            attributes={"domain": request.decision.plan.domain, "code": request.decision.code.name},
            start_time=int(request.began * _NANO),
        )
        self._contexts[request.id] = span.get_span_context()
        span.end(int((request.began + request.seconds) * _NANO))
        for batch in list(self._batches):
            if all(origin.id in self._contexts for origin in batch.origins if isinstance(origin, RequestContext)):
                self._batches.remove(batch)
                self._draw(batch)

    def batch_done(self, batch: StoreBatch) -> None:
        """See `Observer`. Its checks are decided a little later."""
        self._batches.append(batch)

    def _draw(self, batch: StoreBatch) -> None:
        links = [Link(self._contexts[origin.id]) for origin in batch.origins if isinstance(origin, RequestContext)]
        rules = sorted({str(update.rule) for update in batch.updates})
        span = self._tracer.start_span(
            "batch",
            kind=SpanKind.CLIENT,
            links=links,
            attributes={"node": batch.node, "rules": rules},
            start_time=int(batch.began * _NANO),
        )
        span.end(int((batch.began + batch.seconds) * _NANO))


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with running(RedisServer(tmp_path_factory.mktemp("redis"), redis_binary())) as server:
        yield server


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(params=["native", "grpcio"])
async def channel(request, redis, exporter, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = Spans(provider)
    store = OverLimitCache(RedisStore(redis.url, timeout_seconds=10.0, on_batch=spans.batch_done))
    limiter = Limiter(store, observers=[spans])
    limiter.load(rule_set({(Step("company"),): rule("company", 100)}))
    settings = Settings(config=[str(tmp_path)], grpc="127.0.0.1:0", transport=request.param)
    transport = open_transport(settings, handlers_of(settings, Service(limiter), Health()), ServerReports())
    await transport.start()
    try:
        async with grpc.aio.insecure_channel(transport.address) as opened:
            yield opened
    finally:
        await transport.aclose()
        await store.aclose()


async def check(channel: grpc.aio.Channel, company: str, traceparent: str, descriptors: int = 1) -> int:
    asked = rls_pb2.RateLimitRequest(domain="domain")
    for number in range(descriptors):
        asked.descriptors.add().entries.add(key="company", value=f"{company} {number}")
    call: Any = channel.unary_unary(SHOULD_RATE_LIMIT)
    answer = await call(asked.SerializeToString(), timeout=30, metadata=[("traceparent", traceparent)])
    return rls_pb2.RateLimitResponse.FromString(answer).overall_code


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def traces_of(span: ReadableSpan) -> set[int]:
    return {link.context.trace_id for link in span.links}


async def test_checks_are_spans_of_their_callers_and_batches_name_them(channel, exporter):
    asked = [check(channel, f"one {traceparent}", traceparent) for traceparent in CALLERS]
    assert await asyncio.gather(*asked) == [rls_pb2.RateLimitResponse.OK] * 2
    checks = named(exporter, "check")
    assert {(span.parent.trace_id, span.parent.span_id) for span in checks if span.parent} == {(10, 10), (11, 11)}
    batches = named(exporter, "batch")
    assert set().union(*map(traces_of, batches)) == {10, 11}
    for batch in batches:
        assert batch.attributes is not None
        assert batch.attributes["rules"] == ("domain|company",)
        assert [link.context.trace_flags for link in batch.links] == [TraceFlags.SAMPLED] * len(batch.links)


async def test_request_of_many_descriptors_is_one_span_and_many_batches(channel, exporter):
    assert await check(channel, "many", CALLERS[0], descriptors=130) == rls_pb2.RateLimitResponse.OK
    (span,) = named(exporter, "check")
    assert span.parent is not None
    assert span.parent.trace_id == 10
    await until(lambda: len(named(exporter, "batch")) == 3)
    for batch in named(exporter, "batch"):
        assert traces_of(batch) == {10}


async def test_caller_without_a_trace_gets_one_of_its_own(channel, exporter):
    assert await check(channel, "none", "not a traceparent") == rls_pb2.RateLimitResponse.OK
    (span,) = named(exporter, "check")
    assert span.parent is None
    context = span.get_span_context()
    assert context is not None
    assert context.is_valid
