"""How hits are counted against a limit. The table of all algorithms, by the name that `algorithm` of a rate limit gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rls.core.algorithms.base import Algorithm, Window
from rls.core.algorithms.fixed_window import FixedWindow
from rls.core.check import Check

__all__ = ["ALGORITHMS", "Algorithm", "Window", "algorithm_of", "by_check"]

ALGORITHMS: dict[str, Algorithm] = {FixedWindow.name: FixedWindow()}
"""One row for each. `rls.config.algorithms` adds those of installed distributions before rules are read."""

_Value = TypeVar("_Value")


def algorithm_of(check: Check) -> Algorithm:
    """How *check* is counted."""
    return ALGORITHMS[check.algorithm]


def by_check(checks: Iterable[Check], values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """*values*, one for each update of *checks*, apart: for each check those of its updates, none where nothing is counted."""
    begin = 0
    for check in checks:
        end = begin if check.limit is None else begin + ALGORITHMS[check.algorithm].updates
        yield values[begin:end]
        begin = end
