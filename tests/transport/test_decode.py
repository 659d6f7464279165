from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls._pb import rls_pb2
from rls.core.model import LONGEST_WINDOW_SECONDS, UINT32_MAX, Descriptor, Entry, RateLimit, Request, Unit
from rls.errors import RequestError
from rls.transport.decode import Bounds, decode

BOUNDS = Bounds(descriptors=3, entries=3, value_bytes=40)
UNITS = "1 (SECOND), 2 (MINUTE), 3 (HOUR), 4 (DAY), 5 (MONTH), 6 (YEAR), 7 (WEEK)"

texts = st.text(max_size=10)
uint32 = st.integers(0, UINT32_MAX)
lengths = (
    st.tuples(st.sampled_from(Unit), st.just(1))
    | st.tuples(st.just(Unit.YEAR), st.integers(1, 100))
    | st.tuples(st.just(Unit.SECOND), st.integers(1, LONGEST_WINDOW_SECONDS))
)
limits = st.tuples(uint32, lengths).map(lambda limit: RateLimit(limit[0], *limit[1]))
descriptors = st.builds(
    Descriptor,
    st.lists(st.builds(Entry, texts, texts), max_size=3).map(tuple),
    st.none() | limits,
    st.none() | uint32,
    st.booleans(),
)
requests = st.builds(
    Request, st.text(min_size=1, max_size=10), st.lists(descriptors, min_size=1, max_size=3).map(tuple), uint32
)


def encoded(request: Request) -> rls_pb2.RateLimitRequest:
    message = rls_pb2.RateLimitRequest(domain=request.domain, hits_addend=request.hits_addend)
    for descriptor in request.descriptors:
        added = message.descriptors.add(is_negative_hits=descriptor.is_negative_hits)
        for key, value in descriptor.entries:
            added.entries.add(key=key, value=value)
        if descriptor.limit is not None:
            added.limit.requests_per_unit = descriptor.limit.requests_per_unit
            added.limit.unit = int(descriptor.limit.unit)  # type: ignore[assignment]  # a week is no name of this enum
            if descriptor.limit.unit_multiplier > 1:
                added.limit.unit_multiplier.value = descriptor.limit.unit_multiplier
        if descriptor.hits_addend is not None:
            added.hits_addend.value = descriptor.hits_addend
    return message


@given(requests)
def test_every_field_arrives(request: Request) -> None:
    assert decode(encoded(request).SerializeToString(), BOUNDS) == request


@given(st.binary(max_size=60) | st.tuples(requests, st.binary(max_size=4), st.integers(0, 60)))
def test_whatever_arrives_is_a_request_or_refused(sent: bytes | tuple[Request, bytes, int]) -> None:
    """Garbage, and requests that were damaged on their way, are the caller's fault and nothing else."""
    if isinstance(sent, tuple):
        request, damage, at = sent
        message = encoded(request).SerializeToString()
        sent = message[:at] + damage + message[at + len(damage) :]
    with suppress(RequestError):
        decoded = decode(sent, BOUNDS)
        assert decoded.domain
        assert 1 <= len(decoded.descriptors) <= 3


def test_fields_that_are_not_known_are_skipped() -> None:
    """A newer Envoy may send more than this version understands."""
    request = Request("domain", (Descriptor((Entry("k", "v"),)),))
    assert decode(encoded(request).SerializeToString() + b"\x7a\x03new", BOUNDS) == request


def one(**more: object) -> rls_pb2.RateLimitRequest:
    message = rls_pb2.RateLimitRequest(domain="domain")
    message.descriptors.add(**more)
    return message


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (rls_pb2.RateLimitRequest(), "rate limit domain must not be empty"),
        (rls_pb2.RateLimitRequest(domain="domain"), "rate limit descriptor list must not be empty"),
        (rls_pb2.RateLimitRequest(domain="é" * 21, descriptors=[{}]), "domain has 42 bytes: at most 40 are allowed"),
        (rls_pb2.RateLimitRequest(domain="d", descriptors=[{}] * 4), "4 descriptors: at most 3 are allowed"),
        (one(entries=[{}] * 4), "descriptors[0]: 4 entries: at most 3 are allowed"),
        (
            one(entries=[{}, {"key": "k" * 41}]),
            "descriptors[0].entries[1].key has 41 bytes: at most 40 are allowed",
        ),
        (
            rls_pb2.RateLimitRequest(domain="d", descriptors=[{}, {"entries": [{"value": "é" * 21}]}]),
            "descriptors[1].entries[0].value has 42 bytes: at most 40 are allowed",
        ),
        (
            one(limit={}),
            f"descriptors[0].limit.unit is 0: expected one of {UNITS}",
        ),
        (
            one(limit={"unit": 8}),
            f"descriptors[0].limit.unit is 8: expected one of {UNITS}",
        ),
        (
            one(limit={"unit": 4, "unit_multiplier": {"value": 0}}),
            "descriptors[0].limit.unit_multiplier is 0: expected 1 to 36500",
        ),
        (
            one(limit={"unit": 6, "unit_multiplier": {"value": 101}}),
            "descriptors[0].limit.unit_multiplier is 101: expected 1 to 100",
        ),
        (
            one(hits_addend={"value": 2**32}),
            "descriptors[0].hits_addend is 4294967296: at most 4294967295 is allowed",
        ),
        (
            one(hits_addend={"value": 2**64 - 2}),
            "descriptors[0].hits_addend is 18446744073709551614: at most 4294967295 is allowed",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_place(message: rls_pb2.RateLimitRequest, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(message.SerializeToString(), BOUNDS)
    assert str(caught.value) == text


@pytest.mark.parametrize("message", [b"\xff", b"\x0a\x02\xff\xfe", b"\x0a\x05abc"], ids=["tag", "utf-8", "length"])
def test_what_is_no_request_is_refused(message: bytes) -> None:
    with pytest.raises(RequestError, match=r"^the message is not a RateLimitRequest$"):
        decode(message, BOUNDS)


@pytest.mark.parametrize("text", ["x" * 40, "é" * 20, "€" * 13, "\U0001f600" * 10])
def test_what_is_just_within_the_bounds_passes(text: str) -> None:
    """Bounds are in bytes of UTF-8, whatever the characters take."""
    request = Request(text, (Descriptor((Entry(text, text),) * 3),) * 3, UINT32_MAX)
    assert decode(encoded(request).SerializeToString(), BOUNDS) == request
    with pytest.raises(RequestError, match="at most 40 are allowed"):
        decode(encoded(request._replace(domain=text + text[0])).SerializeToString(), BOUNDS)


def test_a_client_of_the_mesh_cannot_reach_the_default_bounds() -> None:
    """Envoy lets what is refused here pass, and by default takes headers of up to 60 KiB."""
    entries = tuple(Entry("header", "x" * 60 * 1024) for _ in range(3))
    request = Request("domain", (Descriptor(entries),) * 3)
    assert decode(encoded(request).SerializeToString(), Bounds()) == request
