"""Configurations as text, a little broken: what people write, and what they never should.

A tree keeps every scalar as it is written, so that a change can give keys twice, values without quotes, anchors and
merges; then lines and characters of the text are changed too, rarely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml
from hypothesis import strategies as st

from rls.config.schema import SHAPES
from tests.differential.cases import DOMAINS, KEYS, Draw, rarely, siblings

OWN = {"algorithm", "charge_refused", "refund_over_limit", "on_backend_error", "unit_multiplier"}
WORDS = sorted({word for shape in SHAPES.values() for word in shape.keys} - OWN)
KEYS_UNLIKE_ANY = (
    *("Key", "UNIT", "limit", "rate-limit", "request_per_unit", "shadowmode", "5", "1.5", "true", "~", "''", "a b"),
    *("'key'", '"value"', "!!str key", "!own key", "? unit", "[key]", "{key: a}", "&x key", "<<", "'<<'", "k#"),
)
NUMBERS = (
    *("0", "-0", "+5", "5", "007", "08", "010", "0o17", "0x1F", "0X1f", "0b101", "1_000", "1__0", "_1", "1_", "0_7"),
    *("-1", "--1", "4294967295", "4294967296", "12345678901234567890", "99999999999999999999", "1e3", "1.5", "5.0"),
    *(".5", "5.", ".", "-", "+", "1.e3", "+.5", "1e400", ".inf", "-.INF", ".nan", "0x", "0b2", "1:30", "190:20:30.15"),
)
FLAGS = ("y", "Y", "n", "N", "yes", "No", "ON", "off", "True", "FALSE", "tRUE", "'true'", "t")
NULLS = ("", "~", "null", "Null", "nULL", "''", '""', "{}", "[]", "''  # nothing", "# nothing")
TAGGED = (
    *("!!str 5", "!!str", "!!str true", "!!int 5", '!!int "5"', "!!int a", "!!float 5", "!!float a", "!!bool y"),
    *("!!bool 'yes'", "!!bool 5", "!!null ''", "!!null a", "!!binary aGk=", "!!binary %", "!own a", "! 5", "!!map {}"),
    *("!!timestamp 2020-01-01", "!!seq []", "!!set {a}", "!<tag:yaml.org,2002:str> 5", "!e!x 5"),
)
TEXTS = (
    *("2020-01-01", "2020-01-01T00:00:00Z", "=", "<<", "a: b", "a #b", "a:b", "a,b", "[a", "{a", "}", "@a", "`a", "%a"),
    *("*a", "&x a", "!a", "|", ">", "|\n  a\n  b", ">-\n  a\n  b", "'a''b'", "'a", '"\\x41\\u263a"'),
    *('"\\q"', '"a\\\n  b"', "a\n  b", "ü", "☺", '"\\0"', "\x07", "\x7f", "\u00a0", "\u2028", "\ufeff", "\t", "a\tb"),
    *("- a", "? a", "[a, b]", "[{key: a}]", "{key: a}", "{a: b}", "{name: gold}", "[name: gold]", "'*'", "'a*'"),
    *("second", "Minute", "' minute'", "week", "unknown", "seconds", "a" * 1100),
)
ODD = (*NUMBERS, *FLAGS, *NULLS, *TAGGED, *TEXTS)
FREE = (
    *("{metadata: {a: 1}}", "[1, 2]", "{1: a}", "{~: a}", "{[a]: b}", "{a: {b: [1, ~, {c: d}]}}", "{a: .nan}"),
    *("{true: b}", "{1.5: b}", "{a: 2020-01-01}", "{a: !!binary aGk=}", "{a: 99999999999999999999}", "{a: b, a: c}"),
    *("{a: !!binary /w==}", "{a: -0}", "{a: 1e400}", "{a: !own b}", "{? {b: c} : d}", "{<<: {b: c}}"),
)
LINES = ("---", "...", "%YAML 1.1", "%YAML 1.2", "%TAG ! tag:a,2020:", "# a", "\ta: b", "  ", "- a", "a", "key: a", "}")
CHARS = (*"\t:#-'\"[]{},&*!|>%@`\\?=~ \n\r\x00\x85\u2028\ufeff\U0001f600", "\r\n")


@dataclass
class Map:
    """A mapping; keys may repeat."""

    pairs: list[tuple[str, Tree]]
    anchor: str = ""


@dataclass
class Seq:
    """A list."""

    items: list[Tree]
    anchor: str = ""


Tree: TypeAlias = Map | Seq | str
Files: TypeAlias = dict[str, str]


@st.composite
def texts(draw: Draw) -> Files:
    """A file or two, by name, of one or two domains, with up to three changes in all."""
    extras = ("detailed_metric", "value_to_metric", "metadata")
    domains = draw(st.sampled_from([DOMAINS[:1], DOMAINS[:1], DOMAINS, DOMAINS[:1] * 2]))
    trees = [tree_of({"domain": domain, "descriptors": draw(siblings(extras))}) for domain in domains]
    for _ in range(draw(st.integers(0, 3))):
        draw(st.sampled_from(CHANGES))(draw, draw(st.sampled_from(trees)))
    files = ["".join(f"{line}\n" for line in lines_of(tree)) for tree in trees]
    while rarely(draw, 6):
        number = draw(st.integers(0, len(files) - 1))
        files[number] = draw(st.sampled_from(TEXT_CHANGES))(draw, files[number])
    return {f"{number}.yaml": text for number, text in enumerate(files)}


def tree_of(value: Any) -> Tree:
    """*value* as a tree, its scalars with quotes where they need them."""
    if isinstance(value, dict):
        return Map([(key, tree_of(item)) for key, item in value.items()])
    if isinstance(value, list):
        return Seq([tree_of(item) for item in value])
    text: str = yaml.safe_dump(value, allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").strip()


def lines_of(tree: Tree) -> list[str]:
    """The text of *tree*, in block style where that can be."""
    if isinstance(tree, str):
        return tree.split("\n")
    anchor = [f"&{tree.anchor}"] if tree.anchor else []
    if isinstance(tree, Map):
        if not tree.pairs:
            return [" ".join([*anchor, "{}"])]
        return anchor + [line for key, value in tree.pairs for line in _below(f"{key}:", value)]
    if not tree.items:
        return [" ".join([*anchor, "[]"])]
    return anchor + [line for item in tree.items for line in _below("-", item)]


def _below(head: str, tree: Tree) -> list[str]:
    first, *rest = lines_of(tree)
    indented = [f"  {line}" for line in rest]
    empty = isinstance(tree, str) or not (tree.pairs if isinstance(tree, Map) else tree.items)
    if empty or first.startswith("&"):
        return [f"{head} {first}".rstrip(" "), *indented]
    if head == "-":
        return [f"- {first}", *indented]
    return [head, f"  {first}", *indented]


def _inside(tree: Tree) -> Iterator[Map | Seq]:
    if isinstance(tree, str):
        return
    yield tree
    for item in tree.items if isinstance(tree, Seq) else [value for _, value in tree.pairs]:
        yield from _inside(item)


def _some(draw: Draw, tree: Tree, kind: type[Map | Seq] | None = None) -> Map | Seq | None:
    """A mapping or a list of *tree*; None where there is none of that *kind* with anything in it."""
    found = [
        inside
        for inside in _inside(tree)
        if (inside.pairs if isinstance(inside, Map) else inside.items) and (kind is None or isinstance(inside, kind))
    ]
    return draw(st.sampled_from(found)) if found else None


def _any_scalar(draw: Draw) -> str:
    return draw(st.sampled_from(ODD) | st.sampled_from(NUMBERS) | st.sampled_from(FREE))


def _replace_value(draw: Draw, tree: Tree) -> None:
    """Another value for what is there: odd, of another kind, or empty."""
    parent = _some(draw, tree)
    if isinstance(parent, Map):
        at = draw(st.integers(0, len(parent.pairs) - 1))
        key = parent.pairs[at][0]
        odd = (
            st.sampled_from(FREE) | st.sampled_from(ODD) if key == "metadata" else st.builds(lambda: _any_scalar(draw))
        )
        numbers = st.sampled_from(NUMBERS) if key == "requests_per_unit" else odd
        parent.pairs[at] = (key, draw(numbers | odd))
    elif parent is not None:
        parent.items[draw(st.integers(0, len(parent.items) - 1))] = _any_scalar(draw)


def _rename(draw: Draw, tree: Tree) -> None:
    """A key that is another one, or none that is known."""
    parent = _some(draw, tree, Map)
    if isinstance(parent, Map):
        at = draw(st.integers(0, len(parent.pairs) - 1))
        parent.pairs[at] = (draw(st.sampled_from(WORDS) | st.sampled_from(KEYS_UNLIKE_ANY)), parent.pairs[at][1])


def _drop(draw: Draw, tree: Tree) -> None:
    """Less than is needed, or than was there."""
    parent = _some(draw, tree)
    if parent is not None:
        whole: list[Any] = parent.pairs if isinstance(parent, Map) else parent.items
        del whole[draw(st.integers(0, len(whole) - 1))]


def _repeat(draw: Draw, tree: Tree) -> None:
    """What is there, twice; of a key also with another value."""
    parent = _some(draw, tree)
    if isinstance(parent, Map):
        key, value = draw(st.sampled_from(parent.pairs))
        value = deepcopy(value)
        if draw(st.booleans()):
            (_replace_value if not isinstance(value, str) else _drop)(draw, value)
        if isinstance(value, str) and draw(st.booleans()):
            value = _any_scalar(draw)
        parent.pairs.insert(draw(st.integers(0, len(parent.pairs))), (key, value))
    elif parent is not None:
        parent.items.insert(draw(st.integers(0, len(parent.items))), deepcopy(draw(st.sampled_from(parent.items))))


def _misplace(draw: Draw, tree: Tree) -> None:
    """A known key, with a value that fits it, somewhere."""
    parent = _some(draw, tree, Map)
    if isinstance(parent, Map):
        fitting: dict[str, Tree] = {
            "domain": "mesh",
            "key": draw(st.sampled_from(KEYS)),
            "value": draw(st.sampled_from(["a", "'*'", "5", "a_b", "''"])),
            "descriptors": Seq([Map([("key", "company_id")])]),
            "rate_limit": Map([("unit", "hour"), ("requests_per_unit", "3")]),
            "unit": "minute",
            "requests_per_unit": draw(st.sampled_from(NUMBERS)),
            "name": "gold",
            "replaces": Seq([Map([("name", draw(st.sampled_from(["lead", "gold", "''", "5", "~"])))])]),
            "metadata": draw(st.sampled_from(FREE)),
        }
        word = draw(st.sampled_from(WORDS))
        pair = (word, fitting.get(word, draw(st.sampled_from(["true", "false", "yes", "~"]))))
        parent.pairs.insert(draw(st.integers(0, len(parent.pairs))), pair)


def _alias(draw: Draw, tree: Tree) -> None:
    """An anchor, and what is aliased or merged from it."""
    leaves = [inside for inside in _inside(tree) if len([*_inside(inside)]) == 1]
    source = draw(st.sampled_from(leaves)) if leaves and not rarely(draw, 4) else _some(draw, tree)
    target = _some(draw, tree)
    if source is None or target is None:
        return
    source.anchor = source.anchor or draw(st.sampled_from("xz"))
    name = f"*{source.anchor}"
    if isinstance(target, Seq):
        target.items.insert(draw(st.integers(0, len(target.items))), name)
        return
    inline = "{unit: day, requests_per_unit: 4}"
    merged: Tree = draw(st.sampled_from([name, f"[{name}]", f"[{name}, {inline}]", f"[{inline}, {name}]", inline, "a"]))
    pair = draw(st.sampled_from([("<<", merged), ("<<", merged), (draw(st.sampled_from(WORDS)), name)]))
    target.pairs.insert(draw(st.integers(0, len(target.pairs))), pair)


def _clash(draw: Draw, tree: Tree) -> None:
    """Keys and values that have one text when they are joined."""
    maps = [inside for inside in _inside(tree) if isinstance(inside, Map)]
    pairs = [pair for inside in maps for pair in inside.pairs]
    lists = [value for key, value in pairs if key == "descriptors" and isinstance(value, Seq)]
    if lists:
        items = draw(st.sampled_from(lists)).items
        alike = [("a", "b_c"), ("a_b", "c"), ("a_b_c", ""), ("a*", "b"), ("a*", "")]
        for key, value in draw(st.lists(st.sampled_from(alike), min_size=1, max_size=3)):
            flag = [("share_threshold", "true")] if draw(st.booleans()) else []
            items.append(Map([("key", key), ("value", value), *flag]))


def _change_line(draw: Draw, text: str) -> str:
    lines = text.split("\n")
    at = draw(st.integers(0, len(lines) - 1))
    change = draw(st.sampled_from(["drop", "repeat", "in", "out", "insert", "next"]))
    if change == "drop":
        del lines[at]
    elif change == "repeat":
        lines.insert(at, lines[at])
    elif change == "in":
        lines[at] = draw(st.sampled_from([" ", "  ", "\t"])) + lines[at]
    elif change == "out":
        lines[at] = lines[at].removeprefix(draw(st.sampled_from([" ", "  "])))
    elif change == "insert":
        lines.insert(at, draw(st.sampled_from(LINES)))
    else:
        lines[at : at + 2] = ["".join(lines[at : at + 2])]
    return "\n".join(lines)


def _change_char(draw: Draw, text: str) -> str:
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.sampled_from(CHARS) | st.just("")) + text[at + draw(st.integers(0, 1)) :]


def _change_whole(draw: Draw, text: str) -> str:
    domain = draw(st.sampled_from([*DOMAINS, "other"]))
    more = f"domain: {domain}\ndescriptors: [{{key: {draw(st.sampled_from(KEYS))}, value: second}}]\n"
    whole = ["", "# nothing\n", "---\n", f"---\n{text}", f"{text}---\n", f"{text}---\n{more}", f"---\n---\n{text}"]
    whole += [f"\ufeff{text}", text.replace("\n", "\r\n"), text.rstrip("\n"), f"{text}...\n{more}", f"[{text}]"]
    whole += [f"%YAML 1.1\n---\n{text}", f"--- !!map\n{text}", f"{text}---\na\n", f"{text}...\n", f"{text}---\n[a\n"]
    return draw(st.sampled_from(whole))


CHANGES: tuple[Callable[[Draw, Tree], None], ...] = (
    *(_replace_value, _replace_value, _replace_value, _rename, _drop, _repeat, _misplace, _alias, _alias, _clash),
)
TEXT_CHANGES: tuple[Callable[[Draw, str], str], ...] = (_change_line, _change_char, _change_whole)
