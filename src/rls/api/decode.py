"""RateLimitRequest, as bytes → Request.

Whatever a client of the mesh can choose is taken: bytes that are not UTF-8, long values, many entries and descriptors, any
addend. A request that got an error would pass Envoy, and all of its descriptors with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from rls.core.model import MAX_WINDOW_SECONDS, Descriptor, Entry, RateLimit, Request, Unit
from rls.errors import RequestError
from rls.proto import ratelimit_pb2, raw_pb2, rls_pb2

SLICE = 64
"""Descriptors that are judged in one turn of the loop."""

Message: TypeAlias = rls_pb2.RateLimitRequest | raw_pb2.RateLimitRequest
_UNITS = {int(unit): unit for unit in Unit}
_KNOWN = ", ".join(f"{unit.value} ({unit.name})" for unit in Unit)

Ignored: TypeAlias = Callable[[str], None]
"""Is given a sentence on each part of a request that is passed over."""


def _silent(_: str) -> None:
    pass


def parse(message: bytes) -> Message:
    """Parse *message*; its descriptors are read by `read` or `slices`.

    Raises:
        RequestError: It is not a RateLimitRequest, or asks for nothing.
    """
    parsed: Message
    try:
        parsed = rls_pb2.RateLimitRequest.FromString(message)
    except DecodeError:
        try:
            parsed = raw_pb2.RateLimitRequest.FromString(message)
        except DecodeError as error:
            raise RequestError("the message is not a RateLimitRequest") from error
    if not parsed.domain:
        raise RequestError("rate limit domain must not be empty")
    if not parsed.descriptors:
        raise RequestError("rate limit descriptor list must not be empty")
    return parsed


def read(parsed: Message, ignored: Ignored = _silent) -> Request:
    """The request that was *parsed*.

    Bytes that are not UTF-8 become lone surrogates (PEP 383), so different bytes stay different texts.

    A limit that a descriptor brings is ignored where no server can enforce it: its unit is unknown, or its window is
    empty or longer than a century. The rules then decide about this descriptor, and *ignored* gets the reason. An error would let
    all descriptors of the request pass Envoy.
    """
    return _request(parsed, parsed.descriptors, 0, ignored)


def slices(parsed: Message, ignored: Ignored = _silent) -> Iterator[Request]:
    """The request that was *parsed*, in requests of at most `SLICE` descriptors; otherwise as `read`."""
    for start in range(0, len(parsed.descriptors), SLICE):
        yield _request(parsed, parsed.descriptors[start : start + SLICE], start, ignored)


def _request(
    parsed: Message,
    sent: Iterable[Any],
    first: int,
    ignored: Ignored,
) -> Request:
    """The request of the descriptors *sent*, of which the first has the number *first*."""
    descriptors = []
    for i, descriptor in enumerate(sent, first):
        entries = []
        for entry in descriptor.entries:
            entries.append(Entry(entry.key, entry.value))  # noqa: PERF401 - a comprehension costs a call
        limit = _override(i, descriptor.limit, ignored) if descriptor.HasField("limit") else None
        addend = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else None
        descriptors.append(Descriptor(tuple(entries), limit, addend, descriptor.is_negative_hits))
    domain = parsed.domain
    if isinstance(domain, bytes):
        domain, descriptors = _text(domain), list(map(_with_text, descriptors))
    return Request(domain, tuple(descriptors), parsed.hits_addend)


def _with_text(descriptor: Descriptor) -> Descriptor:
    """*descriptor*, whose entries hold bytes."""
    entries = tuple(Entry(_text(key), _text(value)) for key, value in descriptor.entries)  # type: ignore[arg-type]
    return descriptor._replace(entries=entries)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _override(
    number: int, limit: ratelimit_pb2.RateLimitDescriptor.RateLimitOverride, ignored: Ignored
) -> RateLimit | None:
    """The *limit* that the descriptor of this *number* brings; None where it cannot be enforced."""
    unit = _UNITS.get(limit.unit)
    if unit is None:
        ignored(f"descriptors[{number}].limit.unit is {limit.unit}: expected one of {_KNOWN}")
        return None
    multiplier = limit.unit_multiplier.value if limit.HasField("unit_multiplier") else 1
    longest = MAX_WINDOW_SECONDS // unit.seconds
    if not 1 <= multiplier <= longest:
        ignored(f"descriptors[{number}].limit.unit_multiplier is {multiplier}: expected 1 to {longest}")
        return None
    return RateLimit(limit.requests_per_unit, unit, multiplier)
