"""Rules on their way into force: what the loader reads goes to the limiter, and what is not in force is reported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rls.app.interpreter import freeze_garbage_collector
from rls.engine.enforcement import EnforcementState, Reason, State
from rls.engine.layers import Layer
from rls.engine.rulebook import Rulebook
from rls.errors import Diagnostic
from rls.observe.logs import EventLog
from rls.settings import Settings
from rls.sources.disk import Disk
from rls.sources.load import LoadResult
from rls.sources.loader import Loader

_WATCHES = 20
"""How often lateness is looked for, in the time that makes a look late."""


class Loading:
    """Keeps the rules that *settings* name in force.

    Args:
        settings: Where the rules are, and whether it is meant that there are none.
        rulebook: Gets the rules.
        enforcement: Gets the reasons for which rules are missing.
        log: Gets the warnings.
        disk: Where the files are.
        late_seconds: How old the last look at all files may be. Each file may take seconds, and there may be many.
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
        self._loader = Loader(settings.config, allow_no_rules=settings.allow_no_rules, disk=disk)
        self._late_seconds = late_seconds
        self._rulebook = rulebook
        self._source = rulebook.add_source()
        self._enforcement = enforcement
        self._log = log

    async def start(self) -> None:
        """Load for the first time.

        Raises:
            SettingsError: There is nothing at one of the paths.
        """
        await self.apply(await self._loader.start())

    async def run(self) -> None:
        """Load when files change, and on request; until cancelled."""
        watch = asyncio.create_task(self._watch())
        try:
            await self._loader.run(self.apply)
        finally:
            watch.cancel()

    def request(self) -> None:
        """Load once more, as soon as possible."""
        self._loader.request()

    async def apply(self, loaded: LoadResult) -> None:
        """Put what was read in force, as far as it is good."""
        self._log.rules_warned(loaded.warnings)
        layer = Layer(
            loaded.rules,
            rejected=bool(loaded.problems) and not loaded.files,
            files=loaded.files,
            mistakes=loaded.mistakes,
            lost=loaded.lost,
            unread=loaded.unread,
            empty=loaded.empty,
            warnings=loaded.warnings,
        )
        await self._rulebook.publish(self._source, layer)
        freeze_garbage_collector()
        report = self._enforcement.report
        report(Reason.RULES_INVALID, _summary("mistake", loaded.mistakes))
        report(Reason.RULES_LOST, _summary("path", loaded.lost))
        report(Reason.RULES_NOT_READ, _summary("path", loaded.unread))
        self._report_none(loaded.empty)

    async def _watch(self) -> None:
        """Report while files have not been looked at for too long: nobody knows whether they have changed."""
        while True:
            looked_at = self._loader.looked_at
            is_late = time.time() - looked_at > self._late_seconds
            when = datetime.fromtimestamp(looked_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            text = f"a look at the files of rules has not ended since {when}: changes are not in force"
            self._enforcement.report(Reason.RULES_NOT_LOOKED_AT, text if is_late else "")
            await asyncio.sleep(self._late_seconds / _WATCHES)

    def _report_none(self, empty: Sequence[Diagnostic]) -> None:
        """Report that no rule is in force, or that paths have none."""
        rulebook, where = self._rulebook, _summary("path", empty)
        if not rulebook.loaded or not (rulebook.rules.size() or self._allow_no_rules):
            text = f"no rule is in force; {where}" if where else "no rule is in force"
            self._enforcement.report(Reason.NO_RULES, text, state=State.OFF)
        else:
            self._enforcement.report(Reason.NO_RULES, where)


def _summary(noun: str, problems: Sequence[Diagnostic]) -> str:
    """The number of *problems*, and the first of them; "" where the list is empty."""
    if not problems:
        return ""
    if len(problems) == 1:
        return str(problems[0])
    return f"{len(problems)} {noun}s, first {problems[0]}"
