from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.config.nodes import MAX_DEPTH, STR_TAG, Scalar, YamlMapping, YamlSequence, parse
from rls.errors import ConfigError


def nodes_of(text: str | bytes) -> list[Any]:
    return list(parse("f", text if isinstance(text, bytes) else text.encode()))


def plain(node):
    """*node* as lists, tuples of pairs, and texts."""
    if isinstance(node, YamlSequence):
        return [plain(item) for item in node.items]
    if isinstance(node, YamlMapping):
        return tuple((plain(key), plain(value)) for key, value in node.items)
    return node.text


def test_scalars_keep_their_text_and_their_place():
    """Lines and columns count from 1, and columns count characters."""
    (node,) = nodes_of("é: 010\nlist:\n  - 'yes'\n  - !x 1\n")
    (_, number), (key, items) = node.items
    assert number == Scalar("010", None, 1, 4)
    assert key == Scalar("list", None, 2, 1)
    assert items.items == [Scalar("yes", STR_TAG, 3, 5), Scalar("1", "!x", 4, 5)]
    assert (items.line, items.column) == (3, 3)


def test_keys_keep_their_order_and_repeat():
    """What a repeated key means is not decided here."""
    assert plain(*nodes_of("{b: 1, a: 2, b: 3}")) == (("b", "1"), ("a", "2"), ("b", "3"))


def test_documents_come_one_by_one():
    """Anchors hold for one document; an empty one is an empty scalar."""
    assert [plain(node) for node in nodes_of("a: &x 1\n---\n---\n- b\n")] == [(("a", "1"),), "", ["b"]]
    with pytest.raises(ConfigError, match="unknown anchor `x`"):
        nodes_of("a: &x 1\n---\nb: *x\n")


def test_an_alias_is_its_anchor_as_it_was_last_set():
    """An anchor may be set again."""
    assert plain(*nodes_of("[&a 1, *a, &a [2], *a]")) == ["1", "1", ["2"], ["2"]]


def test_a_byte_order_mark_is_passed_over():
    """It takes no column."""
    (node,) = nodes_of(b"\xef\xbb\xbfa: b")
    assert node.items[0][0] == Scalar("a", None, 1, 1)


def test_nothing_is_nothing():
    """A file of comments holds no document."""
    assert nodes_of("# only this\n") == []


@pytest.mark.parametrize(
    "text", ["[" * 10_000 + "]" * 10_000, "a:\n" + "".join("  " * n + "- a:\n" for n in range(1, 300))]
)
def test_deep_nesting_is_refused(text):
    """It ends in an error, not in an exhausted stack."""
    with pytest.raises(ConfigError, match=f"nested deeper than {MAX_DEPTH} levels"):
        nodes_of(text)


def test_nesting_by_aliases_is_refused_too():
    """Each line doubles the depth of the one before, without a single deep bracket."""
    lines = ["a0: &a0 [[[[x]]]]"]
    lines += [f"a{n}: &a{n} [[[[*a{n - 1}]]]]" for n in range(1, 100)]
    with pytest.raises(ConfigError, match=f"nested deeper than {MAX_DEPTH} levels"):
        nodes_of("\n".join(lines))


def test_aliases_do_not_multiply_without_bounds():
    """Ten lines that stand for ten thousand million values are refused, as soon as they are read."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    with pytest.raises(ConfigError, match="aliases repeat more than"):
        nodes_of("\n".join(lines))


@given(st.binary() | st.text(alphabet="abc:-[]{}&*!|>'\"%@`#,?\n\t \\é").map(str.encode))
def test_any_bytes_are_nodes_or_an_error_with_a_place_in_them(data):
    """Whatever a file holds, nothing else is raised, and the place of an error exists."""
    try:
        nodes_of(data)
    except ConfigError as error:
        (problem,) = error.diagnostics
        assert problem.place.file == "f"
        assert 1 <= problem.place.line <= data.count(b"\n") + data.count(b"\r") + 2
        assert 1 <= problem.place.column <= len(data) + 1
        assert "expected" in problem.message
