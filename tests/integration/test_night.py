"""The night test, part (a): one of 5,000 tenants sends half of the traffic and is refused. What does the server say of it?

It must name the tenant, the rule, where the rule stands, and since when, from its JSON alone.
"""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from random import Random

import grpc
import pytest

from rls.api.service import SHOULD_RATE_LIMIT
from rls.proto.rls_pb2 import RateLimitRequest, RateLimitResponse
from tests.redis_server import RedisServer, newest_binary, running
from tests.rls_process import RlsProcess

TENANTS, LIMIT = 5_000, 1_000
HAMMER = "tenant-00042"
RULES = f"""\
domain: mesh
descriptors:
  - key: plan
    value: free
    rate_limit: {{unit: year, requests_per_unit: 1000000}}
  - key: company_id
    rate_limit: {{name: per company, unit: year, requests_per_unit: {LIMIT}}}
"""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
AT_ONCE = 250


@pytest.fixture(params=["memory", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RlsProcess]:
    """A patient one: what is answered may not depend on how busy the machine is."""
    options = ["--backend-timeout", "60s", "--default-deadline", "120s", "--max-concurrency", "0"]
    with ExitStack() as stack:
        if request.param == "redis":
            redis = stack.enter_context(running(RedisServer(tmp_path, newest_binary())))
            options += ["--backend", redis.url]
        served = RlsProcess(tmp_path, *options, rules=RULES)
        stack.callback(served.kill)
        yield served


def make_traffic(server: RlsProcess) -> int:
    """One request of each tenant, and as many of one; returns how many were refused."""
    tenants = [f"tenant-{number:05}" for number in range(TENANTS)]
    traffic = tenants + [HAMMER] * TENANTS
    Random(1).shuffle(traffic)
    refused = 0
    with grpc.insecure_channel(server.addresses["grpc"]) as channel:
        check = channel.unary_unary(
            SHOULD_RATE_LIMIT,
            request_serializer=RateLimitRequest.SerializeToString,
            response_deserializer=RateLimitResponse.FromString,
        )
        for first in range(0, len(traffic), AT_ONCE):
            answers = [
                check.future(
                    RateLimitRequest(
                        domain="mesh", descriptors=[{"entries": [{"key": "company_id", "value": tenant}]}]
                    ),
                    timeout=60,
                    metadata=(("traceparent", f"00-{TRACE}-00f067aa0ba902b7-00"),),
                )
                for tenant in traffic[first : first + AT_ONCE]
            ]
            refused += sum(answer.result().overall_code == RateLimitResponse.OVER_LIMIT for answer in answers)
    return refused


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_the_json_names_the_tenant_the_rule_its_place_and_since_when(server, request) -> None:
    began = time.time()
    refused = make_traffic(server)
    ended = time.time()
    assert refused == TENANTS + 1 - LIMIT

    rule = {"domain": "mesh", "rule": "company_id", "name": "per company", "place": f"{server.rules}:6"}
    who = [{"key": "company_id", "value": HAMMER}]

    [row] = server.get("/api/v1/top", "admin").json()["rows"]
    assert {name: row[name] for name in rule} == rule
    assert (row["entries"], row["count"], row["error"], row["share_of_rule"]) == (who, refused, 0, 1.0)
    assert (row["limit"], row["left_out"]) == (f"{LIMIT}/year", 0)
    assert began - 1 < seconds(row["over_since"]) < ended + 1

    first, *_ = server.get("/api/v1/top?by=hits&window=start", "admin").json()["rows"]
    assert first["entries"] == who
    assert first["share_of_rule"] > 0.4

    refusals = server.get("/api/v1/refusals?limit=1000", "admin").json()["refusals"]
    answered_by = {"memory": {"memory"}, "redis": {"redis", "cache"}}[request.node.callspec.params["server"]]
    for refusal in refusals:
        assert {name: refusal[name] for name in rule} == rule
        assert refusal["entries"] == who
        assert refusal["trace_id"] == TRACE
        assert refusal["answered_by"] in answered_by
        assert refusal["count"] > refusal["requests_per_window"] == LIMIT
    assert len(refusals) > 100
    stand_for = [refusal["stands_for"] for refusal in refusals]
    # Each stands for N, though the gap to the next one is random: N on average, with a standard deviation below 0.6 N.
    # The last one of a second may stand for some that did not come.
    deviation = 0.6 * max(stand_for) * math.sqrt(len(stand_for))
    assert sum(stand_for) < refused + 6 * deviation + (ended - began + 2) * max(stand_for)

    [found] = server.get("/api/v1/rules?name=per%20company", "admin").json()["rules"]
    assert found["refused"]["hits"] == refused
    assert began - 1 < seconds(found["refused"]["first"]) < seconds(found["refused"]["last"]) < ended + 1
    assert server.metric("rls_top_refused_ratio", domain="mesh", rule="company_id") == 1
