from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rls.core.match import match
from rls.core.model import Entry, RateLimit, Unit
from rls.core.overrides import Override
from rls.core.rules import Domain, OnBackendError, RuleId, RuleSet, TrieNode
from rls.engine.changes import MAX_LISTED, Change, Kind, compare
from rls.engine.digests import digest_domain
from rls.engine.enforced import Enforced
from rls.engine.events import RulesLoaded, RulesRejected
from rls.engine.layers import Layer, merge
from rls.engine.limiter import Limiter
from rls.engine.rulebook import Rulebook
from rls.errors import Diagnostic, SourceLocation
from rls.observe.rule_counters import CountersByRule
from rls.slices import STEP, Steps
from rls.stores.memory import MemoryStore
from tests.counters import until
from tests.recorded import Events
from tests.tries import Step, descriptor, request, rule, rule_set

MISTAKE = Diagnostic(SourceLocation("rules.yaml", 3, 5), "unknown key")


MANY = rule_set({(Step("k", str(number)),): rule(f"k_{number}", 1) for number in range(20_000)})
"""So many that they take more than one slice."""


def rulebook(*observers: Any, sources: int = 1) -> Rulebook:
    made = Rulebook(Limiter(MemoryStore()), observers, clock=lambda: 7.0)
    for _ in range(sources):
        made.add_source()
    return made


def limits(**requests: int | None) -> RuleSet:
    """Rules of one level, by their keys."""
    return rule_set({(Step(key),): rule(key, number) for key, number in requests.items()})


def limit_of(rules: RuleSet, *entries: tuple[str, str]) -> int | None:
    found = match(rules.domains["domain"], tuple(Entry(*entry) for entry in entries))
    return found.rule.limit.requests_per_unit if found and found.rule.limit else None


async def revision_of(*layers: RuleSet) -> str:
    book = rulebook(sources=len(layers))
    for number, rules in enumerate(layers):
        await book.publish(number, Layer(rules))
    return book.revision


async def test_a_layer_is_put_in_force_and_told() -> None:
    events = Events()
    book = rulebook(events)
    assert (book.loaded, book.revision, book.loaded_at) == (False, "", 0)
    await book.publish(0, Layer(limits(a=1, b=2), files=("a.yaml",), mistakes=(MISTAKE,)))
    assert (book.loaded, book.loaded_at, book.diagnostics) == (True, 7.0, (MISTAKE,))
    (event,) = events
    assert event == RulesLoaded(book.rules, ("a.yaml",), (MISTAKE,), 7.0, book.changes)
    assert event.rules.counts == {"domain": 2}
    assert (event.changes.added, event.changes.changed, event.changes.removed) == (2, 0, 0)


async def test_a_rejected_layer_leaves_the_last_good_one_in_force() -> None:
    events = Events()
    book = rulebook(events)
    await book.publish(0, Layer(rejected=True, mistakes=(MISTAKE,)))
    assert not book.loaded
    await book.publish(0, Layer(limits(a=1)))
    before = book.rules
    await book.publish(0, Layer(rejected=True, mistakes=(MISTAKE,)))
    assert book.rules is before
    assert book.diagnostics == (MISTAKE,)
    assert [event for event in events if isinstance(event, RulesRejected)] == [RulesRejected((MISTAKE,), 7.0)] * 2
    await book.publish(0, Layer(limits(a=1)))
    assert not book.diagnostics


async def test_what_changed_is_told_by_rule() -> None:
    book = rulebook()
    await book.publish(0, Layer(limits(a=1, b=1, c=1)))
    await book.publish(0, Layer(limits(b=1, c=2, d=1)))
    assert str(book.changes) == (
        "1 added, 1 changed, 1 removed: "
        "removed domain a: 1/minute, changed domain c: 1/minute → 2/minute, added domain d: 1/minute"
    )
    assert book.rules.counts == {"domain": 3}
    await book.publish(0, Layer(limits(d=1, c=2, b=1)))
    assert str(book.changes) == "no rule changed"


async def test_of_many_changes_the_first_are_named_and_all_are_counted() -> None:
    book = rulebook()
    await book.publish(0, Layer(limits(**{f"k{number}": 1 for number in range(1_000)})))
    assert book.changes.added == 1_000
    assert len(book.changes.listed) == MAX_LISTED
    assert str(book.changes).endswith(f", and {1_000 - MAX_LISTED} more")


