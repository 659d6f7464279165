from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.api.decode import SLICE, parse, read, slices
from rls.core.model import MAX_WINDOW_SECONDS, UINT32_MAX, Descriptor, Entry, RateLimit, Request, Unit, to_bytes
from rls.errors import RequestError
from rls.proto import raw_pb2, rls_pb2

UNITS = "1 (SECOND), 2 (MINUTE), 3 (HOUR), 4 (DAY), 5 (MONTH), 6 (YEAR), 7 (WEEK)"

# What Envoy may send: any bytes; those that are not UTF-8 become lone surrogates.
texts = st.text(max_size=10) | st.binary(max_size=10).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
uint32 = st.integers(0, UINT32_MAX)
lengths = (
    st.tuples(st.sampled_from(Unit), st.just(1))
    | st.tuples(st.just(Unit.YEAR), st.integers(1, 100))
    | st.tuples(st.just(Unit.SECOND), st.integers(1, MAX_WINDOW_SECONDS))
)
limits = st.tuples(uint32, lengths).map(lambda limit: RateLimit(limit[0], *limit[1]))
descriptors = st.builds(
    Descriptor,
    st.lists(st.builds(Entry, texts, texts), max_size=3).map(tuple),
    st.none() | limits,
    st.none() | st.integers(0, 2**64 - 1),
    st.booleans(),
)
requests = st.builds(Request, texts.filter(len), st.lists(descriptors, min_size=1, max_size=3).map(tuple), uint32)


def encoded(request: Request) -> bytes:
    message = raw_pb2.RateLimitRequest(domain=to_bytes(request.domain), hits_addend=request.hits_addend)
    for descriptor in request.descriptors:
        added = message.descriptors.add(is_negative_hits=descriptor.is_negative_hits)
        for key, value in descriptor.entries:
            added.entries.add(key=to_bytes(key), value=to_bytes(value))
        if descriptor.limit is not None:
            added.limit.requests_per_unit = descriptor.limit.requests_per_unit
            added.limit.unit = int(descriptor.limit.unit)  # type: ignore[assignment]  # a week is no name of this enum
            if descriptor.limit.unit_multiplier > 1:
                added.limit.unit_multiplier.value = descriptor.limit.unit_multiplier
        if descriptor.hits_addend is not None:
            added.hits_addend.value = descriptor.hits_addend
    return message.SerializeToString()


def decode(message: bytes) -> Request:
    return read(parse(message))


@given(requests)
def test_every_field_arrives(request: Request) -> None:
    assert decode(encoded(request)) == request


@given(st.binary(max_size=60) | st.tuples(requests, st.binary(max_size=4), st.integers(0, 60)))
def test_whatever_arrives_is_a_request_or_refused(sent: bytes | tuple[Request, bytes, int]) -> None:
    """Garbage, and requests that were damaged on their way, are the caller's fault and nothing else."""
    if isinstance(sent, tuple):
        request, damage, at = sent
        message = encoded(request)
        sent = message[:at] + damage + message[at + len(damage) :]
    with suppress(RequestError):
        decoded = decode(sent)
        assert decoded.domain
        assert decoded.descriptors


def test_fields_that_are_not_known_are_skipped() -> None:
    """A newer Envoy may send more than this version understands."""
    request = Request("domain", (Descriptor((Entry("k", "v"),)),))
    assert decode(encoded(request) + b"\x7a\x03new") == request


def one(**more: object) -> rls_pb2.RateLimitRequest:
    message = rls_pb2.RateLimitRequest(domain="domain")
    message.descriptors.add(**more)
    return message


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (rls_pb2.RateLimitRequest(), "rate limit domain must not be empty"),
        (rls_pb2.RateLimitRequest(domain="domain"), "rate limit descriptor list must not be empty"),
    ],
)
def test_what_asks_for_nothing_is_refused(message: rls_pb2.RateLimitRequest, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(message.SerializeToString())
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ({}, f"descriptors[0].limit.unit is 0: expected one of {UNITS}"),
        ({"unit": 8}, f"descriptors[0].limit.unit is 8: expected one of {UNITS}"),
        ({"unit": -1, "requests_per_unit": 5}, f"descriptors[0].limit.unit is -1: expected one of {UNITS}"),
        ({"unit": 2**31 - 1}, f"descriptors[0].limit.unit is 2147483647: expected one of {UNITS}"),
        (
            {"unit": 4, "unit_multiplier": {"value": 0}},
            "descriptors[0].limit.unit_multiplier is 0: expected 1 to 36500",
        ),
        (
            {"unit": 6, "unit_multiplier": {"value": 101}},
            "descriptors[0].limit.unit_multiplier is 101: expected 1 to 100",
        ),
    ],
)
def test_a_limit_that_cannot_be_enforced_is_ignored_and_told(limit: dict[str, object], text: str) -> None:
    """The others of the request keep theirs, also where bytes that are not UTF-8 stand beside it."""
    for value in (b"v", b"\xff"):
        message = raw_pb2.RateLimitRequest(domain=b"domain")
        message.descriptors.add(limit=limit, entries=[{"key": b"k", "value": value}], hits_addend={"value": 3})
        message.descriptors.add(limit={"unit": 5, "requests_per_unit": 1})
        told: list[str] = []
        request = read(parse(message.SerializeToString()), told.append)
        assert told == [text]
        assert [descriptor.limit for descriptor in request.descriptors] == [None, RateLimit(1, Unit.MONTH)]
        assert request.descriptors[0].hits_addend == 3
        assert to_bytes(request.descriptors[0].entries[0].value) == value


@pytest.mark.parametrize("message", [b"\xff", b"\x0a\x05abc", b"\x12\x02\x0a\x05"], ids=["tag", "length", "nested"])
def test_what_is_no_request_is_refused(message: bytes) -> None:
    with pytest.raises(RequestError, match=r"^the message is not a RateLimitRequest$"):
        decode(message)


@given(st.binary(min_size=1), st.binary(min_size=1))
def test_different_bytes_are_different_values(one: bytes, other: bytes) -> None:
    texts = [value.decode("utf-8", "surrogateescape") for value in (one, other)]
    assert (texts[0] == texts[1]) == (one == other)


@pytest.mark.parametrize("count", [1, SLICE, SLICE + 1, 1_000])
def test_slices_are_the_whole_request(count: int) -> None:
    request = Request("d", tuple(Descriptor((Entry("k", str(n)),)) for n in range(count)), 7)
    parts = list(slices(parse(encoded(request))))
    assert max(len(part.descriptors) for part in parts) <= SLICE
    assert [one for part in parts for one in part.descriptors] == list(request.descriptors)
    assert {(part.domain, part.hits_addend) for part in parts} == {("d", 7)}


def test_what_is_ignored_in_a_later_slice_is_told_with_its_descriptor() -> None:
    request = Request("d", tuple(Descriptor((Entry("k", str(n)),)) for n in range(SLICE + 3)))
    parsed = parse(encoded(request))
    parsed.descriptors[SLICE + 1].limit.unit = 9  # type: ignore[assignment]
    told: list[str] = []
    assert [one for part in slices(parsed, told.append) for one in part.descriptors] == list(request.descriptors)
    assert told == [f"descriptors[{SLICE + 1}].limit.unit is 9: expected one of {UNITS}"]
