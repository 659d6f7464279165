"""What the admin API says of rules, refusals and loads, as plain values for JSON. Texts from elsewhere are printable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from rls.core.check import OVERRIDE
from rls.core.model import RateLimit
from rls.core.rules import Rule, RuleId
from rls.engine.changes import Change, Changes
from rls.engine.enforced import Enforced
from rls.observe.entries import shown
from rls.observe.history import ENDED, REJECTED, Event, Load
from rls.observe.refusals import OverLimitHits, Refusal
from rls.observe.unknown import Named
from rls.printable import printable
from rls.utc import utc

Row: TypeAlias = dict[str, Any]


def iso(seconds: float) -> str | None:
    """RFC 3339, in UTC; None for 0, which stands for never."""
    return utc(seconds, "milliseconds") if seconds else None


def identity(known: RuleId) -> Row:
    """What a rule is called everywhere."""
    return {
        "domain": printable(known.domain),
        "rule": printable(known.path),
        "name": printable(known.name),
        "place": printable(known.where),
    }


def id_of(domain: str, rule: Rule | None) -> RuleId:
    """The identity of *rule*; where it is None, that of limits that requests bring themselves."""
    return RuleId(domain, OVERRIDE) if rule is None else rule.id


def limit_text(limit: RateLimit | None) -> str:
    """As `500/minute` or `unlimited`."""
    return str(Enforced(limit))


def over_limit_hits(found: OverLimitHits) -> Row:
    """Hits over a limit: how many, and the times of the first and the last."""
    return {"hits": found.hits, "first": iso(found.first), "last": iso(found.last)}


def refusal(found: Refusal) -> Row:
    """One refusal."""
    return {
        "time": iso(found.at),
        **identity(id_of(found.domain, found.rule)),
        "entries": shown(found.entries),
        "requests_per_window": found.limit,
        "window_seconds": found.window_seconds,
        "count": found.used or None,
        "reset_seconds": found.reset_seconds,
        "answered_by": found.answered_by,
        "policy": found.policy or None,
        "trace_id": found.trace_id or None,
        "stands_for": found.stands_for,
    }


def load(found: Load) -> Row:
    """One load of rules."""
    return {
        "time": iso(found.at),
        "before": found.before or None,
        "revision": found.revision,
        "rules": found.rules,
        **changes(found.changes),
        "overrides_began": [printable(str(one)) for one in found.began],
        "overrides_ended": [printable(str(one)) for one in found.ended],
        "files": [printable(file) for file in found.files],
        "files_total": found.files_total,
        "errors": [printable(error) for error in found.errors],
        "errors_total": found.errors_total,
    }


def changes(found: Changes) -> Row:
    """What a load changed."""
    return {
        "added": found.added,
        "changed": found.changed,
        "removed": found.removed,
        "stricter": found.stricter,
        "changes": [_change(one) for one in found.listed],
        "unlisted": found.unlisted,
    }


def _change(found: Change) -> Row:
    return {
        "kind": str(found.kind),
        **identity(found.rule),
        "before": None if found.before is None else str(found.before),
        "after": None if found.after is None else str(found.after),
        "stricter": found.stricter,
        "warning": printable(found.warning) or None,
    }


def event(found: Event) -> Row:
    """One change of state."""
    return {
        "time": iso(found.at),
        "kind": found.kind,
        "reason": found.reason or None,
        "state": found.state or None,
        "text": printable(found.text),
        "seconds": round(found.seconds, 3) if found.seconds else None,
        "revision": found.revision or None,
    }


def domain(found: Named) -> Row:
    """A domain that has no rules."""
    return {"domain": printable(found.name[0]), **_seen(found)}


def descriptor(found: Named) -> Row:
    """A kind of descriptors that no rule matches: the keys of their entries, and the entries of the last one."""
    name, *keys = found.name
    return {
        "domain": printable(name),
        "keys": [printable(key) for key in keys],
        "last_entries": shown(found.seen.entries),
        **_seen(found),
    }


def _seen(found: Named) -> Row:
    return {"requests": found.times, "first": iso(found.seen.first), "last": iso(found.seen.last)}


def as_annotations(loads: Iterable[Load], events: Sequence[Event], begin: float, end: float) -> list[Row]:
    """Loads, and reasons of the enforcement state, as annotations: times in Unix milliseconds.

    A reason that ended spans the time that it held. Of one that holds, the last change counts.
    """
    left = {one.reason: one for one in reversed(events) if one.reason}  # the last event of each reason
    found: list[Mapping[str, Any]] = [
        {
            "time": _ms(one.at),
            "timeEnd": _ms(one.at),
            "title": f"rules {one.revision}",
            "text": printable("; ".join([str(one.changes), *_overrides(one)])),
            "tags": ["rls", "rules_loaded", *(["stricter"] if one.changes.stricter else [])],
        }
        for one in loads
    ]
    found += [
        {
            "time": _ms(one.at - one.seconds),
            "timeEnd": _ms(one.at),
            "title": (one.reason or one.kind).replace("_", " "),
            "text": printable(one.text),
            "tags": ["rls", one.kind, *([one.state] if one.state else [])],
        }
        for one in reversed(events)
        if one.kind in (REJECTED, ENDED) or (one.reason and left[one.reason] is one)
    ]
    rows = [dict(one) for one in found if one["timeEnd"] >= begin * 1000 and one["time"] <= end * 1000]
    return sorted(rows, key=lambda row: row["time"])


def _overrides(found: Load) -> list[str]:
    began = [f"override {one}" for one in found.began]
    return began + [f"override {one} ended" for one in found.ended]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
