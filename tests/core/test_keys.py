from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rls.core.keys import LONGEST_PLAIN_VALUE, KeyFormat, counter_key
from rls.core.model import Entry

Named = tuple[str, tuple[tuple[str, str, str | None], ...], int]

# Characters that the format gives a meaning, ones that look like an escape, and a few that are plain.
texts = (
    st.text(st.sampled_from("ab1%|=~#{}_ \n\x7f2CFé7\udcff\udc80"), max_size=6)
    | st.text(max_size=4)
    | st.binary(max_size=4).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)
long_texts = st.integers(LONGEST_PLAIN_VALUE - 1, LONGEST_PLAIN_VALUE + 2).map(lambda n: "v" * n)
entries = st.tuples(texts, texts | long_texts, st.none() | texts)
names = st.tuples(texts, st.lists(entries, max_size=3).map(tuple), st.sampled_from([1, 10, 60]))


def key(name: Named, key_format: KeyFormat = KeyFormat.V1, prefix: str = "") -> bytes:
    domain, parts, window = name
    pairs = [Entry(key, value) for key, value, _ in parts]
    return counter_key(key_format, prefix, domain, pairs, [pattern for *_, pattern in parts], window)


def counts(name: Named) -> Named:
    """What a counter stands for: of a shared one the value does not matter."""
    domain, parts, window = name
    return domain, tuple((key, "" if pattern is not None else value, pattern) for key, value, pattern in parts), window


@given(names, names)
@example(("a", (("b", "c", None),), 1), ("a|b=c", (), 1))
@example(("a", (("k", "v" * 200, None),), 1), ("a", (("k", "v" * 201, None),), 1))
@example(("a", (("k", "*", None),), 1), ("a", (("k", "x", "*"),), 1))
def test_names_of_different_counters_differ(one: Named, other: Named) -> None:
    """Two counters have the same key if, and only if, they count the same; whatever text clients send."""
    assert (key(one) == key(other)) == (counts(one) == counts(other))


@given(names, names, st.integers(0, 10**10), st.integers(0, 10**10))
def test_a_window_is_no_part_of_a_name(one: Named, other: Named, start: int, other_start: int) -> None:
    """With the window's start behind it, a key still names one counter in one window."""
    same = counts(one) == counts(other) and start == other_start
    assert (key(one) + b"%d" % start == key(other) + b"%d" % other_start) == same


@given(names)
def test_keys_are_plain_text_without_hash_tags(name: Named) -> None:
    """No client can put a counter into a cluster's slot of its choice, or a line break into a log."""
    named = key(name).decode()
    assert not set(named) & {"{", "}", " ", "\n", "\r", "\x00", "\x7f"}


@given(names)
def test_keys_are_short_whatever_the_value(name: Named) -> None:
    """A value takes a bounded part of a key."""
    domain, parts, window = name
    huge = tuple((key, value * 1000, pattern) for key, value, pattern in parts)
    assert len(key((domain, huge, window))) <= len(key((domain, (), window))) + sum(
        3 * 4 * (len(key) + len(pattern or "") + LONGEST_PLAIN_VALUE) + 2 for key, _, pattern in parts
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("mesh", (("company", "acme", None),), 60), b"r1|mesh|company=acme|60|"),
        (("mesh", (("company", "acme", None), ("path", "/v1", None)), 1), b"r1|mesh|company=acme|path=/v1|1|"),
        (("mesh", (("company", "", None),), 60), b"r1|mesh|company=|60|"),
        (("mesh", (("path", "/v1/x", "/v1/*"),), 60), b"r1|mesh|path~/v1/*|60|"),
        (("a|b", (("k=", "{x} 100%", None),), 60), b"r1|a%7Cb|k%3D=%7Bx%7D%20100%25|60|"),
        (("mesh", (("k#~", "v#~", None), ("p#", "x", "~#*")), 1), b"r1|mesh|k%23%7E=v%23%7E|p%23~%7E%23*|1|"),
        (("mesh", (("name", "Zoë", None),), 60), "r1|mesh|name=Zoë|60|".encode()),
        (("mesh", (("name", "bob\udcff", None),), 60), b"r1|mesh|name=bob%FF|60|"),
        (("mesh", (("name", "bob%FF", None),), 60), b"r1|mesh|name=bob%25FF|60|"),
        (
            ("mesh", (("token", "x" * 129, None),), 60),
            b"r1|mesh|token#0ec9eb33e74510bcdd1f2ea55206e82f21649c5c2becbf2b433eb475b34c01bd|60|",
        ),
    ],
)
def test_the_format_is_a_wire_format(name: Named, expected: bytes) -> None:
    """These texts are what other versions in a mesh count by: whoever changes them must name the format anew."""
    assert key(name) == expected


@pytest.mark.parametrize(
    ("prefix", "domain", "parts", "expected"),
    [
        ("", "domain", [("key", "value", None)], b"domain_key_value_1234"),
        ("prefix:", "domain", [("k", "v", None), ("k2", "v2", None)], b"prefix:domain_k_v_k2_v2_1234"),
        ("", "domain", [("k", "", None)], b"domain_k__1234"),
        ("", "domain", [("path", "/api/x", "/api/*")], b"domain_path_/api/*_1234"),
        ("", "domain", [("a", "x", "x*"), ("b", "y", None)], b"domain_a_x*_b_y_1234"),
        ("", "d{1}", [("k", "a b|c", None)], b"d{1}_k_a b|c_1234"),
        ("", "domain", [("k", "bob\udcff", None)], b"domain_k_bob\xff_1234"),
    ],
)
def test_compatible_keys_are_those_of_the_reference(
    prefix: str, domain: str, parts: Sequence[tuple[str, str, str | None]], expected: bytes
) -> None:
    """In the compatible format the key texts are the reference's, so that both servers count together."""
    assert key((domain, tuple(parts), 60), KeyFormat.COMPAT, prefix) + b"1234" == expected


def test_a_prefix_stands_before_the_version() -> None:
    assert key(("mesh", (("k", "v", None),), 60), prefix="team:") == b"team:r1|mesh|k=v|60|"
