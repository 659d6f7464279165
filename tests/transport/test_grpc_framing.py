import gzip
import zlib
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, strategies

from rls.transport.grpc_framing import PREFIX, encode_message, only_message, parse_timeout
from rls.transport.status import Aborted, StatusCode

GZIP = {b"grpc-encoding": b"gzip"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2H", 7200),
        (b"3M", 180),
        (b"4S", 4),
        (b"20m", 0.02),
        (b"20000u", 0.02),
        (b"20000000n", 0.02),
        (b"0m", 0),
        (b"99999999H", 99_999_999 * 3600),
    ],
)
def test_timeout_is_in_seconds(value, seconds):
    assert parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", [b"", b"1", b"m", b"1x", b"1 m", b" 1m", b"1m ", b"+1m", b"-1m", b"1.5S", b"123456789m", b"1_0m", b"\xb2m"]
)
def test_malformed_timeout_is_internal(value):
    with pytest.raises(Aborted) as raised:
        parse_timeout(value)
    assert raised.value.code is StatusCode.INTERNAL


@given(strategies.binary(max_size=300))
def test_message_is_what_its_prefix_encloses(payload):
    assert only_message(PREFIX.pack(0, len(payload)) + payload, {}, 300) == payload


@given(strategies.binary(max_size=300), strategies.integers(0, 9))
def test_gzip_message_is_inflated(payload, level):
    deflated = gzip.compress(payload, level)
    assert only_message(PREFIX.pack(1, len(deflated)) + deflated, GZIP, 400) == payload


@given(strategies.binary(max_size=64))
def test_body_of_any_bytes_is_a_message_or_aborted(body):
    with suppress(Aborted):
        payload = only_message(body, GZIP, 1000)
        assert body[0] == 1 or payload == body[5:]


def test_inflated_message_of_the_largest_size_passes_and_one_byte_more_does_not():
    for size, passes in [(1000, True), (1001, False)]:
        deflated = gzip.compress(bytes(size))
        body = PREFIX.pack(1, len(deflated)) + deflated
        if passes:
            assert only_message(body, GZIP, 1000) == bytes(size)
        else:
            with pytest.raises(Aborted, match="inflates to more than 1000 bytes"):
                only_message(body, GZIP, 1000)


def test_bare_deflate_is_not_gzip():
    deflated = zlib.compress(b"hello")
    with pytest.raises(Aborted, match="not gzip"):
        only_message(PREFIX.pack(1, len(deflated)) + deflated, GZIP, 1000)


@given(strategies.text())
def test_grpc_message_is_printable_ascii_that_decodes_to_the_text(text):
    encoded = encode_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote_to_bytes(encoded) == text.encode()
