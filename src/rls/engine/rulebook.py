"""The rules in force, and the only writer of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rls.core.overrides import Entries, Override
from rls.core.rules import RuleSet
from rls.engine.changes import Changes, compare
from rls.engine.digests import digest_domain, revision_of
from rls.engine.events import Observer, RulesLoaded, RulesRejected
from rls.engine.layers import Layer, merge
from rls.engine.limiter import Limiter
from rls.engine.old_rules import OldRules
from rls.errors import Diagnostic
from rls.slices import Slices


class Rulebook:
    """Merges layers of rules into one rule set with an id, and puts it in force.

    Loads are serialized. Work on a load runs in slices of the loop, so that checks are answered meanwhile; the rules
    change between two checks, at once.

    Args:
        limiter: Gets the rules. Nothing else may call its `load`.
        observers: Hear of each revision.
        clock: Unix seconds.

    Attributes:
        changes: What the last revision changed.
        loaded_at: When rules were last put in force, in Unix seconds; 0 before.
        old_rules: Frees what is no longer in force. Sources that free what they published share it.
    """

    def __init__(
        self, limiter: Limiter, observers: Sequence[Observer] = (), *, clock: Callable[[], float] = time.time
    ) -> None:
        self.changes = Changes()
        self.loaded_at = 0.0
        self.old_rules = OldRules()
        self._limiter = limiter
        self._observers = tuple(observers)
        self._clock = clock
        self._latest: list[Layer] = []
        self._usable: list[RuleSet | None] = []
        self._announced: list[int] = []
        self._digests: Mapping[str, int] = {}
        self._overrides: tuple[Override, ...] = ()
        self._one_at_a_time = asyncio.Lock()

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self._limiter.rules

    @property
    def revision(self) -> str:
        """Id of the rules in force; "" before there are any. Equal on every pod whose rules say the same."""
        return self._limiter.rules.revision

    @property
    def loaded(self) -> bool:
        """Whether any rules have been put in force."""
        return self._limiter.loaded

    @property
    def layers(self) -> Sequence[Layer]:
        """What each source said last, usable or not."""
        return self._latest

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All that keeps rules from being in force as written, source by source."""
        return tuple(found for layer in self._latest for found in layer.diagnostics)

    def add_source(self) -> int:
        """Make room for the layers of one more source, above those of earlier ones; returns its number."""
        self._latest.append(Layer())
        self._usable.append(None)
        self._announced.append(0)
        return len(self._latest) - 1

    async def publish(self, source: int, layer: Layer) -> bool:
        """Put *layer* in force, or, where it is rejected, keep the last good layer of its source and the reasons.

        Args:
            source: From `add_source`.
            layer: All that the source says now.

        Returns:
            False where a load that began later was published meanwhile: the layer is dropped.
        """
        if layer.generation < self._announced[source]:
            return False
        self._announced[source] = layer.generation
        async with self._one_at_a_time:
            if layer.generation < self._announced[source]:
                return False
            if layer.rejected:
                self._latest[source] = layer
                self._tell_rejected()
            else:
                await self._put_in_force(source, layer)
        return True

    async def override(self, overrides: Sequence[Override]) -> None:
        """Put *overrides* in force, in place of those before; with the first rules where there are none yet."""
        async with self._one_at_a_time:
            before, self._overrides = self._overrides, tuple(overrides)
            if self.loaded:
                rules = self._overridden(self.rules, self._digests)
                await self._prepare(rules, Slices())
                self._swap(rules, Changes(), before, is_load=False)

    async def _put_in_force(self, source: int, layer: Layer) -> None:
        usable = [*self._usable[:source], layer.rules, *self._usable[source + 1 :]]
        before = self.rules
        slices = Slices(eager=not self.loaded)  # nothing is served yet
        domains = await slices.run(merge([rules for rules in usable if rules is not None]))
        digests = {}
        for name, domain in domains.items():
            is_known = before.domains.get(name) is domain and name in self._digests
            digests[name] = self._digests[name] if is_known else await slices.run(digest_domain(domain))
        rules = RuleSet(domains)
        changes, counts = await slices.run(compare(before, rules))
        rules = self._overridden(replace(rules, counts=counts), digests)
        await self._prepare(rules, slices)
        self._latest[source], self._usable, self._digests, self.changes = layer, usable, digests, changes
        self._swap(rules, changes, self._overrides if before.overrides else ())

    def _overridden(self, rules: RuleSet, digests: Mapping[str, int]) -> RuleSet:
        """*rules* with the overrides and the id of both."""
        table: dict[str, dict[Entries, Override]] = {}
        for one in self._overrides:
            table.setdefault(one.domain, {})[one.entries] = one
        return replace(rules, overrides=table, revision=revision_of(digests, self._overrides))

    async def _prepare(self, rules: RuleSet, slices: Slices) -> None:
        for observer in self._observers:
            await slices.run(observer.prepare_rules(rules))

    def _swap(self, rules: RuleSet, changes: Changes, overrides: Sequence[Override], *, is_load: bool = True) -> None:
        """Put *rules* in force. Those before differ by *changes*, and had these *overrides*."""
        before = self.rules
        self.loaded_at = self._clock()
        caches = self._limiter.planner.caches()
        self._limiter.load(rules)
        files = tuple(file for one in self._latest for file in one.files)
        began = tuple(one for one in self._overrides if one not in overrides)
        ended = tuple(one for one in overrides if one not in self._overrides)
        event = RulesLoaded(rules, files, self.diagnostics, self.loaded_at, changes, began, ended, is_load)
        for observer in self._observers:
            observer.rules_loaded(event)
        replaced = (old.root for name, old in before.domains.items() if rules.domains.get(name) is not old)
        self.old_rules.free(replaced, caches)

    def _tell_rejected(self) -> None:
        event = RulesRejected(self.diagnostics, self._clock())
        for observer in self._observers:
            observer.rules_rejected(event)
