"""What is remembered of refusals is what each would be encoded to."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.api import refused_answers
from rls.api.encode import ResponseOptions, encode, status_prefixes
from rls.api.refused_answers import RefusedAnswers
from rls.core.decide import Decision, Modes, decide
from rls.core.headers import HeaderNames
from rls.core.model import Unit
from rls.core.plan import CountingOptions, Planner
from rls.engine.prepared import PreparedRequest
from tests.tries import Step, descriptor, request, rule, rule_set

NOW = 1_700_000_000.0
ENFORCED = Modes()
EVERYTHING = ResponseOptions(
    HeaderNames(), ietf_headers=True, limited_by_header="x-refused", problem_json=True, dynamic_metadata=True
)
PLANNER = Planner(
    rule_set(
        {
            (Step("company"),): rule("company", 5, Unit.MINUTE, name="n", metadata={"a": 1}),
            (Step("shadow"),): rule("shadow", 5, Unit.MINUTE, shadow_mode=True),
            (Step("quota"),): rule("quota", 5, Unit.HOUR, quota_mode=True),
            (Step("none"),): rule("none", 0, Unit.SECOND),
        }
    ),
    CountingOptions(),
)


def prepared(*keys: str) -> PreparedRequest:
    return PreparedRequest(PLANNER.plan(request(*[descriptor((key, "acme")) for key in keys])))


ALONE = [prepared("company"), prepared("quota"), prepared("none")]


def decided(one: PreparedRequest, counts: Sequence[int], now: float = NOW, modes: Modes = ENFORCED) -> Decision:
    return decide(one.plan, counts, int(now), modes)


def answer(answers: RefusedAnswers, one: PreparedRequest, count: int, now: float) -> bytes:
    decision = decided(one, [count], now)
    return answers.answer(one, decision, status_prefixes(one.plan), ENFORCED, now)


@pytest.mark.parametrize("options", [ResponseOptions(), EVERYTHING])
@given(
    asked=st.lists(
        st.tuples(
            st.sampled_from(ALONE), st.integers(6, 2**40), st.sampled_from([0.0, 0.2, 0.9, 1.0, 59.9, -1.0, -0.3])
        )
    )
)
def test_an_answer_is_the_same_remembered_or_not(options, asked) -> None:
    """Whatever the count, and wherever the clock goes."""
    answers, now = RefusedAnswers(options), NOW
    for one, count, seconds in asked:
        now += seconds
        decision = decided(one, [count], now)
        assert decision.lone_refusal
        assert answer(answers, one, count, now) == encode(decision, status_prefixes(one.plan), options, ENFORCED)


@pytest.mark.parametrize(
    ("keys", "counts", "modes"),
    [
        (["company"], [5], ENFORCED),
        (["shadow"], [6], ENFORCED),
        (["company"], [6], Modes(shadow_mode=True)),
        (["company", "company"], [6, 6], ENFORCED),
        (["company", "unknown"], [6], ENFORCED),
        (["company", "quota"], [1, 6], ENFORCED),
    ],
)
def test_of_others_more_may_change_within_a_second(keys, counts, modes) -> None:
    assert not decided(prepared(*keys), counts, modes=modes).lone_refusal


def test_it_is_encoded_once_a_second(monkeypatch) -> None:
    encoded = []

    def count(*arguments):
        encoded.append(arguments)
        return encode(*arguments)

    monkeypatch.setattr(refused_answers, "encode", count)
    answers = RefusedAnswers(ResponseOptions())
    for now in (NOW, NOW + 0.5, NOW + 0.9, NOW + 1, NOW + 1.1):
        for one in ALONE:
            answer(answers, one, 7, now)
    assert len(encoded) == 2 * len(ALONE)


def test_what_is_remembered_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(refused_answers, "_MOST_BYTES", 100_000)
    answers = RefusedAnswers(ResponseOptions())
    many = [prepared("company") for _ in range(100)]
    expected = answer(answers, many[0], 7, NOW)
    for one in many:
        assert answer(answers, one, 7, NOW) == expected
    assert len(answers) == 100_000 // (2_000 + 20 * len(expected))
    answers.clear()
    assert not len(answers)
    assert answer(answers, many[0], 7, NOW) == expected
    assert len(answers) == 1
