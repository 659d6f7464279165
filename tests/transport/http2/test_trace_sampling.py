"""`may_be_sampled` is right, whatever the coding of the field."""

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from rls.transport.http2 import Request
from rls.transport.http2.request import Head

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
ids = st.integers(0, 2**192 - 1)
AT = (1,)
HEAD = Head([(b":path", b"/x"), (b"traceparent", b"")])


def literal(value: bytes, *, huffman: bool) -> bytes:
    """RFC 7541, section 5.2, of a short value."""
    coded = HUFFMAN.encode(value) if huffman else value
    return bytes([len(coded) | (0x80 if huffman else 0)]) + coded


def says_no(value: bytes, *, huffman: bool) -> bool:
    """Whether a field that differs with that value denies that the trace is sampled."""
    return not Request(HEAD, AT, [literal(value, huffman=huffman)]).may_be_sampled


def traceparent(number: int, flags: int) -> bytes:
    return b"00-%032x-%016x-%02x" % (number >> 64, number & (1 << 64) - 1, flags)


@pytest.mark.parametrize("huffman", [True, False])
@given(number=ids)
def test_the_flags_that_are_known_are_told_exactly(huffman: bool, number: int) -> None:
    said = [says_no(traceparent(number, flags), huffman=huffman) for flags in range(4)]
    assert said == [True, False, True, False]


@pytest.mark.parametrize("huffman", [True, False])
@given(number=ids, flags=st.integers(4, 255).filter(lambda flags: flags & 1))
def test_a_sampled_trace_is_never_denied(huffman: bool, number: int, flags: int) -> None:
    assert not says_no(traceparent(number, flags), huffman=huffman)


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_told_something(value: bytes, huffman: bool) -> None:
    assert isinstance(says_no(value, huffman=huffman), bool)


SAMPLED, UNSAMPLED = traceparent(7 << 130, 1), traceparent(5 << 70, 0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], False),
        ([(b"x-request-id", b"1")], False),
        ([(b"traceparent", SAMPLED)], True),
        ([(b"traceparent", UNSAMPLED)], False),
        ([(b"traceparent", UNSAMPLED), (b"b3", b"1-2-1")], True),
        ([(b"x-b3-traceid", b"1"), (b"x-b3-sampled", b"0")], False),
        ([(b"x-b3-traceid", b"1"), (b"x-b3-sampled", b"1")], True),
        ([(b"b3", b"0")], False),
        ([(b"x-b3-flags", b"1")], True),
    ],
)
def test_fields_that_do_not_differ(fields: list[tuple[bytes, bytes]], expected: bool) -> None:
    assert Request(Head([(b":path", b"/x"), *fields])).may_be_sampled is expected


@pytest.mark.parametrize("value", [SAMPLED, UNSAMPLED])
def test_a_field_that_differs_is_told_by_its_own_value(value: bytes) -> None:
    head = Head([(b":path", b"/x"), (b"traceparent", SAMPLED)])
    request = Request(head, [1], [literal(value, huffman=True)])
    assert request.may_be_sampled is (value is SAMPLED)
