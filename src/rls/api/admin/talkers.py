"""The rows of `/top` and of what else reads the sketches, in steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from heapq import nlargest
from typing import Any, NamedTuple

from rls.api.admin.rows import Row, id_of, identity, iso, limit_text
from rls.core.model import RateLimit
from rls.core.overrides import Entries, Override, Overrides
from rls.observe.entries import as_text, shown
from rls.observe.heavy_hitters import HeavyHitters
from rls.observe.rule_sketch import SLOTS, By, Period, RuleSketch, Use
from rls.observe.top import TopTalkers
from rls.printable import printable
from rls.slices import STEP, Steps


class Window(StrEnum):
    """Which time counts: the last five to ten minutes, or all since the rule got its sketch."""

    MINUTES = "5m"
    START = "start"


class Asked(NamedTuple):
    """What is asked for.

    Attributes:
        by: What entries are ordered by.
        window: Which time counts.
        domain: Only rules of this domain; "" for all.
        rule: Only rules with this path or name; "" for all.
        entries: Only what has these entries, `key=value` as shown.
        most: Rows.
    """

    by: By = By.REFUSED
    window: Window = Window.MINUTES
    domain: str = ""
    rule: str = ""
    entries: Sequence[str] = ()
    most: int = 50

    def wants(self, sketch: RuleSketch) -> bool:
        """Whether it asks for the rule of *sketch*."""
        known = id_of(sketch.domain, sketch.rule)
        return (not self.domain or known.domain == self.domain) and (
            not self.rule or self.rule in (known.path, known.name)
        )


class Top(NamedTuple):
    """What was found.

    Attributes:
        rows: The first ones, in their order.
        unlisted_at_most: What entries that are not among *rows* have at most.
    """

    rows: list[Row]
    unlisted_at_most: float


def find_top(top: TopTalkers, asked: Asked, now: float, overrides: Overrides) -> Steps[Top]:
    """The first rows of all rules together, in steps, at the Unix second *now*, under these *overrides*."""
    rows: list[Row] = []
    unlisted: float = 0
    order = _order(asked.by)
    for number, sketch in enumerate((yield from top.rotate(now))):
        if not asked.wants(sketch):
            if number % STEP == 0:
                yield
            continue
        found, missing = _rows(sketch, asked, now, overrides.get(sketch.domain, {}))
        rows = nlargest(asked.most, [*rows, *found], key=order)
        unlisted = max(unlisted, missing)
        yield
    if len(rows) == asked.most:
        unlisted = max(unlisted, order(rows[-1]) + (0 if asked.by is By.NEAR else rows[-1]["error"]))
    return Top(rows, unlisted)


def top_of(sketch: RuleSketch, asked: Asked, now: float) -> list[Row]:
    """The first rows of one rule, whose halves are those of the Unix second *now*; with its own limit, not that of overrides."""
    found, _ = _rows(sketch, asked, now, {})
    return nlargest(asked.most, found, key=_order(asked.by))


def order_of(by: By) -> str:
    """The field that rows are ordered by."""
    return "share_of_limit" if by is By.NEAR else "count"


def _order(by: By) -> Callable[[Row], Any]:
    field = order_of(by)
    return lambda row: row[field]


def totals(sketch: RuleSketch, now: float) -> Row:
    """The sums of the last minutes of one rule."""
    periods = sketch.periods(recent=True)
    seconds = now - _began(periods)
    near = [use.used / use.limit for period in periods for use in period.near.values()]
    return {
        "seconds": round(seconds, 3),
        **{str(by): sum(period.table(by).total for period in periods) for by in (By.HITS, By.REFUSED, By.SHADOW)},
        "highest_share_near_limit": round(max(near), 4) if near else None,
    }


def _rows(
    sketch: RuleSketch, asked: Asked, now: float, overrides: Mapping[Entries, Override]
) -> tuple[list[Row], float]:
    """Rows of one rule under the *overrides* of its domain, and what entries that are not among them have at most."""
    periods = sketch.periods(recent=asked.window is Window.MINUTES)
    began = _began(periods)
    rule, since = identity(id_of(sketch.domain, sketch.rule)), iso(began)
    if asked.by is By.NEAR:
        near = _near_rows(sketch, periods, asked)
        return [{**rule, **_limit(sketch, key, overrides), "since": since, **row} for key, row in near], 0
    table = _together(periods, asked.by)
    seconds, total = max(now - began, 1.0), table.total
    rows = []
    for key, count in table.top(SLOTS):
        entries = shown(sketch.entries(key))
        if _has(entries, asked.entries):
            rows.append(
                {
                    **rule,
                    **_limit(sketch, key, overrides),
                    "since": since,
                    "entries": entries,
                    "count": count,
                    "error": table.error,
                    "left_out": table.left_out,
                    "one_in": table.one_in,
                    "share_of_rule": round(count / total, 4),
                    "per_second": round(count / seconds, 3),
                    "over_since": iso(sketch.over_since(key)),
                }
            )
    return rows, table.error


def _limit(sketch: RuleSketch, key: bytes, overrides: Mapping[Entries, Override]) -> Row:
    """The limit that holds for what is kept under *key*, and the override that it comes from."""
    override = overrides.get(sketch.entries(key))
    if override is not None:
        return {"limit": limit_text(override.limit), "override": printable(override.id)}
    return {"limit": None if sketch.rule is None else limit_text(sketch.rule.limit), "override": None}


def _near_rows(sketch: RuleSketch, periods: Sequence[Period], asked: Asked) -> list[tuple[bytes, Row]]:
    """Entries near their limit that were not refused in the same time, and what they are kept under."""
    limited = {key for period in periods for by in (By.REFUSED, By.SHADOW) for key in period.table(by).counts}
    near: dict[bytes, Use] = {}
    for period in periods:
        for key, use in period.near.items():
            known = near.get(key)
            if key not in limited and (known is None or use.used * known.limit > known.used * use.limit):
                near[key] = use
    rows = []
    for key, use in near.items():
        entries = shown(sketch.entries(key))
        if _has(entries, asked.entries):
            row = {
                "entries": entries,
                "share_of_limit": round(use.used / use.limit, 4),
                "used": use.used,
                "requests_per_window": use.limit,
                "time": iso(use.at),
            }
            rows.append((key, row))
    return rows


def _together(periods: Sequence[Period], by: By) -> HeavyHitters[bytes]:
    whole = HeavyHitters[bytes](SLOTS)
    for period in periods:
        whole.merge(period.table(by))
    return whole


def _began(periods: Sequence[Period]) -> float:
    return min(period.began for period in periods)


def _has(entries: list[dict[str, str]], wanted: Sequence[str]) -> bool:
    return not wanted or set(wanted) <= set(as_text(entries))


def described_limit(limit: RateLimit | None) -> Row:
    """A limit, field by field, and as text."""
    if limit is None:
        return {"limit": limit_text(None), "requests_per_unit": None, "unit": None, "unit_multiplier": None}
    return {
        "limit": limit_text(limit),
        "requests_per_unit": limit.requests_per_unit,
        "unit": limit.unit.name,
        "unit_multiplier": limit.unit_multiplier,
    }
