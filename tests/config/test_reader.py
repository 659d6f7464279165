from __future__ import annotations

import pytest

from rls.config.compile import compile_file
from rls.config.nodes import YamlMapping, parse
from rls.config.reader import Reader, one_of, shorten
from rls.config.schema import DESCRIPTOR, DOCUMENT, RATE_LIMIT, REPLACED, SHAPES

INSIDE = {
    DOCUMENT: "domain: d\n{}: x\n",
    DESCRIPTOR: "domain: d\ndescriptors:\n- key: k\n  {}: x\n",
    RATE_LIMIT: "domain: d\ndescriptors:\n- key: k\n  rate_limit:\n    unlimited: true\n    {}: x\n",
    REPLACED: "domain: d\ndescriptors:\n- key: k\n  rate_limit:\n    unlimited: true\n"
    "    replaces:\n    - name: n\n      {}: x\n",
}  # fmt: skip
HOME = {
    (DESCRIPTOR, DOCUMENT): "at the top of the document",
    (RATE_LIMIT, DOCUMENT): "at the top of the document",
    (REPLACED, DOCUMENT): "at the top of the document",
    (DOCUMENT, DESCRIPTOR): "in an item of `descriptors`",
    (RATE_LIMIT, DESCRIPTOR): "beside `rate_limit`",
    (REPLACED, DESCRIPTOR): "in an item of `descriptors`",
    (DOCUMENT, RATE_LIMIT): "inside `rate_limit`",
    (DESCRIPTOR, RATE_LIMIT): "inside `rate_limit`",
    (REPLACED, RATE_LIMIT): "beside `replaces`",
}
MISPLACED = [
    (inside, name, home)
    for (inside, owner), home in HOME.items()
    for name in SHAPES[owner].keys
    if name not in SHAPES[inside].keys and owner == next(shape for shape in SHAPES if name in SHAPES[shape].keys)
]


@pytest.mark.parametrize(("inside", "name", "home"), MISPLACED)
def test_a_misplaced_key_is_told_where_it_belongs(inside, name, home):
    """Of each key in each wrong place: where it stands, and where it was expected; nothing takes it silently."""
    messages = [problem.message for problem in compile_file("f", INSIDE[inside].format(name).encode()).diagnostics]
    assert messages == [f"`{name}` stands {SHAPES[inside].inside}, expected it {home}"]


SLIPS = {
    "capitals": str.upper,
    "title": str.title,
    "one too few": lambda name: name[:-1],
    "one too many": lambda name: name[0] + name,
    "other style": lambda name: name.replace("_", "-") + "s",
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
def test_a_slip_of_the_pen_is_understood(shape, slip):
    """A key in other letters, with one too few or too many, is answered with the one that was meant."""
    for name in (name for name, key in SHAPES[shape].keys.items() if not key.replaced_by):
        text = INSIDE[shape].format(slip(name)).encode()
        messages = [problem.message for problem in compile_file("f", text).diagnostics]
        assert messages == [f"unknown key `{slip(name)}`, did you mean `{name}`?"]


def fields(text: str):
    (node,) = parse("f", text.encode())
    assert isinstance(node, YamlMapping)
    reader = Reader("f")
    return reader, reader.fields(RATE_LIMIT, node)


def test_fields_know_where_their_key_stands():
    """So that a message about what several keys say together can point to one."""
    _, found = fields("unit: day\nname:   x\n")
    assert (found["name"].line, found["name"].column) == (2, 1)


def test_what_is_absent_null_or_wrong_reads_as_its_default():
    """And only what is absent or null counts as missing."""
    reader, found = fields("unit:\nunlimited: 1\nrequests_per_unit: x\n")
    assert (found.text("unit"), found.flag("unlimited"), found.value("requests_per_unit")) == ("", False, None)
    assert (found.text("name"), found.flag("replaces"), found.value("unit_multiplier")) == ("", False, None)
    assert [found.lacks(name) for name in ("unit", "name", "requests_per_unit")] == [True, True, False]
    assert len(reader.diagnostics) == 2


def test_long_texts_are_cut_in_messages():
    """A message stays on one line."""
    assert shorten("a\n b") == "a b"
    assert shorten("x" * 41) == "x" * 39 + "…"
    assert one_of(["a", "b", "c"]) == "`a`, `b` or `c`"
    assert one_of(["a"]) == "`a`"


def test_a_list_that_does_not_count_is_read_all_the_same():
    """What stands in the first of two lists under one key must be as right as what stands in the second."""
    text = "domain: d\ndescriptors: [{key: {}, descriptors: [5], descriptors: []}, 0]\ndescriptors: [{key: k}]\n"
    assert [str(problem) for problem in sorted(compile_file("f", text.encode()).diagnostics)] == [
        "f:2:21: `key` is a mapping, expected text",
        "f:2:39: an item of `descriptors` is `5`, expected a mapping with `- key: …`",
        "f:2:61: an item of `descriptors` is `0`, expected a mapping with `- key: …`",
    ]


def test_a_list_is_merged_only_where_it_stands():
    """`<<` takes a list of mappings, but no alias of one, as in the reference."""
    text = "domain: d\ndescriptors:\n- {key: k, descriptors: &l [{value: a}]}\n- {<<: *l, key: m}\n- {<<: [], key: n}\n"
    assert [str(problem) for problem in compile_file("f", text.encode()).diagnostics if "<<" in problem.message] == [
        "f:4:4: `<<` is given a list, expected an alias of a mapping, or a list of them",
    ]