async def test_of_many_changes_those_that_refuse_more_are_named_first() -> None:
    """A limit of 0 before all, since it may be a slip."""
    many = {f"k{number}": 5 for number in range(1_000)}
    book = rulebook()
    await book.publish(0, Layer(limits(**many)))
    await book.publish(0, Layer(limits(**{**dict.fromkeys(many, 6), "k998": 4, "k999": 0})))
    changes = book.changes
    assert (changes.changed, changes.stricter, len(changes.listed)) == (1_000, 2, MAX_LISTED)
    assert [str(change) for change in changes.listed[:3]] == [
        "changed domain k999: 5/minute → 0/minute, stricter",
        "changed domain k998: 5/minute → 4/minute, stricter",
        "changed domain k0: 5/minute → 6/minute",
    ]
    assert [change.rule.path for change in changes.warnings] == ["k999"]
    assert str(changes).startswith("1000 changed (2 stricter): ")


MINUTE_5, SHADOW_5 = Enforced(RateLimit(5, Unit.MINUTE)), Enforced(RateLimit(5, Unit.MINUTE), shadow_mode=True)
REPLACES, QUOTA, SHARED = (
    MINUTE_5._replace(replaces=frozenset({"ip"})),
    MINUTE_5._replace(quota_mode=True),
    MINUTE_5._replace(shared=True),
)
NOTHING, UNLIMITED = Enforced(RateLimit(0, Unit.DAY)), Enforced(None)


@pytest.mark.parametrize(
    ("before", "after", "text", "stricter"),
    [
        (MINUTE_5, Enforced(RateLimit(4, Unit.MINUTE)), "5/minute → 4/minute, stricter", True),
        (MINUTE_5, Enforced(RateLimit(6, Unit.MINUTE)), "5/minute → 6/minute", False),
        (MINUTE_5, Enforced(RateLimit(200, Unit.HOUR, 2)), "5/minute → 200/2 hours, stricter", True),
        (Enforced(RateLimit(300, Unit.HOUR)), MINUTE_5, "300/hour → 5/minute, stricter", True),
        (MINUTE_5, Enforced(RateLimit(300, Unit.HOUR)), "5/minute → 300/hour", False),
        (UNLIMITED, MINUTE_5, "unlimited → 5/minute, stricter", True),
        (MINUTE_5, UNLIMITED, "5/minute → unlimited", False),
        (SHADOW_5, MINUTE_5, "5/minute in shadow mode → 5/minute, stricter", True),
        (MINUTE_5, SHADOW_5, "5/minute → 5/minute in shadow mode", False),
        (MINUTE_5, MINUTE_5, "5/minute as before", False),
        (REPLACES, MINUTE_5, "5/minute, replaces ip → 5/minute, stricter", True),
        (MINUTE_5, REPLACES, "5/minute → 5/minute, replaces ip", False),
        (REPLACES._replace(limit=None), UNLIMITED, "unlimited, replaces ip → unlimited, stricter", True),
        (QUOTA, MINUTE_5, "5/minute in quota mode → 5/minute, stricter", True),
        (MINUTE_5, QUOTA, "5/minute → 5/minute in quota mode", False),
        (MINUTE_5, SHARED, "5/minute → 5/minute, one counter for all values, stricter", True),
        (SHARED, MINUTE_5, "5/minute, one counter for all values → 5/minute", False),
        (
            MINUTE_5,
            MINUTE_5._replace(on_backend_error=OnBackendError.DENY),
            "5/minute → 5/minute, deny on a backend error",
            False,
        ),
    ],
)
def test_a_change_says_what_passed_and_what_passes(
    before: Enforced, after: Enforced, text: str, stricter: bool
) -> None:
    """A smaller limit is stricter, and of limits that let as much pass in the long run, the smaller window."""
    change = Change(Kind.CHANGED, RuleId("d", "a"), before, after)
    assert (str(change), change.stricter) == (f"changed d a: {text}", stricter)


@pytest.mark.parametrize("before", [MINUTE_5, SHADOW_5, UNLIMITED])
def test_a_limit_that_becomes_0_is_warned_of(before: Enforced) -> None:
    change = Change(Kind.CHANGED, RuleId("d", "a"), before, NOTHING)
    said = f"the limit of d a is 0/day, and was {before}: every request that it matches is refused"
    assert change.warning == said
    unwarned = [(NOTHING, NOTHING), (NOTHING, MINUTE_5), (before, NOTHING._replace(shadow_mode=True)), (None, NOTHING)]
    assert [Change(Kind.CHANGED, RuleId("d", "a"), *pair).warning for pair in unwarned] == [""] * 4


