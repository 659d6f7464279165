from rls.core.rules import RuleSet
from rls.engine.changes import Changes
from rls.engine.enforcement import EnforcementState, Reason
from rls.engine.events import RulesLoaded
from rls.errors import Diagnostic, SourceLocation
from rls.observe.history import EVENTS, FILES, LONGEST_TEXT, REVISIONS, History
from tests.clock import Clock


def loaded(revision: str, at: float = 1.0, *, errors: int = 0, files: int = 1) -> RulesLoaded:
    problems = tuple(Diagnostic(SourceLocation("rules.yaml", n, 1), "x" * 1_000) for n in range(errors))
    return RulesLoaded(
        RuleSet(revision=revision), tuple(f"{n}.yaml" for n in range(files)), problems, at, Changes(changed=1)
    )


def test_it_keeps_the_last_twenty_loads_each_with_the_revision_before() -> None:
    history = History()
    for number in range(25):
        history.rules_loaded(loaded(f"revision-{number}", at=number))
    assert len(history.loads) == REVISIONS
    assert [(load.before, load.revision, load.at) for load in history.loads[:2]] == [
        ("revision-23", "revision-24", 24),
        ("revision-22", "revision-23", 23),
    ]


def test_a_load_that_changes_nothing_is_not_kept_but_one_with_other_errors_is() -> None:
    history = History()
    for event in (loaded("a"), loaded("a"), loaded("a", errors=1), loaded("a", errors=1), loaded("a")):
        history.rules_loaded(event)
    assert [load.errors_total for load in history.loads] == [0, 1, 0]


def test_files_and_errors_are_bounded() -> None:
    history = History()
    history.rules_loaded(loaded("a", errors=10_000, files=10_000))
    [load] = history.loads
    assert (len(load.files), len(load.errors), load.files_total, load.errors_total) == (FILES, FILES, 10_000, 10_000)
    assert max(map(len, load.errors)) == LONGEST_TEXT


def test_it_keeps_the_last_changes_of_state_and_how_long_each_reason_held() -> None:
    clock = Clock()
    history, enforcement = History(clock), EnforcementState(clock)
    enforcement.listen(history.reason_changed)
    for number in range(EVENTS):
        enforcement.report(Reason.NO_ROOM, "x" * 1_000)
        clock.now += number
        enforcement.report(Reason.NO_ROOM, "")
        enforcement.report(Reason.SHADOW_MODE, f"text {number}")
    assert len(history.events) == EVENTS
    changed, ended, began = history.events[:3]
    assert (changed.kind, changed.reason, changed.seconds) == ("reason_changed", "shadow_mode", 0)
    assert (ended.kind, ended.reason, ended.state, ended.seconds) == ("reason_ended", "no_room", "degraded", EVENTS - 1)
    assert (began.kind, len(began.text)) == ("reason_began", LONGEST_TEXT)
