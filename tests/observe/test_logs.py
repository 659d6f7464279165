import io
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rls.core.decide import Decision
from rls.core.model import Code, RateLimit, Unit
from rls.core.plan import Plan
from rls.core.rules import RuleId
from rls.engine.changes import Change, Changes, Kind
from rls.engine.enforced import Enforced
from rls.engine.events import RulesLoaded, RulesRejected, StoreFailed
from rls.errors import Diagnostic, SourceLocation
from rls.observe.logs import EventLog, configure
from tests.recorded import decided
from tests.terminal import HOSTILE, commands, harm
from tests.tries import Step, rule, rule_set

PROBLEMS = tuple(Diagnostic(SourceLocation("a.yaml", line, 1), "wrong") for line in (1, 2))
PLAN = Plan("mesh", True, (), (), 0)
FAILED = StoreFailed(decided(Decision(Code.OK, (), PLAN), 0.5), PLAN, "gone")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root_logger():
    """The root logger is as it was before, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def logged(stream: io.StringIO) -> list[dict[str, object]]:
    """What was logged, without the time."""
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [{key: value for key, value in entry.items() if key != "timestamp"} for entry in entries]


def test_a_line_of_json() -> None:
    stream = io.StringIO()
    configure("info", "json", stream).info("started", grpc="here", file=Path("/x"), reason=ValueError("bad"))
    assert list(json.loads(stream.getvalue())) == ["timestamp", "level", "event", "grpc", "file", "reason"]
    assert logged(stream) == [{"level": "info", "event": "started", "grpc": "here", "file": "/x", "reason": "bad"}]


def test_what_is_not_severe_enough_is_not_logged() -> None:
    stream = io.StringIO()
    log = configure("warning", "json", stream)
    log.info("small")
    log.warning("large")
    assert [entry["event"] for entry in logged(stream)] == ["large"]


@pytest.mark.parametrize(("stream", "coloured"), [(io.StringIO(), False), (Terminal(), True)])
def test_only_a_terminal_gets_colours(stream: io.StringIO, coloured: bool) -> None:
    configure("info", "text", stream).error("failed", reason="x")
    assert ("\x1b[" in stream.getvalue()) is coloured


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_shows_no_values(form) -> None:
    """Among them are passwords."""
    stream = io.StringIO()
    log = configure("info", form, stream)
    password = str(hash("hunter2"))
    try:
        int(password, base=1)
    except ValueError:
        log.exception("failed")
    assert "ValueError: int() base must be" in stream.getvalue()
    assert password not in stream.getvalue()


def test_what_libraries_log_has_the_same_form() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("library").info("too small for a library")
    logging.getLogger("library").warning("%s happened", "something")
    assert logged(stream) == [{"level": "warning", "event": "something happened"}]


RULE = RuleId("d", "a", "n", SourceLocation("a.yaml", 3, 5))
LIMIT, NOTHING = Enforced(RateLimit(5, Unit.MINUTE)), Enforced(RateLimit(0, Unit.MINUTE))


def rules_loaded(changes: Changes) -> list[dict[str, Any]]:
    """What is logged of them, where one rule is in force."""
    stream = io.StringIO()
    rules = replace(rule_set({(Step("a"),): rule("a")}), revision="8badf00d")
    EventLog(configure("info", "json", stream)).rules_loaded(RulesLoaded(rules, ("a.yaml",), (), 1.0, changes))
    return logged(stream)


def test_rules_that_are_in_force() -> None:
    changes = Changes(changed=1, stricter=1, listed=(Change(Kind.CHANGED, RULE, Enforced(None), LIMIT),))
    assert rules_loaded(changes) == [
        {
            "level": "info",
            "event": "rules_loaded",
            "revision": "8badf00d",
            "domains": 1,
            "rules": 1,
            "added": 0,
            "changed": 1,
            "removed": 0,
            "stricter": 1,
            "changes": ["changed d a (n) at a.yaml:3: unlimited → 5/minute, stricter"],
            "files": ["a.yaml"],
            "errors": 0,
        }
    ]


def test_where_all_rules_are_new_only_their_number_is_logged() -> None:
    (line,) = rules_loaded(Changes(added=1, listed=(Change(Kind.ADDED, RULE, after=LIMIT),)))
    assert "changes" not in line
    assert (line["added"], line["rules"]) == (1, 1)


def test_a_limit_that_becomes_0_has_a_line_of_its_own() -> None:
    changes = Changes(changed=1, stricter=1, listed=(Change(Kind.CHANGED, RULE, LIMIT, NOTHING),))
    assert rules_loaded(changes)[0] == {
        "level": "warning",
        "event": "rules_warning",
        "warning": "a.yaml:3:5: the limit of d a is 0/minute, and was 5/minute: every request that it matches is refused",
    }


@pytest.mark.parametrize(
    ("tell", "last"),
    [
        (lambda log: log.rules_loaded(RulesLoaded(rule_set({}), (), PROBLEMS, 1.0)), "rules_loaded"),
        (lambda log: log.rules_rejected(RulesRejected(PROBLEMS, 1.0)), "rules_rejected"),
    ],
)
def test_every_mistake_has_its_line(tell, last: str) -> None:
    stream = io.StringIO()
    tell(EventLog(configure("info", "json", stream)))
    entries = logged(stream)
    assert [entry.get("error") for entry in entries] == ["a.yaml:1:1: wrong", "a.yaml:2:1: wrong", None]
    assert (entries[-1]["event"], entries[-1]["errors"]) == (last, 2)
    assert "info" not in {entry["level"] for entry in entries}


@pytest.mark.parametrize("number", [100, 101, 5_000])
def test_the_first_mistakes_are_logged_and_the_rest_is_counted(number: int) -> None:
    """Whoever makes 100,000 mistakes at once does not fill the disk of the log."""
    stream = io.StringIO()
    problems = tuple(Diagnostic(SourceLocation("a.yaml", line, 1), "wrong") for line in range(number))
    log = EventLog(configure("info", "json", stream))
    log.rules_rejected(RulesRejected(problems, 1.0))
    log.rules_warned(problems)
    entries = logged(stream)
    for event, more, level in (
        ("rules_error", "more_errors", "error"),
        ("rules_warning", "more_warnings", "warning"),
    ):
        said = [entry for entry in entries if entry["event"] == event]
        assert len(said) == (100 if number == 100 else 101)
        assert said[-1].get(more) == (None if number == 100 else number - 100)
        assert {entry["level"] for entry in said} == {level}
    assert (entries[100 + (number > 100)]["event"], entries[100 + (number > 100)]["errors"]) == (
        "rules_rejected",
        number,
    )


def test_many_files_are_counted() -> None:
    stream = io.StringIO()
    files = tuple(f"{n}.yaml" for n in range(20_000))
    EventLog(configure("info", "json", stream)).rules_loaded(RulesLoaded(rule_set({}), files, (), 1.0))
    (entry,) = logged(stream)
    assert entry["files"] == list(files[:100])
    assert entry["more_files"] == 19_900


def test_a_failing_backend_is_told_once_a_second() -> None:
    """However many requests fail; the number of those that were not told is."""
    stream = io.StringIO()
    times = iter((0.0, 0.1, 0.9, 1.0, 1.5))
    log = EventLog(configure("info", "json", stream), clock=lambda: next(times))
    for _ in range(5):
        log.store_failed(FAILED)
    assert [(entry["event"], entry["reason"], entry["more_since_last"]) for entry in logged(stream)] == [
        ("backend_failed", "gone", 0),
        ("backend_failed", "gone", 2),
    ]


def test_limits_that_are_ignored_are_told_once_a_minute() -> None:
    stream = io.StringIO()
    times = iter((0.0, 1.0, 59.0, 60.0))
    log = EventLog(configure("info", "json", stream), clock=lambda: next(times))
    for n in range(4):
        log.override_ignored("mesh", f"descriptors[{n}].limit.unit is 0")
    assert [
        (entry["event"], entry["domain"], entry["reason"], entry["more_since_last"]) for entry in logged(stream)
    ] == [
        ("override_ignored", "mesh", "descriptors[0].limit.unit is 0", 0),
        ("override_ignored", "mesh", "descriptors[3].limit.unit is 0", 2),
    ]


def test_domains_without_rules_are_told_once_a_minute() -> None:
    stream = io.StringIO()
    times = iter((0.0, 1.0, 59.0, 60.0))
    log = EventLog(configure("info", "json", stream), clock=lambda: next(times))
    for domain in ("mehs", "mesh2", "mesh3", "mesh4"):
        log.unknown_domain(domain)
    assert [(entry["event"], entry["domain"], entry["more_since_last"]) for entry in logged(stream)] == [
        ("unknown_domain", "mehs", 0),
        ("unknown_domain", "mesh4", 2),
    ]


def test_a_backend_that_fails_is_told_by_its_changes_where_policies_answer() -> None:
    stream = io.StringIO()
    log = EventLog(configure("info", "json", stream))
    log.backend_changed("gone")
    log.store_failed(FAILED._replace(answered=True))
    log.backend_changed("")
    assert logged(stream) == [
        {"level": "warning", "event": "backend_unavailable", "reason": "gone"},
        {"level": "info", "event": "backend_recovered"},
    ]


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_text_reaches_the_log_raw(form) -> None:
    """Wherever it stands in an event; and each event stays one line, but for a traceback, which begins no line."""
    stream = io.StringIO()
    log = configure("info", form, stream)
    hostile = HOSTILE + "\udcff\ud800"
    log.info(hostile, value=hostile, path=Path(hostile), error=ValueError(hostile), raw=hostile.encode(errors="ignore"))
    log.info("nested", files=[hostile], told={hostile: (hostile, {hostile})})
    logging.getLogger("library").warning("%s", hostile)
    log.error("failed", exc_info=ValueError(hostile))
    try:
        int(hostile)
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception(hostile)
    shown = stream.getvalue()
    assert not harm(shown)
    assert commands(shown) == []
    assert len([line for line in shown.splitlines() if not line.startswith("  ")]) == 6
    assert shown.count("ValueError: ") == 3


def test_text_is_escaped_once() -> None:
    streams = io.StringIO(), io.StringIO()
    for log in configure("info", "text", streams[0]), configure("info", "json", streams[1]):
        log.info("loaded", one="a\x1bb", words="it's \x1b é \udcff", files=["a\\b"])
    assert streams[0].getvalue().endswith("""[info] loaded files=['a\\\\b'] one=a\\x1bb words="it's \\x1b é \\xff"\n""")
    (entry,) = logged(streams[1])
    assert entry == {
        "level": "info",
        "event": "loaded",
        "one": "a\\x1bb",
        "words": "it's \\x1b é \\xff",
        "files": ["a\\\\b"],
    }
