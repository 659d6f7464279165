"""What is said of a domain or a rule that is not in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from rls.alike import MOST_SHOWN, narrowing, suggestion
from rls.api.admin.query import WrongRequest
from rls.api.admin.talkers import Asked
from rls.core.rules import Rule, RuleSet
from rls.observe.top import TopTalkers
from rls.printable import printable
from rls.slices import STEP, Steps

_SHOWN = 100


def not_in_force(rules: RuleSet, top: TopTalkers, domain: str, name: str) -> Steps[WrongRequest | None]:
    """The error for a *domain*, or a rule with a *name* or path in it, that is not in force; in steps.

    None where it is in force, or was while *top* looked. Each may be "", for any.
    """
    asked = Asked(domain=domain, rule=name)
    for number, sketch in enumerate(list(top.sketches.values())):
        if asked.wants(sketch):
            return None
        if number % STEP == 0:
            yield
    if not rules.domains:
        return WrongRequest(f"no {'rule' if name else 'domain'} is in force", "a server with rules", 404)
    if domain and domain not in rules.domains:
        close = yield from _close(domain, rules.domains)
        return _error(f"no domain {_shown(domain)} in force", close, rules.domains, len(rules.domains))
    domains = [rules.domains[domain]] if domain else list(rules.domains.values())

    def found() -> Iterator[Rule]:
        return chain.from_iterable(one.rules() for one in domains)

    for number, rule in enumerate(found()):
        if name in ("", rule.path, rule.name):
            return None
        if number % STEP == 0:
            yield
    where = f" in the domain {printable(domains[0].name)}" if len(domains) == 1 else ""
    close = yield from _close(name, (rule.path for rule in found()))
    if not close:
        close = yield from _close(name, (rule.name for rule in found() if rule.name))
    total = sum(rules.count(one.name) for one in domains)
    return _error(f"no rule {_shown(name)} in force{where}", close, (rule.path for rule in found()), total)


def _close(given: str, known: Iterable[str]) -> Steps[list[str]]:
    """Those of *known* that are close to *given*, in steps."""
    close: list[str] = []
    for close in narrowing(given, known):  # noqa: B007 - the last one counts
        yield
    return close


def _error(text: str, close: Sequence[str], known: Iterable[str], total: int) -> WrongRequest:
    """The error *text*, with names that are *close*, and the first of *known*, of which there are *total*."""
    first = islice(known, MOST_SHOWN)
    return WrongRequest(text, suggestion([*map(printable, close)], [*map(printable, first)], total), 404)


def _shown(text: str) -> str:
    shown = printable(text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}…"
