"""Messages of the rate-limit service as a caller has them: requests to bytes, answers to plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.wrappers_pb2 import UInt32Value, UInt64Value

from rls.core.model import Descriptor, RateLimit, Request, Unit, to_bytes
from rls.proto import ratelimit_pb2, raw_pb2, rls_pb2

_UNITS = {int(unit): unit for unit in Unit}


class DescriptorAnswer(NamedTuple):
    """DescriptorStatus; *limit* is None where no limit applied."""

    code: str
    limit: RateLimit | None
    limit_remaining: int
    seconds_until_reset: int


class Answer(NamedTuple):
    """RateLimitResponse, and the *seconds* until it came."""

    code: str
    statuses: Sequence[DescriptorAnswer]
    headers: Sequence[tuple[str, str]]
    metadata: Mapping[str, Any]
    raw_body: bytes
    json: dict[str, Any]
    seconds: float


def message_of(request: Request) -> raw_pb2.RateLimitRequest:
    """*request* as a message, whose texts are bytes: they need not be UTF-8."""
    return raw_pb2.RateLimitRequest(
        domain=to_bytes(request.domain),
        descriptors=[_descriptor(descriptor) for descriptor in request.descriptors],
        hits_addend=request.hits_addend,
    )


def encoded(request: Request) -> bytes:
    """*request* as a caller sends it."""
    return message_of(request).SerializeToString()


def decoded(message: bytes) -> Answer:
    """The answer that *message* is."""
    return answer_of(rls_pb2.RateLimitResponse.FromString(message), 0.0)


def _descriptor(descriptor: Descriptor) -> raw_pb2.RateLimitDescriptor:
    return raw_pb2.RateLimitDescriptor(
        entries=[
            raw_pb2.RateLimitDescriptor.Entry(key=to_bytes(key), value=to_bytes(value))
            for key, value in descriptor.entries
        ],
        limit=None if descriptor.limit is None else _override(descriptor.limit),
        hits_addend=None if descriptor.hits_addend is None else UInt64Value(value=descriptor.hits_addend),
        is_negative_hits=descriptor.is_negative_hits,
    )


def _override(limit: RateLimit) -> ratelimit_pb2.RateLimitDescriptor.RateLimitOverride:
    units = UInt32Value(value=limit.unit_multiplier) if limit.unit_multiplier != 1 else None
    # The message's type has no week, and a caller may send any number.
    unit: Any = int(limit.unit)
    return ratelimit_pb2.RateLimitDescriptor.RateLimitOverride(
        requests_per_unit=limit.requests_per_unit, unit=unit, unit_multiplier=units
    )


def answer_of(response: rls_pb2.RateLimitResponse, seconds: float) -> Answer:
    """*response*, which came after so many *seconds*."""
    statuses = []
    for status in response.statuses:
        limit = None
        if status.HasField("current_limit"):
            current = status.current_limit
            multiplier = current.unit_multiplier.value if current.HasField("unit_multiplier") else 1
            unit = _UNITS.get(current.unit, Unit.SECOND)
            limit = RateLimit(current.requests_per_unit, unit, multiplier, current.name)
        statuses.append(
            DescriptorAnswer(_code(status.code), limit, status.limit_remaining, status.duration_until_reset.seconds)
        )
    return Answer(
        code=_code(response.overall_code),
        statuses=statuses,
        headers=[(header.key, header.value) for header in response.response_headers_to_add],
        metadata=json_format.MessageToDict(response.dynamic_metadata),
        raw_body=response.raw_body,
        json=json_format.MessageToDict(response),
        seconds=seconds,
    )


def _code(code: int) -> str:
    names = rls_pb2.RateLimitResponse.Code
    return names.Name(code) if code in names.values() else str(code)
