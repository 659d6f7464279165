"""Rules on their way into force: sources publish layers, the rulebook takes them, and what is missing is reported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rls.app.interpreter import expect_many_objects, freeze_garbage_collector
from rls.app.rule_source import SupervisedSource
from rls.engine.enforcement import EnforcementState, Reason, State
from rls.engine.layers import Layer
from rls.engine.rulebook import Rulebook
from rls.errors import Diagnostic
from rls.observe.logs import EventLog
from rls.settings import Settings
from rls.sources.base import open_source
from rls.sources.disk import Disk
from rls.sources.file_source import FileSource
from rls.utc import utc

_CHECKS = 20
"""How often lateness is checked, in the time after which a poll is late."""


class Loading:
    """Keeps the rules that *settings* name in force.

    Args:
        settings: Where the rules are, and whether it is meant that there are none.
        rulebook: Gets the rules.
        enforcement: Gets the reasons for which rules are missing.
        log: Gets the warnings.
        disk: Where the files are.
        late_seconds: How old the last poll of a source may be. Each file may take seconds, and there may be many.

    Raises:
        SettingsError: Nothing serves a URL of the settings.
    """

    def __init__(
        self,
        settings: Settings,
        rulebook: Rulebook,
        enforcement: EnforcementState,
        log: EventLog,
        *,
        disk: Disk | None = None,
        late_seconds: float = 60.0,
    ) -> None:
        self._allow_no_rules = settings.allow_no_rules
        self._late_seconds = late_seconds
        self._rulebook = rulebook
        self._enforcement = enforcement
        self._log = log
        paths = [place for place in settings.config if isinstance(place, Path)]
        sources: list[SupervisedSource] = []
        if paths:
            files = FileSource(
                paths,
                allow_no_rules=settings.allow_no_rules,
                disk=disk,
                before_load=expect_many_objects,
                old_rules=rulebook.old_rules,
            )
            sources.append(SupervisedSource("files", files, self._source_changed))
        sources += (
            SupervisedSource(place, open_source(place), self._source_changed)
            for place in settings.config
            if isinstance(place, str)
        )
        self._sources = {rulebook.add_source(): source for source in sources}

    async def start(self) -> None:
        """Load for the first time.

        Raises:
            SettingsError: There is nothing at one of the paths.
        """
        for number, source in self._sources.items():
            await self._publish(number, await source.start())

    async def run(self) -> None:
        """Load when rules change, and on request; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            for number, source in self._sources.items():
                tasks.create_task(self._run(number, source))

    def request(self) -> None:
        """Load once more, as soon as possible."""
        for source in self._sources.values():
            source.request()

    async def _run(self, number: int, source: SupervisedSource) -> None:
        async def publish(layer: Layer) -> None:
            await self._publish(number, layer)

        await source.run(publish)

    def _source_changed(self, failure: str, error: BaseException | None) -> None:
        """A source failed, or goes on."""
        if error is not None:
            self._log.source_failed(failure, error)
        failures = [source.failure for source in self._sources.values() if source.failure]
        self._enforcement.report(Reason.RULE_SOURCE_FAILED, "; ".join(failures))

    async def _publish(self, number: int, layer: Layer) -> None:
        """Put a layer in force, as far as it is good."""
        self._log.rules_warned(layer.warnings)
        try:
            if not await self._rulebook.publish(number, layer):
                return
        finally:
            freeze_garbage_collector()
        layers = self._rulebook.layers
        reports = [
            (reason, _summary(noun, tuple(chain.from_iterable(found))), State.DEGRADED)
            for reason, noun, found in (
                (Reason.RULES_INVALID, "mistake", [layer.mistakes for layer in layers]),
                (Reason.RULES_LOST, "path", [layer.lost for layer in layers]),
                (Reason.RULES_NOT_READ, "path", [layer.unread for layer in layers]),
            )
        ]
        reports.append(self._no_rules([diagnostic for layer in layers for diagnostic in layer.empty]))
        # Those that begin come first: while one takes the place of another, limits are never as configured.
        for reason, text, state in sorted(reports, key=lambda report: not report[1]):
            self._enforcement.report(reason, text, state=state)

    async def _watch(self) -> None:
        """Report while a source has not been polled for too long: nobody knows whether its rules have changed."""
        while True:
            polled_at = min(source.polled_at for source in self._sources.values())
            is_late = time.time() - polled_at > self._late_seconds
            text = f"the rules files were last polled at {utc(polled_at)}: later changes are not in force"
            self._enforcement.report(Reason.RULES_NOT_POLLED, text if is_late else "")
            await asyncio.sleep(self._late_seconds / _CHECKS)

    def _no_rules(self, empty: Sequence[Diagnostic]) -> tuple[Reason, str, State]:
        """What to report of paths without rules, or where no rule is in force at all."""
        rulebook, where = self._rulebook, _summary("path", empty)
        if rulebook.loaded and (rulebook.rules.size() or self._allow_no_rules):
            return Reason.NO_RULES, where, State.DEGRADED
        text = f"no rule is in force; {where}" if where else "no rule is in force"
        return Reason.NO_RULES, text, State.OFF


def _summary(noun: str, problems: Sequence[Diagnostic]) -> str:
    """The number of *problems*, and the first of them; "" where the list is empty."""
    if not problems:
        return ""
    if len(problems) == 1:
        return str(problems[0])
    return f"{len(problems)} {noun}s, first {problems[0]}"
