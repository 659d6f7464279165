"""Our messages are Envoy's: an independent codec, generated from Envoy's own protos, reads and writes the same bytes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import HeaderValue
from envoy_data_plane.envoy.extensions.common.ratelimit import v3 as common
from envoy_data_plane.envoy.service.ratelimit import v3 as envoy
from envoy_data_plane.envoy.type.v3 import RateLimitUnit
from envoy_data_plane.google import protobuf
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import UInt32Value, UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from rls.proto import base_pb2, health_pb2, ratelimit_pb2, ratelimit_unit_pb2, rls_pb2


def _struct(key: str, value: str) -> Struct:
    struct = Struct()
    struct[key] = value
    return struct


OURS = SimpleNamespace(
    Request=rls_pb2.RateLimitRequest,
    Descriptor=ratelimit_pb2.RateLimitDescriptor,
    Entry=ratelimit_pb2.RateLimitDescriptor.Entry,
    Override=ratelimit_pb2.RateLimitDescriptor.RateLimitOverride,
    Response=rls_pb2.RateLimitResponse,
    Status=rls_pb2.RateLimitResponse.DescriptorStatus,
    Limit=rls_pb2.RateLimitResponse.RateLimit,
    Quota=rls_pb2.RateLimitResponse.Quota,
    Header=base_pb2.HeaderValue,
    unit=int,
    limit_unit=int,
    code=int,
    addend=lambda value: UInt64Value(value=value),
    duration=lambda seconds: Duration(seconds=seconds),
    time=lambda seconds: Timestamp(seconds=seconds),
    struct=_struct,
    read=lambda kind, data: kind.FromString(data),
)
THEIRS = SimpleNamespace(
    Request=envoy.RateLimitRequest,
    Descriptor=common.RateLimitDescriptor,
    Entry=common.RateLimitDescriptorEntry,
    Override=common.RateLimitDescriptorRateLimitOverride,
    Response=envoy.RateLimitResponse,
    Status=envoy.RateLimitResponseDescriptorStatus,
    Limit=envoy.RateLimitResponseRateLimit,
    Quota=envoy.RateLimitResponseQuota,
    Header=HeaderValue,
    unit=RateLimitUnit,
    limit_unit=envoy.RateLimitResponseRateLimitUnit,
    code=envoy.RateLimitResponseCode,
    addend=int,
    duration=lambda seconds: dt.timedelta(seconds=seconds),
    time=lambda seconds: dt.datetime.fromtimestamp(seconds, dt.UTC),
    struct=lambda key, value: protobuf.Struct(fields={key: protobuf.Value(string_value=value)}),
    read=lambda kind, data: kind.parse(data),
)


# A message is drawn as a function that builds it from either codec's classes.
Builder = Callable[[SimpleNamespace], Any]
TEXT = st.text(max_size=20)
UINT32 = st.integers(0, 2**32 - 1)
UINT64 = st.integers(0, 2**64 - 1)
SECONDS = st.integers(0, 10**9)


def made(kind: str, /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Builder]:
    """Messages with some of *fields*; each is a value, or a function that builds one."""
    optional = {field: st.none() | strategy for field, strategy in fields.items()}
    return st.fixed_dictionaries(optional).map(
        lambda drawn: (
            lambda kit: getattr(kit, kind)(
                **{field: _built(value, kit) for field, value in drawn.items() if value is not None}
            )
        )
    )


def _built(value: Any, kit: SimpleNamespace) -> Any:
    if isinstance(value, list):
        return [_built(item, kit) for item in value]
    return value(kit) if callable(value) else value


def by(name: str, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Builder]:
    """Values that the codecs spell differently."""
    return strategy.map(lambda value: lambda kit: getattr(kit, name)(value))


OVERRIDES = made("Override", requests_per_unit=UINT32, unit=by("unit", st.integers(0, 6)))
DESCRIPTORS = made(
    "Descriptor",
    entries=st.lists(made("Entry", key=TEXT, value=TEXT), max_size=4),
    limit=OVERRIDES,
    hits_addend=by("addend", UINT64),
    is_negative_hits=st.booleans(),
)
REQUESTS = made("Request", domain=TEXT, descriptors=st.lists(DESCRIPTORS, max_size=4), hits_addend=UINT32)
LIMIT_UNITS = by("limit_unit", st.integers(0, 7))
LIMITS = made("Limit", requests_per_unit=UINT32, unit=LIMIT_UNITS)
NAMED_LIMITS = made("Limit", name=TEXT, requests_per_unit=UINT32, unit=LIMIT_UNITS)
QUOTAS = made("Quota", requests=UINT32, valid_until=by("time", SECONDS), id=TEXT)
STATUSES = made(
    "Status",
    code=by("code", st.integers(0, 2)),
    current_limit=LIMITS,
    limit_remaining=UINT32,
    duration_until_reset=by("duration", SECONDS),
    quota=QUOTAS,
)
HEADERS = st.lists(made("Header", key=TEXT, value=TEXT, raw_value=st.binary(max_size=20)), max_size=3)
RESPONSES = made(
    "Response",
    overall_code=by("code", st.integers(0, 2)),
    statuses=st.lists(STATUSES, max_size=4),
    response_headers_to_add=HEADERS,
    request_headers_to_add=HEADERS,
    raw_body=st.binary(max_size=50),
    dynamic_metadata=st.tuples(TEXT, TEXT).map(lambda pair: lambda kit: kit.struct(*pair)),
    quota=QUOTAS,
)


@given(REQUESTS | RESPONSES)
def test_codecs_write_the_same_bytes_and_read_each_others(build):
    ours, theirs = build(OURS), build(THEIRS)
    assert ours.SerializeToString() == bytes(theirs)
    assert_read_alike(ours, theirs)


@given(NAMED_LIMITS)
def test_codecs_read_each_others_limits_with_a_name(build):
    """The independent one writes the name first, where Envoy's proto has it, though its number is 3."""
    assert_read_alike(build(OURS), build(THEIRS))


