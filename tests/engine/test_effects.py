"""What a change of rules is said to do is what it does to a server with live counters."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rls.cli.against import changes_between
from rls.core.model import UINT32_MAX, Descriptor, Entry, Request, Unit
from rls.core.rules import Rule, RuleSet
from rls.engine.effects import Comparison, Counters, Direction, Effect
from rls.engine.simulation import Simulation
from tests.tries import Step, rule, rule_set

COMPANY, ACME, IP = (Step("company"),), (Step("company", "acme"),), (Step("ip"),)
PATHS, SHARED = (Step("path", "/a*"),), (Step("path", "/a*", share_threshold=True),)
Rules = dict[tuple[Step, ...], Rule | None]


def compared(old: RuleSet, new: RuleSet) -> Comparison:
    return Comparison(old, new, changes_between(old, new, most=99))


CASES: list[tuple[str, Rules, Rules, Direction, Counters, str]] = [
    ("lower", {COMPANY: rule("company", 9)}, {COMPANY: rule("company", 5)}, Direction.LOWER, Counters.STAY,
     "counters stay: who has more than 5 hits in this window is refused at once"),
    ("higher", {COMPANY: rule("company", 5)}, {COMPANY: rule("company", 9)}, Direction.HIGHER, Counters.STAY,
     "counters stay: who was refused has 4 hits more in this window"),
    ("unit", {COMPANY: rule("company", 5)}, {COMPANY: rule("company", 5, Unit.HOUR)}, Direction.LOWER, Counters.BEGIN,
     "counters begin at zero, since windows last an hour, and lasted a minute"),
    ("units", {COMPANY: rule("company", 5)}, {COMPANY: rule("company", 500, unit_multiplier=3)}, Direction.HIGHER,
     Counters.BEGIN, "counters begin at zero, since windows last 3 minutes, and lasted a minute"),
    ("name", {COMPANY: rule("company", 5, name="a")}, {COMPANY: rule("company", 5, name="b")}, Direction.SAME,
     Counters.STAY, "counters stay; name differs"),
    ("removed", {IP: rule("ip", 5), COMPANY: rule("company", 5)}, {IP: rule("ip", 5)}, Direction.NONE, Counters.END,
     "nothing is counted any more; counters end with their windows"),
    ("added", {IP: rule("ip", 5)}, {IP: rule("ip", 5), COMPANY: rule("company", 5)}, Direction.NEW, Counters.BEGIN,
     "nothing was counted before: counters begin at zero"),
    ("unlimited", {COMPANY: rule("company", 5)}, {COMPANY: rule("company", None)}, Direction.NONE, Counters.END,
     "nothing is counted any more; counters end with their windows"),
    ("falls to the rule for all", {COMPANY: rule("company", 9), ACME: rule("company_acme", 3)},
     {COMPANY: rule("company", 9)}, Direction.HIGHER, Counters.STAY,
     "counters stay: who was refused has 6 hits more in this window"),
    ("gets a rule of its own", {COMPANY: rule("company", 9)},
     {COMPANY: rule("company", 9), ACME: rule("company_acme", 3)}, Direction.LOWER, Counters.STAY,
     "counters stay: who has more than 3 hits in this window is refused at once"),
    ("shadow", {COMPANY: rule("company", 5)}, {COMPANY: rule("company", 5, shadow_mode=True)}, Direction.NONE,
     Counters.STAY, "counters stay; shadow_mode differs"),
    ("enforced", {COMPANY: rule("company", 5, shadow_mode=True)}, {COMPANY: rule("company", 5)}, Direction.NEW,
     Counters.STAY, "counters stay; shadow_mode differs"),
    ("shared", {PATHS: rule("path_/a*", 5)}, {SHARED: rule("path_/a*", 5)}, Direction.SAME, Counters.BEGIN,
     "counters begin at zero, since their keys differ: all values of a wildcard share one, or no longer do"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_", "before", "after", "direction", "counters", "says"), CASES, ids=[case[0] for case in CASES]
)
def test_each_kind_of_change(
    _: str, before: Rules, after: Rules, direction: Direction, counters: Counters, says: str
) -> None:
    old, new = rule_set(before), rule_set(after)
    (effect,) = compared(old, new).effects()
    assert (effect.direction, effect.counters, effect.says) == (direction, counters, says)
    assert hits_left(effect, old, new, hits=3) == {Counters.STAY: 3, Counters.BEGIN: 0, Counters.END: None}[counters]


def hits_left(effect: Effect, old: RuleSet, new: RuleSet, hits: int) -> int | None:
    """Hits that live counters of a changed rule still have, of some *hits* before the new rules came; None where none count."""
    entries = [Entry(key, value.replace("*", "any") or "any") for key, value in effect.change.entries]
    asked = Request(effect.change.rule.domain, (Descriptor(tuple(entries)),))
    simulation = Simulation(old, start=600)
    for _ in range(hits):
        simulation.check(asked)
    simulation.load(new)
    (status,) = simulation.check(asked._replace(descriptors=(Descriptor(tuple(entries), hits_addend=0),))).statuses
    if status.limit is None or status.limit_remaining == UINT32_MAX:
        return None
    return status.count or status.limit.requests_per_unit - status.limit_remaining


def test_what_is_stricter_comes_first_and_a_move_is_named() -> None:
    old = rule_set({COMPANY: rule("company", 9, name="per company"), IP: rule("ip", 5)})
    new = rule_set({(Step("org"),): rule("org", 9, name="per company"), IP: rule("ip", 3)})
    effects = compared(old, new).effects()
    assert [effect.direction for effect in effects] == [Direction.LOWER, Direction.NEW, Direction.NONE]
    assert effects[1].moved is not None
    assert effects[1].moved.path == "company"


def test_an_example_of_any_value_is_no_value_with_a_rule_of_its_own() -> None:
    """Neither an exact one nor one that a wildcard matches, in both rule sets."""
    steps = [(Step("company", value),) for value in ("any", "any1*", "any2")]
    more: Rules = {step: rule(f"company_{step[0].value}", 1) for step in steps}
    old, new = rule_set({COMPANY: rule("company", 9), **more}), rule_set({COMPANY: rule("company", 5), **more})
    (effect,) = compared(old, new).effects()
    assert (str(effect.before), str(effect.after)) == ("9/minute", "5/minute")
    assert effect.rule is not None
    assert effect.rule.path == "company"


@pytest.mark.parametrize(
    ("per_second", "refused_only", "before", "after"),
    [
        (0.05, False, 0.0, 0.0),
        (0.2, False, 0.0, 0.5),  # 12 a minute, of which 6 pass
        (0.4, False, 1 / 3, 0.75),  # 24 a minute, of which 16 passed, and 6 pass
        (0.4, True, 0.6, 0.85),  # 24 a minute were refused, and 16 passed
        (0.0, False, 0.0, 0.0),
    ],
)
def test_a_recorded_rate(per_second: float, refused_only: bool, before: float, after: float) -> None:
    comparison = compared(rule_set({COMPANY: rule("company", 16)}), rule_set({COMPANY: rule("company", 6)}))
    refusal = comparison.refusal("domain", [Entry("company", "x")], per_second, refused_only=refused_only)
    assert refusal is not None
    assert refusal.before == pytest.approx(before)
    assert refusal.after == pytest.approx(after)
    assert comparison.refusal("domain", [Entry("ip", "x")], 9, refused_only=False) is None


def rules_of(effects: Sequence[Effect]) -> list[str]:
    return [effect.change.rule.path for effect in effects]


def test_no_difference() -> None:
    same: Rules = {COMPANY: rule("company", 9)}
    assert rules_of(compared(rule_set(same), rule_set(same)).effects()) == []
