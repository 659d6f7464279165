"""What a configuration may say, but probably does not mean: warnings, never errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from rls.config.reader import Fields, shorten
from rls.core.model import Unit
from rls.core.rules import Rule, TrieNode, Wildcard
from rls.errors import Diagnostic, SourceLocation
from rls.slices import STEP, Steps

# Comparing wildcards pair by pair is worth it only where somebody wrote them by hand.
MAX_WILDCARDS = 500
_NO_LIMIT = "has no effect without `rate_limit`"
_EFFECTIVE = frozenset({"key", "value", "rate_limit", "descriptors"})
_OF_LIMITS = ("shadow_mode", "quota_mode", "detailed_metric", "on_backend_error", "metadata")
_OF_LEVELS = ("share_threshold", "value_to_metric")


def idle(fields: Fields, *, has_limit: bool, has_children: bool) -> list[tuple[str, str]]:
    """Keys of a descriptor that do nothing where they stand, each with a message."""
    found = []
    if "*" in fields.text("key"):
        found.append(("key", "`*` in a key stands only for itself, expected it in a `value`"))
    if fields.keys() <= _EFFECTIVE:
        return found
    if not has_limit:
        found += [(name, f"`{name}` {_NO_LIMIT}") for name in _OF_LIMITS if fields.value(name)]
        if not has_children:
            found += [(name, f"`{name}` {_NO_LIMIT}, here or further down") for name in _OF_LEVELS if fields.flag(name)]
    value = fields.text("value")
    if fields.flag("value_to_metric") and value and "*" not in value:
        found.append(("value_to_metric", f"`value_to_metric` has no effect on the one value `{shorten(value)}`"))
    return found


def idle_in_limit(fields: Fields) -> list[tuple[str, str]]:
    """Keys of a rate limit that do nothing where they stand, each with a message."""
    found = []
    if fields.flag("unlimited"):
        found += [
            (key, f"`{key}` has no effect beside `unlimited`")
            for key in ("unit", "unit_multiplier", "requests_per_unit", "algorithm")
            if not fields.lacks(key) and fields.text(key).upper() not in Unit.__members__  # such a unit is an error
        ]
    name = fields.text("name")
    if not (name.isascii() and name.isprintable()):
        message = f"`name` has characters that headers cannot hold (`{shorten(name)}`); they are written as `%XX` there"
        found.append(("name", message))
    return found


def unreachable(parent: TrieNode) -> Steps[list[Diagnostic]]:
    """Children of *parent* that no value can reach, because an earlier wildcard takes them all."""
    found = []
    for key, wildcards in parent.wildcards.items():
        for i, (wildcard, node) in enumerate(wildcards[:MAX_WILDCARDS]):
            earlier = next((other for other, _ in wildcards[:i] if _covers(other, wildcard)), None)
            if earlier is not None and node.place is not None:
                found.append(_unreachable(node, earlier.text))
            yield
        default = parent.defaults.get(key)
        if default is not None and any(wildcard.text.strip("*") == "" for wildcard, _ in wildcards):
            found.append(_unreachable(default, "*"))
    return found


def _unreachable(node: TrieNode, text: str) -> Diagnostic:
    place = node.place or SourceLocation("", 1, 1)
    return Diagnostic(place, f"`{node.text}` is never reached: the wildcard `{text}` takes all of its values")


def hidden(parent: TrieNode) -> Steps[list[Diagnostic]]:
    """Children of *parent* for one value, or for a pattern, that lack what the rest of the values have below them.

    The search does not go back from a match: a request of that value is not limited by what is only there.
    """
    found = []
    for number, ((key, value), node) in enumerate(parent.exact.items()):
        if number % STEP == 0:
            yield
        if not (node.exact or node.defaults) or node.place is None:
            continue
        wildcards = [] if "*" in value else parent.wildcards.get(key, [])[:MAX_WILDCARDS]
        default = parent.defaults.get(key)
        rest = next((other for wildcard, other in wildcards if wildcard.matches(value)), default)
        missing = None if rest is None else _missing(node, rest)
        if rest is not None and missing:
            there = f"below `{shorten(node.text)}` there is no {missing}, which `{shorten(rest.text)}` has"
            found.append(Diagnostic(node.place, f"{there}; requests of that value are not limited by it"))
        if rest is not None:
            yield
    return found


def _missing(node: TrieNode, rest: TrieNode) -> str:
    """The first child of *rest* whose values lead nowhere from *node*; its key alone where *node* has none of that key."""
    keys = {key for key, _ in node.exact} | node.defaults.keys()
    for key in rest.defaults:
        if key not in node.defaults and not any(wildcard.text == "*" for wildcard, _ in node.wildcards.get(key, ())):
            return f"`{shorten(key)}`" if key not in keys else f"`{shorten(key)}` for any value"
    for (key, value), child in islice(rest.exact.items(), MAX_WILDCARDS):
        taken = (key, value) in node.exact or key in node.defaults
        if not taken and not any(
            _covers(wildcard, Wildcard.parse(value)) for wildcard, _ in node.wildcards.get(key, ())
        ):
            return f"`{shorten(key if key not in keys else child.text)}`"
    return ""


def _covers(earlier: Wildcard, later: Wildcard) -> bool:
    # A `*` of the later one can stand for a text that no pattern holds.
    return earlier.matches(later.text.replace("*", "\0"))


def contradictions(key: str, said: Sequence[tuple[bool, SourceLocation]]) -> list[Diagnostic]:
    """Where documents of one domain do not agree on the flag *key*."""
    return [
        Diagnostic(place, f"`{key}` is {_written(flag)}, but {_written(said[0][0])} at {said[0][1]}, which counts")
        for flag, place in said
        if flag is not said[0][0]
    ]


def _written(flag: bool) -> str:
    return "true" if flag else "false"


def replacements(named: Sequence[Rule], replaced: Iterable[tuple[str, SourceLocation]]) -> Steps[list[Diagnostic]]:
    """What is odd about `replaces` in one domain. *named*: its rules that have a name or replace others."""
    replaced_by: dict[str, set[str]] = {}
    for number, rule in enumerate(named):
        if rule.name:
            replaced_by.setdefault(rule.name, set()).update(rule.replaces)
        if number % STEP == 0:
            yield
    found = []
    for number, (name, place) in enumerate(replaced):
        if name not in replaced_by:
            message = f"`replaces` names `{shorten(name)}`, but no rate limit of this domain has that name"
            found.append(Diagnostic(place, message))
        if number % STEP == 0:
            yield
    for number, rule in enumerate(named):
        for name in sorted(rule.replaces):
            # Of the two, the one whose name comes first tells.
            if rule.name < name and rule.name in replaced_by.get(name, ()) and rule.place:
                both = f"`{shorten(rule.name)}` and `{shorten(name)}`"
                found.append(Diagnostic(rule.place, f"{both} replace each other: where both apply, neither counts"))
        if number % STEP == 0:
            yield
    return found
