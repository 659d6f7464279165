"""Who changed what over the admin address: a line of the log for each change, and an event."""

from __future__ import annotations

from typing import Any

from rls.observe.history import History
from rls.observe.logs import Log
from rls.observe.seldom import Seldom

_SECONDS = 10.0


class Audit:
    """Writes down changes, and what was refused.

    Args:
        log: Gets a line for each change; of requests that were refused one in ten seconds for each reason.
        history: Gets an event for each change.
    """

    def __init__(self, log: Log, history: History) -> None:
        self._log = log
        self._history = history
        self._seldom = Seldom(_SECONDS)
        self.refused: dict[str, int] = {}
        """Requests that were refused, by reason."""

    def changed(self, action: str, text: str, **fields: Any) -> None:
        """*action* was done: *text* for people, and *fields* for the log: who, what, before, after, why."""
        self._log.info("admin_change", action=action, **fields)
        self._history.changed(action, text)

    def failed(self, action: str, reason: str, **fields: Any) -> None:
        """*action* was asked for by who may, and not done."""
        self._log.warning("admin_change_failed", action=action, reason=reason, **fields)

    def refuse(self, reason: str, **fields: Any) -> None:
        """A request was refused."""
        self.refused[reason] = self.refused.get(reason, 0) + 1
        left_out = self._seldom.due(reason)
        if left_out is not None:
            self._log.warning("admin_refused", reason=reason, **fields, more_since_last=left_out)
