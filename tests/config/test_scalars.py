from __future__ import annotations

import math

import pytest

from rls.config.nodes import STR_TAG, Scalar
from rls.config.scalars import WrongTagError, as_text, resolve

TAG = "tag:yaml.org,2002:"

# Each as the reference's reader has it; it was asked.
PLAIN = {
    True: ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"],
    False: ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"],
    None: ["", "~", "null", "Null", "NULL"],
}
INTEGERS = {
    "0": 0, "-0": 0, "00": 0, "0_0": 0, "1": 1, "+5": 5, "-1": -1, "1_000": 1000, "1_": 1, "1__0": 10,
    "0x1F": 31, "0X1f": 31, "0_x1F": 31, "0o17": 15, "0O17": 15, "017": 15, "0b11": 3, "0B11": 3, "+0b1": 1, "-0b1": -1,
    "4294967295": 4294967295, "18446744073709551615": 2**64 - 1, "-9223372036854775808": -(2**63),
}  # fmt: skip
FLOATS = {"1.0": 1.0, "1.": 1.0, ".5": 0.5, "1e3": 1000.0, "1_0.5": 10.5, "-1.5E-1": -0.15, "08": 8.0, "+.inf": math.inf,
          "-.Inf": -math.inf, "18446744073709551616": 2.0**64}  # fmt: skip
TEXTS = [
    "yEs", "tRue", "t", "nULL", "_1", "0x", "0o", "0o8", "0b", "0b2", "1_0x", "1:30", "190:20:30.15", "2020-01-01",
    "1" + "0" * 400, "-1e400", "0x" + "f" * 5000, "9" * 5000, "2020-01-01T00:00:00Z", "ten", "-", "+", ".", "...", "1.2.3", "10.0.0.1", "٣", "1 000", "=", "<<", ".5_0", "inf", "nan",
]  # fmt: skip


def plain(text: str) -> Scalar:
    return Scalar(text, None, 1, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, value) for value, texts in PLAIN.items() for text in texts),
        *INTEGERS.items(),
        *FLOATS.items(),
        *((text, text) for text in TEXTS),
    ],
)
def test_plain_scalars_mean_what_they_mean_to_the_reference(text, value):
    """Neither YAML 1.1 nor 1.2 decides, but what today's configurations were written for."""
    found = resolve(plain(text))
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_float():
    """The one value that is not equal to itself."""
    found = resolve(plain(".NaN"))
    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize(
    "text", ["010", "yes", "0x1F", "1:30", "2020-01-01", "1.10", "1e3", ".inf", "1_000", " x", "-"]
)
def test_where_text_is_wanted_it_stays_as_written(text):
    """A company called `010` is not company 8."""
    assert as_text(plain(text)) == text


@pytest.mark.parametrize("text", PLAIN[None])
def test_null_is_no_text(text):
    """`value: null` means any value; in quotes it is a word like others."""
    assert as_text(plain(text)) == ""
    assert as_text(Scalar(text, STR_TAG, 1, 1)) == text


@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        ("str", "5", "5"),
        ("int", "5", 5),
        ("float", "5", 5.0),
        ("bool", "yes", True),
        ("null", "~", None),
        ("binary", "aGk=", "hi"),
        ("timestamp", "2020-01-01", "2020-01-01"),
    ],
)
def test_a_tag_decides(tag, text, value):
    """An explicit tag says what a scalar is, in quotes too."""
    assert resolve(Scalar(text, TAG + tag, 1, 1)) == value


def test_a_tag_of_ones_own_makes_text():
    """What `!company` means is not for us to say."""
    assert resolve(Scalar("5", "!company", 1, 1)) == "5"
    assert as_text(Scalar("5", "!company", 1, 1)) == "5"


@pytest.mark.parametrize(
    ("tag", "text"), [("int", "x"), ("int", "1.5"), ("bool", "1"), ("null", "x"), ("binary", "gIE=")]
)
def test_a_wrong_tag_is_a_mistake(tag, text):
    """A scalar without the form that its tag asks for is refused, whatever is made of it."""
    for read in (resolve, as_text):
        with pytest.raises(WrongTagError, match=f"is tagged `!!{tag}` but holds `{text}`"):
            read(Scalar(text, TAG + tag, 1, 1))
