"""Traces of a whole server, as a collector gets them: over gRPC and HTTP, from both transports."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from examples.mesh.processes import free_port, wait_for
from rls.api.service import SHOULD_RATE_LIMIT
from rls.observe.spans import ATTRIBUTES, CHECK, DECIDE, PLAN, QUEUE, STATUS, WRITE
from rls.proto import rls_pb2
from tests.otlp import Received, attributes, grpc_receiver, http_receiver
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: year, requests_per_unit: 2}
  - key: shadowed
    shadow_mode: true
    rate_limit: {unit: year, requests_per_unit: 0}
  - key: strict
    rate_limit: {unit: year, requests_per_unit: 2}
    on_backend_error: error
"""
STEPS = [PLAN, QUEUE, WRITE, DECIDE]


@pytest.fixture(scope="module")
def redis(tmp_path_factory) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path_factory.mktemp("redis"), redis_binary())) as server:
        yield server


@pytest.fixture(params=[grpc_receiver, http_receiver], ids=["grpc", "http"])
def received(request) -> Iterator[Received]:
    with request.param() as received:
        yield received


@pytest.fixture
def collector() -> Iterator[Received]:
    with grpc_receiver() as received:
        yield received


_numbers = itertools.count()


class Served:
    """A server, and a channel to it."""

    def __init__(self, process: RlsProcess, channel: grpc.Channel) -> None:
        self.process = process
        self._call: Any = channel.unary_unary(SHOULD_RATE_LIMIT)

    def check(self, metadata: dict[str, str], *entries: tuple[str, str], timeout: float = 20) -> Any:
        """The overall code of a request with a descriptor for each of *entries*; by default of a company that is new."""
        asked = rls_pb2.RateLimitRequest(domain="mesh")
        for key, value in entries or (("company_id", f"company {next(_numbers)}"),):
            asked.descriptors.add().entries.add(key=key, value=value)
        answer = self._call(asked.SerializeToString(), timeout=timeout, metadata=list(metadata.items()))
        return rls_pb2.RateLimitResponse.FromString(answer).overall_code


@contextmanager
def serving(folder: Path, backend: str, env: dict[str, str], *options: str) -> Iterator[Served]:
    options = ("--backend", backend, "--backend-timeout", "10s", *options)
    process = RlsProcess(folder, *options, rules=RULES, env=env)
    try:
        with grpc.insecure_channel(process.addresses["grpc"]) as channel:
            yield Served(process, channel)
    finally:
        process.kill()


def parent_of(span: Span) -> str:
    return span.parent_span_id.hex()


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_the_callers_trace_goes_on_to_the_write(tmp_path, redis, received, transport) -> None:
    variables = {"OTEL_EXPORTER_OTLP_HEADERS": "x-token=secret", "OTEL_RESOURCE_ATTRIBUTES": "team=limits"}
    with serving(tmp_path, redis.url, received.variables | variables, "--transport", transport) as served:
        company = f"company {next(_numbers)}"
        assert served.check(SAMPLED, ("company_id", company), ("unknown", "x")) == rls_pb2.RateLimitResponse.OK
        spans = received.wait_for(CHECK, *STEPS, "INCRBY")
    check, write = spans[CHECK], spans[WRITE]
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert parent_of(check) == PARENT
    assert check.kind == Span.SPAN_KIND_SERVER
    assert {parent_of(spans[name]) for name in STEPS} == {check.span_id.hex()}
    assert parent_of(spans["INCRBY"]) == write.span_id.hex()
    assert spans["INCRBY"].kind == Span.SPAN_KIND_CLIENT
    assert not spans["INCRBY"].links
    times = [time for name in STEPS for time in (spans[name].start_time_unix_nano, spans[name].end_time_unix_nano)]
    assert times == sorted(times)
    assert times[-1] <= check.end_time_unix_nano
    assert received.headers[0]["x-token"] == "secret"
    resource = received.resource()
    assert (resource["service.name"], resource["team"]) == ("rls", "limits")
    assert_attributes(served, redis, spans, company, has_authority=transport == "native")


def assert_attributes(
    served: Served, redis: RedisServer, spans: dict[str, Span], company: str, *, has_authority: bool
) -> None:
    place = f"{served.process.rules}:3"
    rule = {"rls.rule": "company_id", "rls.rule.name": "company", "rls.rule.place": place, "rls.outcome": "ok"}
    check = attributes(spans[CHECK].attributes)
    host, _, port = served.process.addresses["grpc"].rpartition(":")
    if has_authority:
        assert (check.pop("server.address"), check.pop("server.port")) == (host, int(port))
    assert check.pop("network.peer.port") > 0
    assert len(check.pop("rls.revision")) == 12
    assert check == rule | {
        "rpc.system.name": "grpc",
        "rpc.method": CHECK,
        "rpc.response.status_code": "OK",
        "network.peer.address": "127.0.0.1",
        "rls.domain": "mesh",
        "rls.descriptors": 2,
        "rls.code": "OK",
        "rls.answered_by": "redis",
    }
    first, second = spans[DECIDE].events
    assert first.name == second.name == STATUS
    counted = {"rls.limit": 2, "rls.limit.seconds": 31_536_000, "rls.hits": 1, "rls.count": 1}
    assert attributes(first.attributes) == rule | counted | {"rls.descriptor": [f"company_id={company}"]}
    assert attributes(second.attributes) == {"rls.outcome": "no_rule", "rls.descriptor": ["unknown=x"]}
    assert attributes(spans["INCRBY"].attributes) == {
        "db.system.name": "redis",
        "db.operation.name": "INCRBY",
        "server.address": "127.0.0.1",
        "server.port": redis.port,
        "rls.calls": 1,
        "rls.rules": ["mesh|company_id"],
    }


