from __future__ import annotations

import gzip

import pytest

from rls.config.nodes import parse
from rls.errors import ConfigError


def problem_of(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        list(parse("f", text if isinstance(text, bytes) else text.encode()))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 'b\n\n\nc: d\n", "f:1:4: a quote that is not closed"),
        ('a: "b\n---\nc: d\n', "f:1:4: a quote that is not closed"),
        ("a: [b,\n  c\n\n", "f:1:4: a list in brackets that is not closed"),
        ("a: [b c: d\n  e: f]\n", "f:2:4: a list in brackets goes wrong here"),
        ("a: {b: c\n", "f:1:4: a mapping in braces that is not closed"),
        ("a: b\nc\n", "f:2:1: a key without `:`"),
        ("a:\n  b: c\n \td: e\n", "f:3:2: a tab"),
        ("a: b\tc\nd: @e\n", "f:2:4: a value cannot begin with `@`"),
        ("é: é: é\n", "f:1:5: a `:` where no key can be"),
        (b"\xef\xbb\xbfa: b: c\n", "f:1:5: a `:` where no key can be"),
        (b"\xef\xbb\xbf\xc3\xa9: \xff\n", "f:1:4: no text in UTF-8"),
        ("a: b\nc: \x07\n", "f:2:4: a control character"),
        ("a: b\nc: \x00\n", "f:2:4: a control character"),
        (gzip.compress(b"domain: mesh\n", mtime=0), "f:1:1: the file is compressed by gzip, expected YAML in UTF-8"),
        (b"\xff\x00", "f:1:1: the file is binary, no text, expected YAML in UTF-8"),
    ],
)
def test_the_place_is_where_the_mistake_was_made(text, place):
    """Not where the parser gave up: an open quote is told where it opens, a tab where it stands."""
    assert problem_of(text).startswith(place)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"])
def test_lines_end_where_libyaml_ends_them(line_break):
    """A mistake is explained behind any of them."""
    assert problem_of(f"a: b{line_break}c: * d\n").startswith("f:2:4: a `*` without quotes is no text in YAML")


def test_what_is_not_known_is_told_in_libyamls_words():
    """Rare mistakes have no sentence of their own, but a place and what was found."""
    assert problem_of("%TAG ! tag:x,\n%TAG ! tag:y,\n---\na: b\n") == (
        "f:2:1: no YAML (found duplicate %TAG directive), expected YAML"
    )
