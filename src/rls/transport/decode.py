"""RateLimitRequest, as bytes → Request."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from rls._pb import ratelimit_pb2, rls_pb2
from rls.core.model import LONGEST_WINDOW_SECONDS, UINT32_MAX, Descriptor, Entry, RateLimit, Request, Unit
from rls.errors import RequestError

_UNITS = {int(unit): unit for unit in Unit}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a request may ask for; what is over is refused with INVALID_ARGUMENT.

    A refused request is one that Envoy lets pass unless `failure_mode_deny` is set, so a bound must lie above what a
    client of the mesh can make Envoy send: 60 KiB of headers by Envoy's default, in each descriptor.

    Attributes:
        descriptors: Descriptors of a request.
        entries: Entries of a descriptor.
        value_bytes: Bytes of a domain, key or value.
    """

    descriptors: int = 100
    entries: int = 32
    value_bytes: int = 65_536


def decode(message: bytes, bounds: Bounds) -> Request:
    """Parse *message*.

    Raises:
        RequestError: It is not a RateLimitRequest, asks for nothing, or for more than *bounds*.
    """
    try:
        request = rls_pb2.RateLimitRequest.FromString(message)
    except DecodeError as error:
        raise RequestError("the message is not a RateLimitRequest") from error
    if not request.domain:
        raise RequestError("rate limit domain must not be empty")
    _bounded("domain", request.domain, bounds)
    if not request.descriptors:
        raise RequestError("rate limit descriptor list must not be empty")
    if len(request.descriptors) > bounds.descriptors:
        raise RequestError(f"{len(request.descriptors)} descriptors: at most {bounds.descriptors} are allowed")
    descriptors = []
    for i, descriptor in enumerate(request.descriptors):
        if len(descriptor.entries) > bounds.entries:
            raise RequestError(
                f"descriptors[{i}]: {len(descriptor.entries)} entries: at most {bounds.entries} are allowed"
            )
        entries = []
        for entry in descriptor.entries:
            entries.append(Entry(entry.key, entry.value))  # noqa: PERF401 - a comprehension costs a call
        if len(message) > bounds.value_bytes:  # else no part of it can be too long
            for j, (key, value) in enumerate(entries):
                _bounded(f"descriptors[{i}].entries[{j}].key", key, bounds)
                _bounded(f"descriptors[{i}].entries[{j}].value", value, bounds)
        limit = _override(f"descriptors[{i}].limit", descriptor.limit) if descriptor.HasField("limit") else None
        addend = _addend(f"descriptors[{i}].hits_addend", descriptor) if descriptor.HasField("hits_addend") else None
        descriptors.append(Descriptor(tuple(entries), limit, addend, descriptor.is_negative_hits))
    return Request(request.domain, tuple(descriptors), request.hits_addend)


def _addend(place: str, descriptor: ratelimit_pb2.RateLimitDescriptor) -> int:
    addend = descriptor.hits_addend.value
    if addend > UINT32_MAX:
        raise RequestError(f"{place} is {addend}: at most {UINT32_MAX} is allowed")
    return addend


def _override(place: str, limit: ratelimit_pb2.RateLimitDescriptor.RateLimitOverride) -> RateLimit:
    unit = _UNITS.get(limit.unit)
    if unit is None:
        known = ", ".join(f"{unit.value} ({unit.name})" for unit in Unit)
        raise RequestError(f"{place}.unit is {limit.unit}: expected one of {known}")
    multiplier = limit.unit_multiplier.value if limit.HasField("unit_multiplier") else 1
    override = RateLimit(limit.requests_per_unit, unit, multiplier)
    if not multiplier or override.window_seconds > LONGEST_WINDOW_SECONDS:
        raise RequestError(
            f"{place}.unit_multiplier is {multiplier}: expected 1 to {LONGEST_WINDOW_SECONDS // unit.seconds}"
        )
    return override


def _bounded(place: str, text: str, bounds: Bounds) -> None:
    # A character takes up to four bytes: only what may be too long has to be measured.
    if len(text) * 4 > bounds.value_bytes and len(text.encode()) > bounds.value_bytes:
        raise RequestError(f"{place} has {len(text.encode())} bytes: at most {bounds.value_bytes} are allowed")