def assert_read_alike(ours: Any, theirs: Any) -> None:
    assert OURS.read(type(ours), bytes(theirs)) == ours
    assert THEIRS.read(type(theirs), ours.SerializeToString()) == theirs


# Newer than the independent codec: Envoy 1.40's field numbers, by hand.
def test_multiplier_of_an_override_is_field_3():
    override = ratelimit_pb2.RateLimitDescriptor.RateLimitOverride(
        requests_per_unit=10, unit=ratelimit_unit_pb2.MINUTE, unit_multiplier=UInt32Value(value=5)
    )
    assert override.SerializeToString() == bytes.fromhex("080a 1002 1a02 0805")


def test_multiplier_of_a_limit_is_field_4():
    limit = rls_pb2.RateLimitResponse.RateLimit(
        requests_per_unit=10, unit=rls_pb2.RateLimitResponse.RateLimit.WEEK, unit_multiplier=UInt32Value(value=300)
    )
    assert limit.SerializeToString() == bytes.fromhex("080a 1007 2203 08ac02")


def test_health_is_that_of_grpc():
    assert health_pb2.HealthCheckRequest(service="ratelimit").SerializeToString() == b"\x0a\x09ratelimit"
    assert (
        health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString() == b"\x08\1"
    )


def test_services_and_messages_have_the_names_that_tools_know():
    names = {rls_pb2.DESCRIPTOR.package, *rls_pb2.DESCRIPTOR.services_by_name, health_pb2.DESCRIPTOR.package}
    assert names == {"envoy.service.ratelimit.v3", "RateLimitService", "grpc.health.v1"}
    assert ratelimit_pb2.RateLimitDescriptor.DESCRIPTOR.full_name == (
        "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor"
    )
    assert base_pb2.HeaderValue.DESCRIPTOR.full_name == "envoy.config.core.v3.HeaderValue"
