"""What a test file may hold: read with places, refused in words, and the same as the JSON Schema says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rls.errors import ConfigError
from rls.tools.rule_tests.grammar import EXPECTED, SETTINGS, STATUS, STEP, TEST, json_schema, read_tests

ROOT = Path(__file__).parents[3]
SCENARIOS = sorted((ROOT / "tests" / "scenarios").glob("*.yaml"))
PAGE = (ROOT / "docs" / "rule-tests.md").read_text()
HEAD = "about: x\nrules: ''\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read_tests("t.yaml", text.encode())
    return [str(one) for one in raised.value.diagnostics]


def is_valid(document: Any) -> bool:
    return jsonschema.Draft202012Validator(json_schema()).is_valid(document)


def test_the_committed_schema_is_this_one() -> None:
    committed = (ROOT / "docs" / "rule-tests.schema.json").read_text()
    assert committed == json.dumps(json_schema(), indent=2) + "\n"
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_schema_takes_every_scenario() -> None:
    assert [path.name for path in SCENARIOS if not is_valid(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize("shape", [TEST, STEP, STATUS, SETTINGS], ids=lambda shape: shape.name)
def test_the_page_names_every_key(shape) -> None:
    assert [key for key in shape.keys if f"`{key}`" not in PAGE] == []


def test_the_example_on_the_page_is_a_test() -> None:
    text = PAGE.partition("```yaml\n")[2].partition("```")[0]
    assert len(read_tests("t.yaml", text.encode()).tests[0].steps) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "t.yaml:1:1: no test here, expected `about` and `steps`"),
        ("[]", "t.yaml:1:1: a list, expected a test: a mapping"),
        ("rules: ''\nsteps: []", "t.yaml:1:1: a test has no `about`, expected one"),
        (HEAD + "step: []\nsteps: []", "t.yaml:3:1: unknown key `step` in a test, expected `steps`"),
        (HEAD + "steps: {}", "t.yaml:3:8: a mapping, expected a list"),
        (HEAD + "about: y\nsteps: []", "t.yaml:3:1: `about` stands here twice, first at line 1; expected it once"),
        (HEAD + "config: a\nsteps: []", "t.yaml:3:1: `config` stands beside `rules`, expected one of them"),
        (HEAD + "steps: [{at: soon}]", "t.yaml:3:14: `soon`, expected seconds such as `59` or a duration such as `59s` or `2h`"),
        (HEAD + "steps: [{ask: acme, answer: OK}]", "t.yaml:3:15: `acme`, expected a list"),
        (HEAD + "steps: [{ask: {a: [b]}, answer: OK}]", "t.yaml:3:19: a list, expected text"),
        (HEAD + "steps: [{ask: {a: b}, answer: ok}]", "t.yaml:3:31: `ok`, expected `OK` or `OVER_LIMIT`"),
        (HEAD + "steps: [{ask: {a: b}}]", "t.yaml:3:10: the step asks, expected either `answer` or `error` beside `ask`"),
        (HEAD + "steps: [{answer: OK}]", "t.yaml:3:10: `answer` without `ask`, expected it in a step that asks"),
        (HEAD + "steps: [{problems: []}]", "t.yaml:3:10: `problems` without `load`, expected it in a step that loads rules"),
        (HEAD + "steps: [{ask: {a: b}, answer: OK, times: 0}]", "t.yaml:3:42: `0`, expected a whole number from 1 to 100000"),
        (HEAD + "steps: [{ask: {a: b}, answer: OK, times: 100001}]", "t.yaml:3:42: `100001`, expected a whole number from 1 to 100000"),
        (HEAD + "steps: [{ask: {entries: [[a]]}, answer: OK}]", "t.yaml:3:26: a list, expected a key and a value"),
        (HEAD + "steps: [{ask: {entries: [], limit: 5}, answer: OK}]", "t.yaml:3:36: `5`, expected a limit such as `10/minute` or `10/2 hours`"),
        (HEAD + "settings: {near_limit_ratio: 2}\nsteps: []", "t.yaml:3:30: `2`, expected a number above 0, at most 1"),
        (HEAD + "settings: {key_format: v9}\nsteps: []", "t.yaml:3:24: `v9`, expected `v1` or `compat`"),
        (HEAD + "start: noon\nsteps: []", "t.yaml:3:8: `noon`, expected a time such as `2026-01-31T12:00:00Z`, or Unix seconds"),
        ("a: [", "t.yaml:"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    found = mistakes(text)
    assert [one for one in found if one.startswith(told)] == [found[0]]


WRONG = [
    "settings: {near: 1}",
    "steps: [{answer: 5}]",
    "steps: [{statuses: [{codes: OK}]}]",
    "steps: [{times: x}]",
    "domain: []",
]


@pytest.mark.parametrize("text", WRONG)
def test_the_schema_refuses_what_is_refused_here(text: str) -> None:
    document = yaml.safe_load(f"about: x\nsteps: []\n{text}" if "steps" not in text else f"about: x\n{text}")
    assert not is_valid(document)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(mistakes("about: x\nsteps:\n- {ask: {a: b}, answer: no}\n- {at: x}\n---\nsteps: []\n")) == 3


def test_texts_of_requests_stay_as_they_are_written() -> None:
    (test,) = read_tests("t.yaml", b"about: x\nsteps: [{ask: {a: 010, yes: 1.50}, answer: OK}]").tests
    assert test.steps[0]["ask"] == [{"a": "010", "yes": "1.50"}]
    assert test.steps[0].where("answer")[1:] == (2, 36)


def test_times_are_numbers_durations_or_dates() -> None:
    text = b"about: x\nstart: 2026-01-31T12:00:00Z\nsteps: [{at: 90}, {at: 1m30s}, {at: 0.5}]"
    (test,) = read_tests("t.yaml", text).tests
    assert test.start == 1769860800
    assert [step["at"] for step in test.steps] == [90, 90, 0.5]


def test_every_expectation_is_a_key_of_a_step() -> None:
    assert EXPECTED.keys() <= STEP.keys.keys()