def test_each_way_to_an_answer_is_named(tmp_path, redis, collector) -> None:
    with serving(tmp_path, redis.url, collector.variables) as served:
        for _ in range(4):
            served.check(SAMPLED, ("company_id", "ways"))
        served.check(SAMPLED, ("shadowed", "ways"))
        served.check(SAMPLED, ("unknown", "ways"))
        collector.wait_for(CHECK, times=6)
    found = [attributes(span.attributes) for span in collector.spans if span.name == CHECK]
    said = [(about.get("rls.answered_by"), about["rls.code"], about["rls.outcome"]) for about in found]
    assert said == [
        ("redis", "OK", "ok"),
        ("redis", "OK", "near_limit"),
        ("redis", "OVER_LIMIT", "over_limit"),
        ("cache", "OVER_LIMIT", "over_limit"),
        ("redis", "OK", "shadow"),
        (None, "OK", "no_rule"),
    ]


def test_memory_answers_at_once(tmp_path, collector) -> None:
    with serving(tmp_path, "memory://", collector.variables) as served:
        served.check(SAMPLED)
        spans = collector.wait_for(CHECK, DECIDE)
    assert attributes(spans[CHECK].attributes)["rls.answered_by"] == "memory"
    assert spans.keys() == {CHECK, PLAN, DECIDE}


def test_a_policy_is_named_and_an_error_fails_the_span(tmp_path, collector) -> None:
    nobody = f"redis://127.0.0.1:{free_port()}"
    with serving(tmp_path, nobody, collector.variables, "--backend-timeout", "50ms") as served:
        served.check(SAMPLED, ("company_id", "acme"))
        with pytest.raises(grpc.RpcError):
            served.check(SAMPLED, ("strict", "acme"))
        collector.wait_for(CHECK, times=2)
    local, failed = [span for span in collector.spans if span.name == CHECK]
    about = attributes(local.attributes)
    assert (about["rls.answered_by"], about["rls.policy"]) == ("policy", "local")
    assert local.status.code == Status.STATUS_CODE_UNSET
    about = attributes(failed.attributes)
    assert about["rpc.response.status_code"] == about["error.type"] == "UNAVAILABLE"
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert "Redis" in failed.status.message


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_every_form_of_trace_context_goes_on(tmp_path, collector, transport) -> None:
    forms = [
        {"b3": f"{TRACE}-{PARENT}-1"},
        {"x-b3-traceid": TRACE, "x-b3-spanid": PARENT, "x-b3-sampled": "1"},
        {**SAMPLED, "tracestate": "vendor=opaque"},
    ]
    with serving(tmp_path, "memory://", collector.variables, "--transport", transport) as served:
        for form in forms:
            served.check(form)
        collector.wait_for(CHECK, times=3)
    checks = [span for span in collector.spans if span.name == CHECK]
    assert {(check.trace_id.hex(), parent_of(check)) for check in checks} == {(TRACE, PARENT)}
    assert [check.trace_state for check in checks] == ["", "", "vendor=opaque"]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_only_sampled_calls_are_recorded(tmp_path, redis, collector, transport) -> None:
    with serving(tmp_path, redis.url, collector.variables, "--transport", transport) as served:
        for metadata in (UNSAMPLED, {}, {"traceparent": "nonsense"}, {"x-b3-sampled": "1"}):
            served.check(metadata)
        last = {"traceparent": f"00-{'1' * 32}-{PARENT}-01"}
        served.check(last)
        collector.wait_for(CHECK)
    assert {span.trace_id.hex() for span in collector.spans} == {"1" * 32}


def test_a_sampler_may_begin_traces(tmp_path, redis, collector) -> None:
    variables = {**collector.variables, "OTEL_TRACES_SAMPLER": "parentbased_always_on"}
    with serving(tmp_path, redis.url, variables) as served:
        served.check(UNSAMPLED)
        served.check({})
        spans = collector.wait_for(CHECK, *STEPS)
    assert [span.name for span in collector.spans].count(CHECK) == 1
    assert parent_of(spans[CHECK]) == ""
    assert spans[CHECK].trace_id.hex() != TRACE
    assert {span.trace_id for span in spans.values()} == {spans[CHECK].trace_id}


