"""The grammar of test files: YAML → tests, with the place of each expectation. docs/rule-tests.md describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from rls.config.nodes import YamlMapping, YamlNode, parse
from rls.config.schema import SCHEMA_URL
from rls.core.keys import KeyFormat
from rls.core.model import UINT32_MAX, RateLimit, Unit
from rls.core.rules import OnBackendError
from rls.errors import ConfigError, SourceLocation
from rls.settings.values import parse_duration
from rls.tools.rule_tests.kinds import (
    TEXT,
    Flag,
    Free,
    Key,
    ListOf,
    MapOf,
    Null,
    OneOf,
    Plain,
    Schema,
    Shape,
    Whole,
    words,
)
from rls.tools.rule_tests.mistakes import Located, Mistakes

MOST_TIMES = 100_000
"""Requests of one step: they take ten seconds on a slow machine."""
START = 1_700_000_040
"""Unix time at which a test begins, unless it says otherwise: the start of a minute."""


def read_limit(text: str) -> RateLimit:
    """`10/minute` or `10/2 minutes`; a unit may be a number, which a caller may send though nobody knows it.

    Raises:
        ValueError: It is something else.
    """
    per_unit, slash, window = text.partition("/")
    units, _, name = window.rpartition(" ")
    name = name.upper().removesuffix("S")
    if not slash or not (name.isdecimal() or name in Unit.__members__):
        raise ValueError(text)
    unit: Any = int(name) if name.isdecimal() else Unit[name]
    return RateLimit(int(per_unit), unit, int(units or 1))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return parse_duration(text)


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise
        return found.timestamp()


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise ValueError(text)
    return share


LIMIT = Plain("a limit such as `10/minute` or `10/2 hours`", ("string",), read_text=read_limit)
SECONDS = Plain("seconds such as `59` or a duration such as `59s` or `2h`", ("number", "string"), read_text=_seconds)
TIME = Plain("a time such as `2026-01-31T12:00:00Z`, or Unix seconds", ("number", "string"), read_text=_time)
SHARE = Plain("a number above 0, at most 1", ("number",), read_text=_share)
RULES = OneOf([MapOf(TEXT), TEXT], "rules in YAML as text, or a mapping from file names to such texts")
PATHS = OneOf([ListOf(TEXT), TEXT], "a path of rules, or a list of paths")
_ENTRIES = MapOf(TEXT, without="entries")

DESCRIPTOR = Shape(
    "a descriptor with `entries`",
    {
        "entries": Key(ListOf(ListOf(TEXT, "a key and a value", 2)), "Its entries, each as [key, value].", needed=True),
        "limit": Key(LIMIT, "A limit that the request brings."),
        "hits_addend": Key(Whole(), "Hits of this descriptor; 0 looks without counting."),
        "is_negative_hits": Key(Flag(), "Give the hits back."),
    },
)


class _Descriptors:
    """One descriptor, or a list of them."""

    expected = "a descriptor such as `{company_id: acme}`, or a list of descriptors"
    _list = ListOf(OneOf([_ENTRIES, DESCRIPTOR], expected))

    def fits(self, node: YamlNode) -> bool:
        return isinstance(node, YamlMapping) or self._list.fits(node)

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        return (
            [self._list.item.read(node, mistakes)] if isinstance(node, YamlMapping) else self._list.read(node, mistakes)
        )

    def schema(self) -> Schema:
        return {"anyOf": [self._list.item.schema(), self._list.schema()]}


_CODES = ("OK", "OVER_LIMIT")
STATUS = Shape(
    "a status",
    {
        "code": Key(words(*_CODES, "OK unlimited"), "What the limit of this descriptor says."),
        "rule": Key(
            OneOf([Null(), TEXT], "a rule, or `null`"), "Name or path of the rule that applies; null for none."
        ),
        "limit": Key(TEXT, "Its limit, such as 10/minute or 10/2 minutes."),
        "remaining": Key(Whole(), "Hits that are left."),
        "reset": Key(Whole(), "Seconds until the counter starts again."),
        "name": Key(OneOf([Null(), TEXT], "a name, or `null`"), "Name of the limit; null for none."),
        "amount": Key(Plain("a whole number", ("integer",), int), "Hits that were added; negative where given back."),
        "within_limit": Key(Whole(), "Hits that count as within the limit."),
        "near_limit": Key(Whole(), "Hits that count as near the limit."),
        "over_limit": Key(Whole(), "Hits that count as over the limit."),
        "label": Key(TEXT, "The rule's path, with values where its metrics show them."),
    },
)
EXPECTED: dict[str, Key] = {
    "answer": Key(words(*_CODES), "The overall code."),
    "error": Key(TEXT, "Instead of an answer: the gRPC status code and its message."),
    "limited_by": Key(
        OneOf([Null(), TEXT], "a rule, or `null`"), "Name of the rule that refuses, or its path; null for none."
    ),
    "statuses": Key(
        ListOf(OneOf([STATUS, words(*_CODES, "OK unlimited")], "a code or a mapping")), "One for each descriptor."
    ),
    "headers": Key(MapOf(TEXT), "The response headers, all of them."),
    "metadata": Key(Free(), "The dynamic metadata, all of it."),
    "body": Key(Free(), "Fields of the problem+json body."),
    "keys": Key(ListOf(TEXT), "Keys of the counters that were hit, in their order."),
    "known": Key(Flag(), "Whether the rules have the domain. Default: true."),
    "shadowed": Key(Flag(), "Whether only the server's shadow mode made it OK. Default: false."),
}
STEP = Shape(
    "a step",
    {
        "at": Key(SECONDS, "Time since the start. Default: that of the step before."),
        "load": Key(RULES, "New rules, loaded as a reload loads them."),
        "problems": Key(ListOf(TEXT), "Mistakes that this load finds: a part of each, in their order."),
        "backend": Key(words("away", "back"), "From now on the backend does not answer, or answers again."),
        "ask": Key(_Descriptors(), "Descriptors of the request."),
        "domain": Key(TEXT, "Domain of the request. Default: that of the test."),
        "hits_addend": Key(Whole(most=UINT32_MAX), "Hits of the request. Default: 1."),
        "times": Key(
            Whole(1, MOST_TIMES),
            f"How often it is sent, with the same answer each time, up to {MOST_TIMES:,}. Default: 1.",
        ),
        **EXPECTED,
    },
)
_HEADERS = OneOf([Flag(), ListOf(TEXT, "three names", 3)], "`true`, or a list of three names")
SETTINGS = Shape(
    "settings",
    {
        "shadow_mode": Key(Flag(), "As --shadow-mode."),
        "quota_mode": Key(Flag(), "As --quota-mode."),
        "near_limit_ratio": Key(SHARE, "As --near-limit-ratio."),
        "key_format": Key(words(*KeyFormat), "As --key-format."),
        "key_prefix": Key(TEXT, "As --key-prefix."),
        "refund_over_limit": Key(Flag(), "As --refund-over-limit."),
        "on_backend_error": Key(words(*OnBackendError), "As --on-backend-error."),
        "replicas": Key(Whole(1), "As --replicas."),
        "limit_headers": Key(_HEADERS, "As --limit-response-headers-enabled; the names of the three headers."),
        "ietf_headers": Key(Flag(), "As --ietf-headers."),
        "limited_by_header": Key(TEXT, "As --limited-by-header."),
        "problem_json": Key(Flag(), "As --problem-json."),
        "dynamic_metadata": Key(Flag(), "As --response-dynamic-metadata."),
    },
)
TEST = Shape(
    "a test",
    {
        "about": Key(TEXT, "What must hold, in one sentence.", needed=True),
        "rules": Key(RULES, "The rules; without them, and without `config`, those of --config."),
        "config": Key(PATHS, "Paths of the rules, relative to this file."),
        "domain": Key(TEXT, "Domain of the requests. Default: that of the rules if they have one, else mesh."),
        "settings": Key(SETTINGS, "Settings of the server that are not the defaults."),
        "start": Key(TIME, "When it begins. Default: 2023-11-14T22:14:00Z, the start of a minute."),
        "steps": Key(ListOf(STEP), "What happens, in its order.", needed=True),
    },
)


@dataclass(frozen=True)
class RuleTest:
    """One test of a file. *fields* are those of `TEST`, each of its steps those of `STEP`."""

    fields: Located

    @property
    def about(self) -> str:
        """What must hold."""
        return str(self.fields["about"])

    @property
    def steps(self) -> Sequence[Located]:
        """What happens, in its order."""
        steps: Sequence[Located] = self.fields["steps"]
        return steps

    @property
    def config(self) -> Sequence[Path]:
        """Paths of its rules; none if it has them itself, or takes those of the command line."""
        given = self.fields.get("config") or ()
        beside = Path(self.fields.place.file).parent
        return [beside / path for path in ([given] if isinstance(given, str) else given)]

    @property
    def start(self) -> float:
        """Unix seconds."""
        return float(self.fields.get("start", START))


class RuleTests(NamedTuple):
    """The tests of one file."""

    name: str
    tests: Sequence[RuleTest]


def read_tests(name: str, text: bytes) -> RuleTests:
    """The tests of the file *name*, one for each YAML document of *text*.

    Raises:
        ConfigError: It holds something else; all mistakes, with their places.
    """
    mistakes = Mistakes(name)
    tests = []
    for node in parse(name, text):
        read = TEST.read(node, mistakes)
        if isinstance(read, Located):
            _relate(read, mistakes)
            tests.append(RuleTest(read))
    if not tests and not mistakes.found:
        mistakes.add(SourceLocation(name, 1, 1), "no test here, expected `about` and `steps`")
    if mistakes.found:
        raise ConfigError(tuple(sorted(mistakes.found)))
    return RuleTests(name, tests)


def _relate(test: Located, mistakes: Mistakes) -> None:
    """Add what is wrong between keys."""
    if "rules" in test and "config" in test:
        mistakes.add(test.where("config"), "`config` stands beside `rules`, expected one of them")
    for step in test.get("steps") or ():
        if not isinstance(step, Located):
            continue
        if "ask" in step and ("answer" in step) + ("error" in step) != 1:
            mistakes.add(step.where("ask"), "the step asks, expected either `answer` or `error` beside `ask`")
        if "ask" not in step:
            needless = [key for key in (*EXPECTED, "domain", "hits_addend", "times") if key in step]
            for key in needless:
                mistakes.add(step.where(key), f"`{key}` without `ask`, expected it in a step that asks")
        if "problems" in step and "load" not in step:
            mistakes.add(step.where("problems"), "`problems` without `load`, expected it in a step that loads rules")


def json_schema() -> Schema:
    """The grammar as JSON Schema, for editors."""
    return {"$schema": SCHEMA_URL, "title": "Tests of rules for the Istio Rate Limiter", **TEST.schema()}
