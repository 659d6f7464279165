"""The algorithms that rules may name: our own, and those of installed distributions.

A distribution adds one by an entry point in the group `rls.algorithms`. The name of the entry point is what rules call the
algorithm, and it refers to an `rls.core.algorithms.Algorithm`. They are found when this module is imported: a process that
reads rules and one that counts by them then know the same.
"""

from __future__ import annotations

from rls import plugins
from rls.core.algorithms import ALGORITHMS
from rls.errors import SettingsError

__all__ = ["ALGORITHMS", "GROUP"]

GROUP = "rls.algorithms"

for _point in plugins.points(GROUP):
    if _point.name not in ALGORITHMS:
        _algorithm = plugins.load(_point)
        if not all(hasattr(_algorithm, _name) for _name in ("name", "updates", "plan", "judge", "refund")):
            raise SettingsError(f"{plugins.named(_point)} is {_algorithm!r}, expected an Algorithm")
        ALGORITHMS[_point.name] = _algorithm
