"""What is read by hand is what protobuf reads, or is left to it."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rls.api.decode import parse, read
from rls.api.plain import read_descriptor, split
from rls.core.model import Descriptor, Entry, Request
from rls.errors import RequestError
from tests.api.test_decode import encoded, requests


def by_hand(message: bytes) -> Request | None:
    plain = split(message)
    if plain is None:
        return None
    descriptors = [read_descriptor(one) for one in plain.descriptors]
    assert message.startswith(plain.head)
    if None in descriptors:
        return None
    return Request(plain.domain, tuple(one for one in descriptors if one is not None), plain.hits_addend)


def by_protobuf(message: bytes) -> Request | None:
    try:
        return read(parse(message))
    except RequestError:
        return None


long_texts = st.integers(100, 300).map(lambda n: "v" * n) | st.integers(16_000, 17_000).map(lambda n: "v" * n)
long_requests = st.builds(
    lambda domain, values: Request(domain, tuple(Descriptor((Entry("k", value),)) for value in values)),
    long_texts,
    st.lists(long_texts, min_size=1, max_size=3),
)


@settings(max_examples=400)
@given(requests | long_requests)
def test_it_reads_what_protobuf_reads(request: Request) -> None:
    message = encoded(request)
    assert by_protobuf(message) == request
    assert by_hand(message) in (None, request)


@settings(max_examples=1_000)
@given(requests, st.data())
def test_whatever_the_bytes_it_reads_no_other_request_than_protobuf(request: Request, data: st.DataObject) -> None:
    """Also where bytes are changed, cut out, doubled or cut off."""
    message = bytearray(encoded(request))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message)))
        damage = data.draw(
            st.binary(max_size=2) | st.sampled_from([b"\x0a", b"\x12\x00", b"\x18\x01", b"\x80", b"\xff"])
        )
        message[at : at + data.draw(st.integers(0, 2))] = damage
    found = by_hand(bytes(message))
    if found is not None:
        assert by_protobuf(bytes(message)) == found


@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.text(max_size=60)), min_size=1, max_size=4))
@example([("company", "acme")])
def test_what_envoy_sends_is_plain(pairs: list[tuple[str, str]]) -> None:
    pairs = [(key, value or "x") for key, value in pairs if len(key.encode()) + len((value or "x").encode()) < 120]
    request = Request(
        "mesh", tuple(Descriptor((Entry(*pair),)) for pair in pairs) or (Descriptor((Entry("k", "v"),)),), 7
    )
    plain = split(encoded(request))
    assert plain is not None
    assert [read_descriptor(one) for one in plain.descriptors] == list(request.descriptors)