async def test_a_change_names_what_differs_and_only_that() -> None:
    """What both revisions say is left out, but for the limit."""
    first = rule("a", 5, replaces=frozenset({"ip"}), name="first")
    second = rule("a", 6, replaces=frozenset({"ip"}), name="second", metadata={"plan": "gold"})
    third = rule("a", 6, name="second", metadata={"plan": "gold"})
    fourth = rule("a", 6, name="fourth", metadata={"plan": "gold"})
    book = rulebook()
    said = []
    for one in (first, second, third, fourth):
        await book.publish(0, Layer(rule_set({(Step("a"),): one})))
        said += [(str(change), change.stricter) for change in book.changes.listed]
    assert said[1:] == [
        ("changed domain a (second): 5/minute → 6/minute; name and metadata differ", False),
        ("changed domain a (second): 6/minute, replaces ip → 6/minute, stricter", True),
        ("changed domain a (fourth): 6/minute as before; name differs", False),
    ]


async def test_rules_below_others_are_compared_too() -> None:
    def rules(deepest: int) -> RuleSet:
        return rule_set({(Step("a", "x"),): rule("a_x", 1), (Step("a", "x"), Step("b")): rule("a_x.b", deepest)})

    book = rulebook()
    await book.publish(0, Layer(rules(1)))
    await book.publish(0, Layer(rules(2)))
    assert [str(change) for change in book.changes.listed] == ["changed domain a_x.b: 1/minute → 2/minute"]
    await book.publish(0, Layer(RuleSet()))
    assert book.changes.removed == 2


async def test_a_revision_is_a_hash_of_what_the_rules_say() -> None:
    """Whatever the order, the place and the objects."""
    one = await revision_of(limits(a=1, b=2))
    assert len(one) == 12
    assert int(one, 16)
    assert await revision_of(limits(b=2, a=1)) == one
    moved = limits(a=1, b=2)
    for node in moved.domains["domain"].root.children():
        node.place = SourceLocation("elsewhere.yaml", 9, 9)
    assert await revision_of(moved) == one


@pytest.mark.parametrize(
    "other",
    [
        limits(a=1),
        limits(a=1, c=2),
        limits(a=1, b=3),
        limits(a=1, b=None),
        rule_set({(Step("a"),): rule("a", 1), (Step("b"),): rule("b", 2, name="n")}),
        rule_set({(Step("a"),): rule("a", 1), (Step("b"),): rule("b", 2, shadow_mode=True)}),
        rule_set({(Step("a"),): rule("a", 1), (Step("b"),): rule("b", 2, replaces=["n"])}),
        rule_set({(Step("a"),): rule("a", 1), (Step("b"),): rule("b", 2, metadata={"k": 1})}),
        rule_set({(Step("a"),): rule("a", 1), (Step("b"),): rule("b", 2, on_backend_error=OnBackendError.DENY)}),
        rule_set({(Step("a"),): rule("a", 1), (Step("b"),): rule("b", 2), (Step("c"),): None}),
    ],
)
async def test_whatever_the_rules_say_is_in_the_revision(other: RuleSet) -> None:
    assert await revision_of(other) != await revision_of(limits(a=1, b=2))


async def test_the_order_of_wildcards_is_in_the_revision() -> None:
    """The first that matches wins."""

    def rules(*values: str) -> RuleSet:
        return rule_set({(Step("k", value),): rule(f"k_{value}", 1) for value in values})

    assert await revision_of(rules("a*", "*b")) != await revision_of(rules("*b", "a*"))
    assert await revision_of(rules("a", "b")) == await revision_of(rules("b", "a"))


async def test_what_a_domain_says_is_in_the_revision() -> None:
    charging, refunding = (RuleSet({"d": Domain("d", TrieNode(), said)}) for said in (True, False))
    assert await revision_of(charging) != await revision_of(refunding)


