"""The algorithms that rules may name: our own, and those of installed distributions.

A distribution adds one by an entry point in the group `rls.algorithms`. The name of the entry point is what rules call the
algorithm, and it refers to an `rls.core.algorithms.Algorithm`. They are found when this module is imported: a process that
reads rules and one that counts by them then know the same.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from rls.core.algorithms import ALGORITHMS

__all__ = ["ALGORITHMS", "GROUP"]

GROUP = "rls.algorithms"

for _point in entry_points(group=GROUP):
    ALGORITHMS.setdefault(_point.name, _point.load())
