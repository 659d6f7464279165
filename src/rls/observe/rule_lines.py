"""The numbers of rules as text, without any object for each.

A metrics library costs about 3 µs for each number that it writes: with a thousand rules every scrape would hold up all
checks for longer than a check may take. These numbers are written in pieces, between which checks are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from rls.observe.rule_counters import CountersByRule, Hits, RuleCounters, escaped
from rls.slices import chunks

_LINES_OF_A_PIECE = 100
_FALLBACK = "rls_fallback_total"

HITS = {
    "hits": "Hits of matched descriptors, including those that the backend failed to count.",
    "over_limit": "Hits above the limit, including those in shadow mode.",
    "near_limit": "Hits below the limit but above near_limit_ratio of it.",
    "within_limit": "Hits of requests within the limit.",
    "shadow_mode": "Hits above the limit that a rule in shadow mode let pass.",
    "negative_hits": "Hits that callers refunded with is_negative_hits.",
    "unlimited": "Hits of rules that are unlimited; they are not counted in the backend.",
}
"""Counters by rule, and by value where a rule asks for that."""


def rule_lines(counters: CountersByRule, now: float, *, is_openmetrics: bool) -> Iterator[bytes]:
    """All numbers of rules at the Unix second *now*, in pieces that take some hundred microseconds each."""
    rules = list(counters.by_path.values())
    of_rules = list(counters.by_value.values())
    for family, documentation in HITS.items():
        yield _heading(f"rls_{family}_total", documentation, "counter", is_openmetrics=is_openmetrics)
        values = (found for of_rule in of_rules for found in list(of_rule.values()))
        for some in chunks(chain(rules, values), _LINES_OF_A_PIECE):
            yield _hits(family, some)
    yield _heading(
        _FALLBACK, "Checks decided by on_backend_error, not by a count.", "counter", is_openmetrics=is_openmetrics
    )
    for of_policies in chunks(rules, _LINES_OF_A_PIECE):
        yield _fallback(of_policies)
    for name, documentation, write in _GAUGES:
        yield _heading(name, documentation, "gauge", is_openmetrics=is_openmetrics)
        for written in chunks(rules, _LINES_OF_A_PIECE):
            yield write(written, now).encode()


def _heading(name: str, documentation: str, kind: str, *, is_openmetrics: bool) -> bytes:
    family = name.removesuffix("_total") if is_openmetrics else name
    return f"# HELP {family} {documentation}\n# TYPE {family} {kind}\n".encode()


def _hits(family: str, some: Iterable[Hits]) -> bytes:
    return "".join(
        [
            f"rls_{family}_total{{{found.labels}}} {number}\n"
            for found in some
            if (number := getattr(found, family)) or family in found.shown
        ]
    ).encode()


def _fallback(some: Iterable[RuleCounters]) -> bytes:
    return "".join(
        [
            f'{_FALLBACK}{{{found.labels},policy="{policy}"}} {number}\n'
            for found in some
            for policy, number in (found.fallback or {}).items()
        ]
    ).encode()


def _info(some: Iterable[RuleCounters], now: float) -> str:
    del now
    lines = []
    for found in some:
        if found.is_shown and (rule := found.rule) is not None:
            file, line = (rule.place.file, rule.place.line) if rule.place else ("", "")
            more = f'name="{escaped(rule.name)}",file="{escaped(file)}",line="{line}"'
            lines.append(f"rls_rule_info{{{found.labels},{more}}} 1\n")
    return "".join(lines)


def _limit(some: Iterable[RuleCounters], now: float) -> str:
    del now
    return "".join(
        [
            f"rls_rule_limit{{{found.labels}}} {found.rule.limit.requests_per_unit}\n"
            for found in some
            if found.is_shown and found.rule is not None and found.rule.limit is not None
        ]
    )


def _window(some: Iterable[RuleCounters], now: float) -> str:
    del now
    return "".join(
        [
            f"rls_rule_window_seconds{{{found.labels}}} {found.rule.limit.window_seconds}\n"
            for found in some
            if found.is_shown and found.rule is not None and found.rule.limit is not None
        ]
    )


def _utilization(some: Iterable[RuleCounters], now: float) -> str:
    lines = []
    for found in some:
        if not found.until:
            continue
        current, last = found.utilization(now)
        if current or last:
            head = f"rls_rule_utilization_ratio{{{found.labels},period="
            lines.append(f'{head}"current"}} {current:.6g}\n{head}"last"}} {last:.6g}\n')
    return "".join(lines)


def _since(some: Iterable[RuleCounters], now: float) -> str:
    del now
    return _timestamps("rls_rule_over_limit_since_timestamp_seconds", [(one, one.since) for one in some])


def _last_over(some: Iterable[RuleCounters], now: float) -> str:
    del now
    return _timestamps("rls_rule_last_over_limit_timestamp_seconds", [(one, one.last_over) for one in some])


def _timestamps(name: str, found: Iterable[tuple[RuleCounters, float]]) -> str:
    return "".join([f"{name}{{{one.labels}}} {at:.3f}\n" for one, at in found if at])


_GAUGES: tuple[tuple[str, str, Callable[[list[RuleCounters], float], str]], ...] = (
    ("rls_rule_info", "Names of the rule, and where it stands; always 1.", _info),
    ("rls_rule_limit", "The rule's limit, in hits in a window.", _limit),
    ("rls_rule_window_seconds", "Length of the rule's window, in seconds.", _window),
    (
        "rls_rule_utilization_ratio",
        "Highest share of the limit that a counter of the rule reached, in this period and in the last one.",
        _utilization,
    ),
    (
        "rls_rule_over_limit_since_timestamp_seconds",
        "When hits began to be over the limit: the first after five minutes without any, in Unix seconds.",
        _since,
    ),
    ("rls_rule_last_over_limit_timestamp_seconds", "When a hit was last over the limit, in Unix seconds.", _last_over),
)