async def test_a_later_layer_adds_and_overrides() -> None:
    below = rule_set(
        {
            (Step("a"),): rule("a", 1),
            (Step("a"), Step("b")): rule("a.b", 2),
            (Step("k", "x*"),): rule("k_x*", 3),
            (Step("other"),): rule("other", 4),
        }
    )
    above = rule_set(
        {
            (Step("a"),): rule("a", 10),
            (Step("k", "x*"),): rule("k_x*", 30),
            (Step("k", "*"),): rule("k_*", 31),
            (Step("new"),): rule("new", 50),
        }
    )
    book = rulebook(sources=2)
    await book.publish(0, Layer(below))
    await book.publish(1, Layer(above))
    rules = book.rules
    found = [
        limit_of(rules, ("a", "1")),
        limit_of(rules, ("a", "1"), ("b", "1")),
        limit_of(rules, ("k", "xy")),
        limit_of(rules, ("k", "y")),
        limit_of(rules, ("other", "1")),
        limit_of(rules, ("new", "1")),
    ]
    assert found == [10, 2, 30, 31, 4, 50]
    assert rules.counts == {"domain": 6}
    assert limit_of(below, ("a", "1")) == 1, "a layer is read-only"
    await book.publish(1, Layer(RuleSet()))
    assert limit_of(book.rules, ("a", "1")) == 1
    assert book.revision == await revision_of(below)


async def test_a_rejected_layer_does_not_touch_those_of_other_sources() -> None:
    book = rulebook(sources=2)
    await book.publish(0, Layer(limits(a=1)))
    await book.publish(1, Layer(limits(b=2)))
    await book.publish(1, Layer(rejected=True, mistakes=(MISTAKE,)))
    await book.publish(0, Layer(limits(a=3)))
    assert [limit_of(book.rules, (key, "1")) for key in "ab"] == [3, 2]
    assert book.diagnostics == (MISTAKE,)


async def test_an_earlier_load_never_overtakes_a_later_one() -> None:
    """Not even one that takes long, and is published when the later one has been put in force, or is on its way."""
    book = rulebook()
    slow = asyncio.create_task(book.publish(0, Layer(MANY, generation=1)))
    await asyncio.sleep(0)
    done = [
        await asyncio.create_task(book.publish(0, Layer(limits(a=3), generation=3))),
        await book.publish(0, Layer(limits(a=2), generation=2)),
        await slow,
    ]
    assert done == [True, False, True]
    assert limit_of(book.rules, ("a", "1")) == 3


async def test_a_load_that_waits_is_dropped_for_a_later_one() -> None:
    layers = [MANY, *(limits(a=number) for number in range(2, 6))]
    book = rulebook()
    loads = [asyncio.create_task(book.publish(0, Layer(rules, generation=n))) for n, rules in enumerate(layers, 1)]
    assert await asyncio.gather(*loads) == [True, False, False, False, True]
    assert limit_of(book.rules, ("a", "1")) == 5


async def test_observers_prepare_in_steps_before_rules_are_in_force() -> None:
    seen: list[object] = []

    class Preparing(Events):
        def prepare_rules(self, rules: RuleSet):
            for step in range(3):
                seen.append((step, rules.size(), book.loaded))
                yield

    events = Preparing()
    book = rulebook(events)
    await book.publish(0, Layer(limits(a=1)))
    assert seen == [(step, 1, False) for step in range(3)]
    assert len(events) == 1


async def test_old_rules_are_freed_but_what_others_use() -> None:
    """A request keeps the rules that it began with, and rules in force share what did not change."""
    book = rulebook()
    shared = rule_set({(Step("s"),): rule("s", 1)}, "shared").domains["shared"]
    first = rule_set({(Step("k", str(n)), Step("x")): rule(f"k_{n}.x", 1) for n in range(50)})
    await book.publish(0, Layer(replace(first, domains={**first.domains, "shared": shared})))
    root = first.domains["domain"].root
    children = root.exact
    planner = book._limiter.planner
    del first
    await book.publish(0, Layer(RuleSet({"shared": shared})))
    await asyncio.sleep(0.05)
    assert len(children) == 50
    assert len(book.old_rules) == 1, "not the domain that stayed"
    del planner, root
    await until(lambda: not children)
    assert limit_of(RuleSet({"domain": book.rules.domains["shared"]}), ("s", "1")) == 1
    await until(lambda: not len(book.old_rules))


async def test_what_a_planner_remembers_of_old_rules_is_freed() -> None:
    book = rulebook()
    await book.publish(0, Layer(limits(a=1)))
    planner = book._limiter.planner
    planner.plan(request(descriptor(("a", "x"))))
    (cache,) = planner.caches()
    assert cache
    await book.publish(0, Layer(limits(a=2)))
    await until(lambda: not cache)
    assert planner.plan(request(descriptor(("a", "x")))).checks[0].requests_per_unit == 1, "a request may still use it"


