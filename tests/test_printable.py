import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rls.printable import json_line, percent_encoded, printable, printable_again, printable_line
from tests.terminal import HOSTILE, commands, harm

# Halves of pairs are among them: bytes that are no UTF-8 become such.
TEXTS = st.text(st.characters(exclude_categories=()))
# What attacks are made of, more often than chance would have it.
NASTY = st.text(
    st.sampled_from("\\x23#[:u0189bdnt \n\r\t\x00\x1b\x7f\x80\x9b\xa0\xff\u2028\u202e\udc9b\udcff\ud800\U000e0001")
)


def read_back(shown: str) -> str:
    """What `printable` was given."""

    def one(found: re.Match[str]) -> str:
        byte, short_code, code, letter = found.groups()
        if letter:
            return {"n": "\n", "r": "\r", "t": "\t"}.get(letter, letter)
        if byte:
            return chr(int(byte, 16) if byte < "80" else 0xDC00 + int(byte, 16))
        return chr(int(short_code or code, 16))

    return re.sub(r"\\(?:x(..)|u(....)|U(.{8})|(.))", one, shown)


@given(TEXTS | NASTY)
@example(HOSTILE)
@example("\x80\udc80")
def test_whatever_goes_in_is_harmless_and_stays_different(text: str) -> None:
    """It can be read back, so no two texts look alike."""
    shown = printable(text)
    assert not harm(shown)
    assert "\n" not in shown
    assert not re.search(r"##\w*\[", shown)
    assert read_back(shown) == text
    shown.encode()


@given(TEXTS | NASTY)
@example("::error::x")
@example(" \u2003::error::x")
def test_a_line_is_harmless_and_stays_different(text: str) -> None:
    """The runner trims whatever C# holds for a space."""
    shown = printable_line(text)
    assert not harm(shown)
    assert not commands(shown)
    assert not shown.strip().startswith("::")
    assert read_back(shown) == text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_json_is_printable_ascii_that_holds_the_same(value: object) -> None:
    shown = json_line(value)
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(shown) == value


@given(TEXTS | NASTY)
def test_a_header_gets_printable_ascii(text: str) -> None:
    assert percent_encoded(text).isascii()
    assert percent_encoded(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë, 東京, Ελλάδα, ok", "Zoë, 東京, Ελλάδα, ok"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\tand\rmore", r"two\nlines\tand\rmore"),
        ("\x9b31m", r"\u009b31m"),
        ("abc\u202egnp", r"abc\u202egnp"),
        ("a\u2028b\u200b\ufeff", r"a\u2028b\u200b\ufeff"),
        (b"bob\xff\x9b".decode(errors="surrogateescape"), r"bob\xff\x9b"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("C:\\x1b", r"C:\\x1b"),
        ("a ##[stop-commands]b ##vso[task]c ## [d]", r"a \x23#[stop-commands]b \x23#vso[task]c ## [d]"),
    ],
)
def test_the_form(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(TEXTS)
def test_what_is_printable_is_not_escaped_twice(text: str) -> None:
    shown = printable_line(text)
    assert printable_again(shown) == shown
    assert printable_again(text).isprintable()


def test_an_address_of_ipv6_stays_within_a_line() -> None:
    assert printable("::1") == "::1"
    assert printable_line("remote_ip=::1") == "remote_ip=::1"
    assert printable_line("  ::1") == r"  \x3a:1"


def test_text_that_a_header_can_hold_stays() -> None:
    assert percent_encoded('plain "text" 100%') == 'plain "text" 100%'
    assert percent_encoded("a\r\nb é") == "a%0D%0Ab %C3%A9"
    assert percent_encoded("bob\udcff") == "bob%FF"
