"""What rules cost, as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rls.config.advice import rate
from rls.config.cost import Cost, costs
from rls.core.rules import RuleSet

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_MILLION = 1_000_000


def lines_of(rules: RuleSet, most: Mapping[str, int]) -> Iterator[str]:
    """A line for each rule that counts, domain by domain; *most*: descriptors of one request at most, where that is known."""
    for domain in rules.domains.values():
        several = f"; a request has at most {most[domain.name]}" if domain.name in most else ""
        yield f"cost of {domain.name}: each descriptor of a request that matches a rule is one of these{several}"
        for cost in costs(domain):
            yield f"  {_line(cost)}"


def _line(cost: Cost) -> str:
    assert cost.rule.limit is not None
    updates = "1 update" if cost.updates == 1 else f"{cost.updates} updates"
    counters = f"a counter for each {', '.join(cost.keys)}" if cost.keys else "one counter"
    million = f", {cost.counter_bytes * _MILLION / 1e6:.0f} MB for a million of them" if cost.keys else ""
    return (
        f"{cost.rule.id.path} {rate(cost.rule.limit)}: {updates}; {counters}, about {cost.counter_bytes} bytes in Redis"
        f"{million}, kept for {_spans(cost.window_seconds, cost.kept_seconds)}"
    )


def _spans(least: int, most: int) -> str:
    """`1 to 2 min`, or `1 h to 1 h 5 min`."""
    size, unit = _unit(least)
    if most % size == 0:
        return f"{least // size} to {most // size} {unit}"
    rest, of_rest = _unit(most - least)
    return f"{least // size} {unit} to {least // size} {unit} {(most - least) // rest} {of_rest}"


def _unit(seconds: int) -> tuple[int, str]:
    """The largest unit that *seconds* are a multiple of."""
    return next((size, unit) for size, unit in _UNITS if seconds % size == 0)
