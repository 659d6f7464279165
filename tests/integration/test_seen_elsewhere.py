"""What is done to a counter through one server is seen by another one that refuses it from memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from examples.mesh.processes import wait_for
from rls.api.service import SHOULD_RATE_LIMIT
from rls.proto.rls_pb2 import RateLimitRequest, RateLimitResponse
from rls.stores.known_counter import FRESH_SECONDS
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess

LIMIT, RAISED = 5, 1_000
RULES = f"""\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {{unit: year, requests_per_unit: {LIMIT}}}
"""


class Pair:
    """Two servers on one Redis, and how to ask each.

    Attributes:
        asked: Hits so far.
    """

    def __init__(self, redis: RedisServer, servers: list[RlsProcess], channels: list[grpc.Channel]) -> None:
        self.redis = redis
        self.servers = servers
        self.asked = 0
        self._calls = [
            channel.unary_unary(
                SHOULD_RATE_LIMIT,
                request_serializer=RateLimitRequest.SerializeToString,
                response_deserializer=RateLimitResponse.FromString,
            )
            for channel in channels
        ]

    def ask(self, which: int, amount: int = 1, limit: int | None = None) -> bool:
        """Whether a request with *amount* hits passes; *limit* overrides the rule's."""
        self.asked += amount
        asked = {"entries": [{"key": "company_id", "value": "acme"}], "hits_addend": {"value": abs(amount)}}
        if limit is not None:
            asked["limit"] = {"requests_per_unit": limit, "unit": "YEAR"}
        message = RateLimitRequest(domain="mesh", descriptors=[{**asked, "is_negative_hits": amount < 0}])
        answer = self._calls[which](message, timeout=30)
        return bool(answer.overall_code == RateLimitResponse.OK)

    def key(self) -> bytes:
        with self.redis.client() as client:
            (key,) = client.keys("*company_id=acme*")
            return bytes(key)

    def count(self) -> int:
        with self.redis.client() as client:
            return int(client.get(self.key()) or 0)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Patient ones: what passes may not depend on how busy the machine is."""
    with ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(tmp_path, redis_binary())))
        servers, channels = [], []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            options = ("--backend", redis.url, "--backend-timeout", "5s", "--max-concurrency", "0")
            servers.append(RlsProcess(tmp_path / name, *options, rules=RULES, name=name))
            stack.callback(servers[-1].kill)
            channels.append(stack.enter_context(grpc.insecure_channel(servers[-1].addresses["grpc"])))
        yield Pair(redis, servers, channels)


def refund(pair: Pair) -> None:
    pair.ask(0, -1_000_000)


def reset(pair: Pair) -> None:
    with pair.redis.client() as client:
        client.delete(pair.key())


def flush(pair: Pair) -> None:
    with pair.redis.client() as client:
        client.flushall()


def forget_most(pair: Pair) -> None:
    """As a replica does that takes over and has not got everything."""
    with pair.redis.client() as client:
        client.set(pair.key(), 1, keepttl=True)


def expire(pair: Pair) -> None:
    """As a Redis does whose clock was set forward, or one that is full and evicts."""
    with pair.redis.client() as client:
        client.pexpire(pair.key(), 1)


def refuse_from_memory(pair: Pair) -> None:
    while pair.ask(1):
        pass
    server = pair.servers[1]
    answered = server.metric("rls_over_limit_cache_hits_total")
    while server.metric("rls_over_limit_cache_hits_total") < answered + 20:
        assert not pair.ask(1)


@pytest.mark.parametrize("change", [refund, reset, flush, forget_most, expire])
def test_what_was_given_back_or_lost_is_seen_within_a_second(pair: Pair, change: Callable[[Pair], None]) -> None:
    """Under calls without a pause; and no more pass than the limit."""
    refuse_from_memory(pair)
    change(pair)
    changed = began = time.monotonic()
    while not pair.ask(1):
        # Whatever else the machine does: a call that begins later than that is not answered from what was before.
        assert began - changed < FRESH_SECONDS
        began = time.monotonic()
    passed = 1 + sum(pair.ask(1) for _ in range(2 * LIMIT))
    assert passed == LIMIT - (change is forget_most)
    assert not pair.ask(0)


def test_a_raised_limit_is_seen_and_all_was_counted(pair: Pair) -> None:
    """What was refused from memory counts against it, as it would have without the memory."""
    refuse_from_memory(pair)
    for server in pair.servers:
        server.rules.write_text(RULES.replace(f"unit: {LIMIT}}}", f"unit: {RAISED}}}"))
    pair.servers[1].wait_until(lambda: pair.ask(1), "the limit is raised")
    pair.servers[0].wait_until(
        lambda: str(RAISED) in pair.servers[0].get("/rlconfig", "admin").body.decode(), "so here"
    )
    wait_for(lambda: pair.count() == pair.asked, "all calls are counted")
    left = RAISED - pair.asked
    assert sum(pair.ask(number % 2) for number in range(RAISED)) == left


def test_an_override_is_counted_while_the_rule_refuses(pair: Pair) -> None:
    """The memory holds a count, and no verdict: a larger limit of a request's own passes, at once, on the same counter."""
    refuse_from_memory(pair)
    for _ in range(10):
        assert pair.ask(1, limit=1_000_000)
        assert not pair.ask(1)
    wait_for(lambda: pair.count() == pair.asked, "all calls are counted")
