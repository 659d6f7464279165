"""A streaming service from outside: Envoy's rate limit quota service, with no change in any other file.

Callers report what they use, on a stream each, and are assigned their share of a limit. Whenever a caller comes or goes, all
others are assigned new shares.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.service.rate_limit_quota.v3 import (
    BucketId,
    RateLimitQuotaResponse,
    RateLimitQuotaResponseBucketAction,
    RateLimitQuotaResponseBucketActionQuotaAssignmentAction,
    RateLimitQuotaUsageReports,
    RateLimitQuotaUsageReportsBucketQuotaUsage,
)
from envoy_data_plane.envoy.type.v3 import RateLimitStrategy, RateLimitStrategyRequestsPerTimeUnit

from rls.api.health import CHECK, Health
from rls.api.service import SHOULD_RATE_LIMIT, Service
from rls.app.transports import handlers_of, open_transport
from rls.engine.limiter import Limiter
from rls.proto import rls_pb2
from rls.settings import Settings
from rls.stores.memory import MemoryStore
from rls.transport.base import ServerReports, Transport
from rls.transport.handler import Bidirectional, Handler, StreamingCall
from rls.transport.status import Aborted, StatusCode
from tests.tries import Step, rule, rule_set

STREAM_QUOTAS = "/envoy.service.rate_limit_quota.v3.RateLimitQuotaService/StreamRateLimitQuotas"
LIMIT = 120


class QuotaService:
    """Divides `LIMIT` requests a second among the callers that are connected."""

    def __init__(self) -> None:
        self.used = 0
        self._buckets: dict[StreamingCall, BucketId] = {}

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {STREAM_QUOTAS: Bidirectional(self.stream, max_calls=1_000)}

    async def stream(self, call: StreamingCall) -> None:
        try:
            async for message in call:
                reports = RateLimitQuotaUsageReports.parse(message)
                for usage in reports.bucket_quota_usages:
                    self.used += usage.num_requests_allowed
                    if usage.bucket_id is None:
                        raise Aborted(StatusCode.INVALID_ARGUMENT, "a report without a bucket")
                    if call not in self._buckets:
                        self._buckets[call] = usage.bucket_id
                        await self._assign()
        finally:
            if self._buckets.pop(call, None) is not None:
                await self._assign()

    async def _assign(self) -> None:
        """Tell all callers their shares."""
        for call, bucket in list(self._buckets.items()):
            share = RateLimitStrategyRequestsPerTimeUnit(requests_per_time_unit=LIMIT // len(self._buckets))
            action = RateLimitQuotaResponseBucketActionQuotaAssignmentAction(
                rate_limit_strategy=RateLimitStrategy(requests_per_time_unit=share)
            )
            response = RateLimitQuotaResponse([RateLimitQuotaResponseBucketAction(bucket, action)])
            await call.send(bytes(response))


class Caller:
    """An Envoy that reports."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self._bucket = BucketId({"caller": name})
        multicallable: Any = channel.stream_stream(STREAM_QUOTAS)
        self.call = multicallable(timeout=60)

    async def report(self, allowed: int) -> None:
        usage = RateLimitQuotaUsageReportsBucketQuotaUsage(self._bucket, num_requests_allowed=allowed)
        await self.call.write(bytes(RateLimitQuotaUsageReports("mesh", [usage])))

    async def share(self) -> int:
        """The next that is assigned."""
        response = RateLimitQuotaResponse.parse(await asyncio.wait_for(self.call.read(), 30))
        (action,) = response.bucket_action
        assert action.bucket_id == self._bucket
        assert action.quota_assignment_action is not None
        strategy = action.quota_assignment_action.rate_limit_strategy
        assert strategy is not None
        assert strategy.requests_per_time_unit is not None
        return strategy.requests_per_time_unit.requests_per_time_unit


@pytest.fixture(params=["native", "grpcio"])
def transport(request, tmp_path: Path) -> Transport:
    """As the composition root opens it, with one service more."""
    settings = Settings(config=[str(tmp_path)], grpc="127.0.0.1:0", transport=request.param)
    limiter = Limiter(MemoryStore())
    limiter.load(rule_set({(Step("company"),): rule("company", 1)}))
    health = Health()
    handlers = {**handlers_of(settings, Service(limiter), health), **QuotaService().handlers}
    return open_transport(settings, handlers, ServerReports())


@contextlib.asynccontextmanager
async def served(transport: Transport) -> AsyncIterator[grpc.aio.Channel]:
    await transport.start()
    try:
        async with grpc.aio.insecure_channel(transport.address) as channel:
            yield channel
    finally:
        await transport.aclose()


async def test_callers_are_assigned_their_shares_whenever_one_comes_or_goes(transport):
    async with served(transport) as channel:
        first, second = Caller(channel, "first"), Caller(channel, "second")
        await first.report(0)
        assert await first.share() == LIMIT
        await second.report(0)
        assert [await first.share(), await second.share()] == [LIMIT // 2] * 2
        await second.call.done_writing()
        assert await first.share() == LIMIT
        assert await second.call.code() is grpc.StatusCode.OK
        third = Caller(channel, "third")
        await third.report(0)
        assert [await first.share(), await third.share()] == [LIMIT // 2] * 2
        third.call.cancel()  # as a caller that crashed
        assert await first.share() == LIMIT


async def test_the_other_services_are_served_beside_it(transport):
    async with served(transport) as channel:
        caller = Caller(channel, "first")
        await caller.report(7)
        assert await caller.share() == LIMIT
        request = rls_pb2.RateLimitRequest(domain="domain")
        request.descriptors.add().entries.add(key="company", value="acme")
        check: Any = channel.unary_unary(SHOULD_RATE_LIMIT)
        codes = [
            rls_pb2.RateLimitResponse.FromString(await check(request.SerializeToString(), timeout=30)).overall_code
            for _ in range(2)
        ]
        assert codes == [rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT]
        health: Any = channel.unary_unary(CHECK)
        assert await health(b"", timeout=30)


async def test_report_that_is_wrong_ends_its_stream_only(transport):
    async with served(transport) as channel:
        wrong, sound = Caller(channel, "wrong"), Caller(channel, "sound")
        usage = RateLimitQuotaUsageReportsBucketQuotaUsage(num_requests_allowed=1)
        await wrong.call.write(bytes(RateLimitQuotaUsageReports("mesh", [usage])))
        assert await wrong.call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await wrong.call.details() == "a report without a bucket"
        await sound.report(0)
        assert await sound.share() == LIMIT