def steps_of(work: Steps[Any]) -> int:
    return sum(1 for _ in work)


@pytest.mark.parametrize("below", [(), (Step("above"),)], ids=["at the top", "below another"])
def test_each_step_handles_a_bounded_number_of_rules(below: tuple[Step, ...]) -> None:
    """So that a slice never lasts much longer than it should, however many rules there are."""

    def many(requests: int) -> RuleSet:
        return rule_set({(*below, Step("k", str(n))): rule(f"k_{n}", requests) for n in range(100 * STEP)})

    one, other = many(1), many(2)
    bounded = [
        steps_of(digest_domain(one.domains["domain"])),
        steps_of(digest_domain(other.domains["domain"])),
        steps_of(compare(RuleSet(), one)),
        steps_of(compare(one, other)),
        steps_of(compare(one, RuleSet())),
        steps_of(merge([one, other])),
        steps_of(CountersByRule().prepare(one)),
    ]
    assert min(bounded) >= 100


def test_pods_with_the_same_rules_have_the_same_revision(tmp_path: Path) -> None:
    """In two processes, whose hashes of texts differ, and in directories, files and an order of their own."""
    rules = [
        f"domain: {domain}\ndescriptors:\n- {{key: {key}, rate_limit: {LIMIT}}}\n" for domain in "ab" for key in "kl"
    ]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "all.yaml").write_text("---\n".join(rules))
    (tmp_path / "other").mkdir()
    for number, text in enumerate(reversed(rules)):
        (tmp_path / "other" / f"{number}.yaml").write_text(text)
    found = [
        subprocess.run(
            [sys.executable, "-c", SHOW_REVISION, str(tmp_path / name)],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in ("one", "other")
        for seed in (1, 2)
    ]
    assert len(set(found)) == 1
    assert re.fullmatch(r"[0-9a-f]{12}\n", found[0])


LIMIT = "{unit: day, requests_per_unit: 1, replaces: [{name: x}, {name: y}, {name: z}]}"
SHOW_REVISION = """
import asyncio, sys
from pathlib import Path
from rls.engine.layers import Layer
from rls.engine.limiter import Limiter
from rls.engine.rulebook import Rulebook
from rls.sources.load import load
from rls.stores.memory import MemoryStore

async def main():
    rulebook = Rulebook(Limiter(MemoryStore()))
    await rulebook.publish(rulebook.add_source(), Layer(load([Path(sys.argv[1])]).rules))
    print(rulebook.revision)

asyncio.run(main())
"""


def overridden(value: str = "acme", limit: int = 50) -> Override:
    entries = (Entry("key", value),)
    return Override("id", "domain", entries, RateLimit(limit, Unit.MINUTE), 0.0, 1.0, "alice", "T-1", "key")


def loads(heard: Events) -> list[RulesLoaded]:
    return [event for event in heard if isinstance(event, RulesLoaded)]


async def test_overrides_are_a_part_of_the_revision_and_no_load() -> None:
    heard = Events()
    limiter = Limiter(MemoryStore())
    rulebook = Rulebook(limiter, (heard,))
    source = rulebook.add_source()
    await rulebook.override([overridden()])
    assert not rulebook.loaded, "there are no rules yet"
    rules = rule_set({(Step("key"),): rule("key", 5)})
    await rulebook.publish(source, Layer(rules))
    assert [one.is_load for one in loads(heard)] == [True]
    assert loads(heard)[0].began == (overridden(),)
    first = rulebook.revision

    async def limit() -> int:
        return (await limiter.check(request(descriptor(("key", "acme"))))).statuses[0].check.requests_per_unit

    assert await limit() == 50
    await rulebook.override([overridden(limit=60)])
    assert await limit() == 60
    assert rulebook.revision != first
    assert (loads(heard)[1].is_load, loads(heard)[1].ended) == (False, (overridden(),))
    await rulebook.publish(source, Layer(rule_set({(Step("key"),): rule("key", 6)})))
    assert await limit() == 60, "a load of rules keeps them"
    assert (loads(heard)[2].began, loads(heard)[2].ended) == ((), ())
    await rulebook.override([])
    assert await limit() == 6
    plain = Rulebook(Limiter(MemoryStore()))
    await plain.publish(plain.add_source(), Layer(rule_set({(Step("key"),): rule("key", 6)})))
    assert rulebook.revision == plain.revision