def test_a_write_of_many_calls_is_one_span_with_links_to_all(tmp_path, redis, collector) -> None:
    callers = [{"traceparent": f"00-{number:032x}-{PARENT}-01"} for number in range(1, 101)]
    with serving(tmp_path, redis.url, collector.variables) as served:
        with ThreadPoolExecutor(50) as pool:
            list(pool.map(lambda caller: served.check(caller, ("company_id", caller["traceparent"])), callers))
        collector.wait_for(CHECK, WRITE, DECIDE, times=100)
    writes = {span.span_id: span for span in collector.spans if span.name == WRITE}
    batches = [span for span in collector.spans if span.name in ("INCRBY", "PIPELINE")]
    linked = [
        span_id for batch in batches for span_id in (batch.parent_span_id, *(link.span_id for link in batch.links))
    ]
    assert sorted(linked) == sorted(writes)
    assert sum(attributes(batch.attributes)["rls.calls"] for batch in batches) == 100
    for batch in batches:
        first, *others = (
            writes[span_id] for span_id in (batch.parent_span_id, *(link.span_id for link in batch.links))
        )
        assert batch.trace_id == first.trace_id
        assert not first.links
        assert [[link.span_id for link in other.links] for other in others] == [[batch.span_id]] * len(others)


def test_a_request_of_many_descriptors_is_one_span_with_a_write_for_each_slice(tmp_path, redis, collector) -> None:
    with serving(tmp_path, redis.url, collector.variables) as served:
        served.check(SAMPLED, *(("company_id", f"slice {number}") for number in range(130)))
        collector.wait_for(CHECK, DECIDE)
    names = [span.name for span in collector.spans]
    assert [names.count(name) for name in (CHECK, PLAN, QUEUE, WRITE, DECIDE)] == [1, 1, 1, 3, 1]


def test_spans_that_wait_are_exported_at_the_end(tmp_path, collector) -> None:
    variables = {**collector.variables, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with serving(tmp_path, "memory://", variables) as served:
        served.check(SAMPLED)
        served.process.send(signal.SIGTERM)
        assert served.process.wait() == 0
    assert [span.name for span in collector.spans].count(CHECK) == 1


def test_a_collector_that_refuses_or_is_gone_stops_nothing(tmp_path, collector) -> None:
    collector.refusing = True
    with serving(tmp_path, "memory://", collector.variables) as served:
        served.check(SAMPLED)
        dropped = wait_for(lambda: served.process.metric("rls_spans_dropped_total", reason="export_failed"), "drops")
        assert dropped == 3
        assert "spans_lost" in served.process.output()
        collector.refusing = False
        served.check(SAMPLED)
        wait_for(lambda: served.process.metric("rls_spans_exported_total") == 3, "exported")


def test_an_exporter_that_does_not_exist_is_named_in_the_log(tmp_path) -> None:
    with serving(tmp_path, "memory://", {"OTEL_TRACES_EXPORTER": "abacus"}) as served:
        process = served.process
        process.wait_until(lambda: "spans_lost" in process.output(), "the reason is logged")
        assert "abacus" in process.output()
        assert served.check(SAMPLED) == rls_pb2.RateLimitResponse.OK


def test_the_console_exporter_prints_to_the_log(tmp_path) -> None:
    variables = {"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "20"}
    with serving(tmp_path, "memory://", variables) as served:
        served.check(SAMPLED)
        process = served.process
        process.wait_until(lambda: f'"trace_id": "0x{TRACE}"' in process.output(), "the span is printed")


def test_every_attribute_that_was_seen_is_listed(tmp_path, redis, collector) -> None:
    with serving(tmp_path, redis.url, collector.variables) as served:
        served.check(SAMPLED, ("company_id", "listed"), ("company_id", "listed too"))
        collector.wait_for(CHECK, DECIDE, "PIPELINE")
    seen = {name for span in collector.spans for name in attributes(span.attributes)}
    seen |= {name for span in collector.spans for event in span.events for name in attributes(event.attributes)}
    assert "db.operation.batch.size" in seen
    assert seen <= ATTRIBUTES.keys()


def test_without_variables_nothing_of_opentelemetry_is_loaded(tmp_path) -> None:
    with serving(tmp_path, "memory://", {}) as served:
        served.check(SAMPLED)
        maps = Path(f"/proc/{served.process.pid}/maps").read_text()
        children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text()
    assert "opentelemetry" not in maps
    assert children == ""


def test_what_the_exporter_cannot_use_is_said_at_the_start_and_the_default_is_used(tmp_path, collector) -> None:
    wrong = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "5s",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "some",
    }
    with serving(tmp_path, "memory://", collector.variables | wrong) as served:
        said = [line for line in served.process.output().splitlines() if "tracing_setting_ignored" in line]
        assert served.check(SAMPLED) == rls_pb2.RateLimitResponse.OK
        collector.wait_for(CHECK)
    assert {name for name in wrong if any(name in line for line in said)} == wrong.keys()
