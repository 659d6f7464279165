"""The rows of `/rules` and `/shadow`, in steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from rls.api.admin.rows import Row, identity, over_limit_hits
from rls.api.admin.talkers import Asked, Window, described_limit, top_of, totals
from rls.core.match import match
from rls.core.overrides import Override
from rls.core.pseudonyms import DIGEST_TAG
from rls.core.rules import Rule, RuleId, RuleSet
from rls.observe.refusals import OverLimitHits, RuleRefusals
from rls.observe.rule_counters import CountersByRule
from rls.observe.rule_sketch import By
from rls.observe.top import TopTalkers
from rls.printable import printable
from rls.slices import STEP, Steps, chunks

_TOP_OF_SHADOW = 10


class Page(NamedTuple):
    """Which rules are asked for: those of a *domain*, with a *name* or path, with a *text* in either; some of them."""

    domain: str
    name: str
    limit: int
    offset: int
    text: str = ""

    def has(self, rule: Rule) -> bool:
        """Whether *rule* is asked for, by what it is called."""
        if self.name and self.name not in (rule.name, rule.path):
            return False
        return not self.text or self.text.lower() in f"{rule.domain} {rule.path} {rule.name}".lower()


class Found(NamedTuple):
    """The *rows* of a page, and how many rules there are in *total*."""

    rows: list[Row]
    total: int


def found_rules(rules: RuleSet, top: TopTalkers, counters: CountersByRule, page: Page, now: float) -> Steps[Found]:
    """The rules of *page*, in the order of the files, with their hits and what they refused."""
    rows: list[Row] = []
    total = 0
    yield from top.rotate(now)
    overrides: dict[tuple[str, str], list[str]] = {}
    for one in (one for found in rules.overrides.values() for one in found.values()):
        overrides.setdefault((one.domain, applies_to(rules, one) or ""), []).append(printable(one.id))
    for number, rule in enumerate(_of(rules, page.domain)):
        if page.has(rule):
            if page.offset <= total < page.offset + page.limit:
                hits = yield from _hits(rule, counters, now)
                known = {"overrides": overrides.get((rule.domain, rule.path), [])}
                rows.append(_described(rule, top, now) | hits | known)
            total += 1
        if number % STEP == 0:
            yield
    return Found(rows, total)


def applies_to(rules: RuleSet, override: Override) -> str | None:
    """Path of the rule whose limit *override* replaces now; None where no rule matches, so that it has no effect.

    Rules may have changed since it was set. Where its values are hidden, that cannot be known, and the rule of that time counts.
    """
    domain = rules.domains.get(override.domain)
    if domain is None:
        return None
    if any(value.startswith(DIGEST_TAG) for _, value in override.entries):
        return override.rule
    found = match(domain, override.entries)
    return None if found is None else found.rule.path


def _hits(rule: Rule, counters: CountersByRule, now: float) -> Steps[Row]:
    """All hits on *rule* since it was loaded, and the highest share of its limit that a counter reached lately."""
    found = counters.by_path.get((rule.domain, rule.path))
    hits = 0 if found is None else found.hits + found.unlimited
    for some in chunks(list(counters.by_value.get((rule.domain, rule.path), {}).values())):
        hits += sum(one.hits + one.unlimited for one in some)
        yield
    share = 0.0 if found is None else max(found.utilization(now))
    return {"hits": hits, "utilization": round(share, 4) if rule.limit else None}


def shadow_rules(rules: RuleSet, top: TopTalkers, page: Page, now: float) -> Steps[Found]:
    """Rules in shadow mode, and those that let hits over their limits pass for another reason, as a server's shadow mode."""
    rows: list[Row] = []
    total = 0
    for number, rule in enumerate(_of(rules, page.domain)):
        refusals = top.refusals.by_rule.get(rule.id.key)
        if rule.shadow_mode or (refusals is not None and refusals.shadow.hits):
            if page.offset <= total < page.offset + page.limit:
                rows.append(_shadow_row(rule, refusals, top, now))
                yield
            total += 1
        if number % STEP == 0:
            yield
    return Found(rows, total)


def _of(rules: RuleSet, domain: str) -> Iterator[Rule]:
    domains: Mapping[str, object] = rules.domains
    chosen = [rules.domains[name] for name in domains if not domain or name == domain]
    return chain.from_iterable(one.rules() for one in chosen)


def _described(rule: Rule, top: TopTalkers, now: float) -> Row:
    key = RuleId(rule.domain, rule.path).key
    refusals, sketch = top.refusals.by_rule.get(key), top.sketches.get(key)
    return {
        **identity(rule.id),
        **described_limit(rule.limit),
        "shadow_mode": rule.shadow_mode,
        "quota_mode": rule.quota_mode,
        "on_backend_error": rule.on_backend_error,
        "replaces": sorted(rule.replaces),
        "refused": over_limit_hits(OverLimitHits() if refusals is None else refusals.refused),
        "shadow": over_limit_hits(OverLimitHits() if refusals is None else refusals.shadow),
        "recent": None if sketch is None else totals(sketch, now),
    }


def _shadow_row(rule: Rule, refusals: RuleRefusals | None, top: TopTalkers, now: float) -> Row:
    sketch = top.rotated(rule.id.key, now)
    asked = Asked(By.SHADOW, Window.START, rule.domain, rule.path, most=_TOP_OF_SHADOW)
    rows = [] if sketch is None else top_of(sketch, asked, now)
    return {
        **identity(rule.id),
        **described_limit(rule.limit),
        "shadow_mode": rule.shadow_mode,
        "would_be_refused": over_limit_hits(OverLimitHits() if refusals is None else refusals.shadow),
        "top": [
            {name: row[name] for name in ("entries", "count", "error", "share_of_rule", "over_since")} for row in rows
        ],
    }
