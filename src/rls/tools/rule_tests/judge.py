"""What came of a step, compared with what was expected of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rls.api.messages import Answer, DescriptorAnswer
from rls.core.check import Check, Status
from rls.core.decide import Decision
from rls.core.model import UINT32_MAX
from rls.errors import SourceLocation
from rls.tools.rule_tests.grammar import EXPECTED
from rls.tools.rule_tests.mistakes import Located

_MOST_SHOWN = 8


class Failure(NamedTuple):
    """One expectation that was not met.

    Attributes:
        place: Where it stands.
        what: Which one, as `answer` or `statuses[1].remaining`.
        expected: What stands there.
        got: What came.
        notes: Lines on the request: what was asked, which rules applied.
    """

    place: SourceLocation
    what: str
    expected: str
    got: str
    notes: Sequence[str] = ()


class Came(NamedTuple):
    """What came of one request: an *error*, or an *answer* by a *decision* that hit the counters *keys*.

    Places in *metadata* are relative to the rules' folder.
    """

    error: str = ""
    answer: Answer | None = None
    decision: Decision | None = None
    metadata: Mapping[str, Any] = {}
    keys: Sequence[str] = ()


def judge(step: Located, came: Came, unseen: Collection[str] = ()) -> Iterator[Failure]:
    """What was not as *step* expects; nothing named in *unseen* is compared."""
    if came.answer is None or came.decision is None or "error" in step:
        if "error" not in step:
            yield Failure(step.where("answer"), "answer", _text(step["answer"]), f"the error {came.error}")
        elif step["error"] != came.error:
            got_instead = came.error or f"the answer {came.answer.code if came.answer else ''}"
            yield Failure(step.where("error"), "error", _text(step["error"]), got_instead)
        return
    shown = _shown(came.answer, came.decision, came)
    defaults: dict[str, Any] = {"known": True, "shadowed": False}
    for name in EXPECTED:
        if name in unseen or (name not in step and name not in defaults):
            continue
        expected = step[name] if name in step else defaults[name]
        if name == "statuses":
            yield from _judge_statuses(step, came.answer, came.decision, unseen)
            continue
        got = shown[name]
        if name == "body":
            got = {key: got.get(key) for key in expected}
        if got != expected:
            yield Failure(step.where(name), name, _text(expected), _text(got))


def _shown(answer: Answer, decision: Decision, came: Came) -> dict[str, Any]:
    return {
        "answer": answer.code,
        "limited_by": came.metadata.get("name", came.metadata.get("rule")),
        "headers": dict(answer.headers),
        "metadata": came.metadata,
        "body": json.loads(answer.raw_body or b"{}"),
        "keys": list(came.keys),
        "known": decision.plan.known,
        "shadowed": decision.shadowed,
    }


def _judge_statuses(step: Located, answer: Answer, decision: Decision, unseen: Collection[str]) -> Iterator[Failure]:
    expected = step["statuses"]
    if len(expected) != len(answer.statuses):
        got = f"{len(answer.statuses)} of them"
        yield Failure(step.where("statuses"), "statuses", f"{len(expected)} of them", got)
        return
    for i, one in enumerate(expected):
        got = show_status(answer.statuses[i])
        if isinstance(one, str):
            if got != one:
                yield Failure(step.where("statuses"), f"statuses[{i + 1}]", one, _text(got))
            continue
        fields = (got if isinstance(got, dict) else {"code": got}) | show_accounts(decision.statuses[i])
        for key, value in one.items():
            found = _rule_as(value, decision.statuses[i].check) if key == "rule" else fields.get(key)
            if key not in unseen and found != value:
                yield Failure(one.where(key), f"statuses[{i + 1}].{key}", _text(value), _text(found))


def show_status(status: DescriptorAnswer) -> Any:
    """A status as tests write it: its code where no limit holds, else a mapping."""
    if status.limit is None:
        return f"{status.code} unlimited" if status.limit_remaining == UINT32_MAX else status.code
    shown = {
        "code": status.code,
        "limit": status.limit.text,
        "remaining": status.limit_remaining,
        "reset": status.seconds_until_reset,
    }
    return shown | ({"name": status.limit.name} if status.limit.name else {})


def show_accounts(status: Status) -> dict[str, Any]:
    """What a response does not show of a status."""
    accounts = {name: getattr(status, name) for name in ("over_limit", "near_limit", "within_limit")}
    check = status.check
    is_counted = check.rule is not None or check.limit is not None
    label = (check.value or check.path) if is_counted else ""
    return {**accounts, "amount": check.amount, "label": label}


def _rule_as(expected: str | None, check: Check) -> str | None:
    """The rule of *check*: its path, where that is *expected*, else its name if it has one."""
    if check.rule is None and check.limit is None:
        return None
    return check.path if expected == check.path else check.policy_name


def notes_on(decision: Decision) -> list[str]:
    """A line for each of the first descriptors: the rule that applied, and what it came to."""
    lines = [_note(decision.plan.domain, status) for status in decision.statuses[:_MOST_SHOWN]]
    more = len(decision.statuses) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


def _note(domain: str, status: Status) -> str:
    check = status.check
    text = f"{check.descriptor.text}: "
    if check.replaced:
        return f"{text}its rule is replaced by another rule of the request"
    if check.rule is None and check.limit is None:
        return f"{text}no rule matches"
    text += f"rule {check.id(domain)}"
    if check.limit is None:
        return f"{text}: unlimited"
    return f"{text}: {status.code.name}, {status.limit_remaining} of {check.limit.text} left"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
