"""Which phrases are found, and that their number only falls."""

import tomllib

import pytest

from scripts.check_prose import LONGEST_SENTENCE, PHRASES, check, found, long_sentences, lowered, pages, tracked


@pytest.mark.parametrize(
    ("phrase", "text", "lines"),
    [
        ("is told", "The client is told.", [1]),
        ("is told", "The client\nIs told of it, and who is  told it.", [2, 2]),
        ("is told", "# The client is\n    # told.", [1]),
        ("is told", "- The client is\n  told.", [1]),
        ("is told", "this told, is_told, is-told, is told_", []),
        ("is told", "The client is\n\ntold.", []),
        ("mend*", "mend mending amend remends mend-it mender's", [1, 1, 1]),
    ],
)
def test_a_phrase_is_found_as_whole_words(phrase, text, lines):
    assert [place.split(":")[1] for place in found(phrase, {"page.md": text})] == [str(line) for line in lines]


def test_a_problem_says_where_and_what_to_write_instead():
    texts = {"a.md": "fine\nas ever\n", "b.py": "# as ever"}
    assert check({"as ever": "as usual"}, {}, texts) == ["a.md:2: as ever: as usual", "b.py:1: as ever: as usual"]


@pytest.mark.parametrize(("number", "more"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_there_may_be_no_more_than_there_were(number, more):
    problems = check({"as ever": "as usual"}, {"as ever": number}, {"a.md": "as ever, as ever"})
    assert [problem.partition(" (")[0] for problem in problems] == [f"'as ever' has {more} places too many"] * (
        more > 0
    )


def test_a_number_without_a_phrase_is_a_problem():
    assert check({}, {"as ever": 1}, {}) == ["prose.toml: 'as ever' has a number, and no advice"]


@pytest.mark.parametrize(("number", "then"), [(3, '"as ever" = 2\n'), (2, '"as ever" = 2\n'), (1, '"as ever" = 1\n')])
def test_numbers_only_fall(number, then):
    config = f'[not_yet]\n"as ever" = {number}\n'
    assert lowered(config, {"as ever": number}, {"a.md": "as ever, as ever"}) == f"[not_yet]\n{then}"


def test_a_phrase_that_is_gone_has_no_number_any_more():
    assert lowered('[not_yet]\n"as ever" = 3\n', {"as ever": 3}, {}) == "[not_yet]\n"


def test_what_is_read_is_ours():
    names = set(tracked())
    assert {"README.md", "Makefile", "src/rls/app/app.py", "docs/operations.md", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith(("src/rls/proto/", "requirements/")) or name == "LICENSE"]


def test_pages_are_what_users_read():
    others = {"CHANGELOG.md": "", "src/a.py": "", "benches/results/quick.md": ""}
    assert pages({"README.md": "a", **others, "docs/adr/README.md": "b"}) == {
        "README.md": "a",
        "docs/adr/README.md": "b",
    }


LONG = "word " * LONGEST_SENTENCE + "word"
FITS = ("word " * LONGEST_SENTENCE).strip()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"Short.\n\n{LONG}.", [3]),
        (FITS, []),
        (f"{FITS}. {FITS}: {FITS}; {FITS}", []),
        (FITS.replace("word", "`two words`"), []),
        (f"```\n{LONG}\n```", []),
        (f"| a |\n|---|\n| {FITS} |\n| {LONG} |", [4]),
        (f"- {FITS}\n- {FITS}", []),
    ],
)
def test_a_sentence_of_too_many_words_is_found(text, lines):
    assert [problem.split(":")[1] for problem in long_sentences({"page.md": text})] == [str(line) for line in lines]


def test_no_advice_has_a_phrase_that_is_to_be_avoided():
    table = tomllib.loads(PHRASES.read_text())
    phrases = table["phrases"] | table["phrases_of_pages"]
    assert check(phrases, {}, {"advice": "\n".join(phrases.values())}) == []


def test_no_phrase_is_in_both_parts():
    table = tomllib.loads(PHRASES.read_text())
    assert table["phrases"].keys() & table["phrases_of_pages"].keys() == set()
