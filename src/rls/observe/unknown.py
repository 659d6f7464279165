"""Domains that no rule file has, and descriptors that no rule matches, by name: clients choose them, so they are bounded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from rls.core.check import Check
from rls.core.model import Entry
from rls.core.plan import Plan
from rls.observe.entries import MOST_ENTRIES, bounded, shortened
from rls.observe.heavy_hitters import HeavyHitters
from rls.observe.rate_sampler import RateSampler

K = TypeVar("K", bound=Hashable)

SHOWN = 20
_SLOTS = 100
_A_SECOND = 1_000


class Seen(NamedTuple):
    """When something was seen first and last, in Unix seconds, and the entries of the last time."""

    first: float
    last: float
    entries: tuple[Entry, ...] = ()


class Named(NamedTuple):
    """Something that clients name, and no rule knows.

    Attributes:
        name: The domain, and for a descriptor the keys of its entries behind it.
        times: Times that it was asked for, at least.
        seen: When.
    """

    name: tuple[str, ...]
    times: int
    seen: Seen


class _Names(Generic[K]):
    """The most frequent names, and when they were seen."""

    def __init__(self) -> None:
        self.table = HeavyHitters[K](_SLOTS)
        self.seen: dict[K, Seen] = {}

    def add(self, name: K, times: int, now: float, entries: tuple[Entry, ...] = ()) -> None:
        before = self.seen.get(name)
        self.seen[name] = Seen(now if before is None else before.first, now, entries)
        self.table.add(name, times)
        if len(self.seen) > 2 * _SLOTS:
            self.seen = {one: self.seen[one] for one in self.table.counts}


class Unknown:
    """Counts names that no rule knows; above a thousand a second it samples them.

    Args:
        on_domain: Called with the name of a domain without rules, each time it is counted.

    Attributes:
        sampler: Says which of what no rule knows is counted.
    """

    def __init__(self, on_domain: Callable[[str], None] = lambda _: None) -> None:
        self._on_domain = on_domain
        self._domains = _Names[tuple[str, ...]]()
        self._descriptors = _Names[tuple[str, ...]]()
        self.sampler = RateSampler(_A_SECOND)

    @property
    def errors(self) -> tuple[int, int]:
        """How many times more than `Named.times` a name may have been asked for: of domains, of descriptors."""
        return self._domains.table.error, self._descriptors.table.error

    def note(self, plan: Plan, check: Check, now: float) -> None:
        """*check* of *plan* has no rule: its domain has none, or none of the domain matches. It counts as `sampler` says."""
        if not plan.known and check.index:
            return  # the domain is counted once for each request
        times = self.sampler.take(now)
        if not times:
            return
        entries = check.descriptor.entries
        if not plan.known:
            name = shortened(plan.domain)
            self._domains.add((name,), times, now)
            self._on_domain(name)
        elif not check.replaced:
            keys = (plan.domain, *(shortened(key) for key, _ in entries[:MOST_ENTRIES]))
            self._descriptors.add(keys, times, now, bounded(entries))

    def domains(self) -> Sequence[Named]:
        """The `SHOWN` domains that were asked for most."""
        return _top(self._domains)

    def descriptors(self) -> Sequence[Named]:
        """The `SHOWN` kinds of descriptors that came most."""
        return _top(self._descriptors)


def _top(names: _Names[tuple[str, ...]]) -> Sequence[Named]:
    return [Named(name, times, names.seen[name]) for name, times in names.table.top(SHOWN)]
