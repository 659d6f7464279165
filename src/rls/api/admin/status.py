"""What `/status` says."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from uuid import uuid4

from rls import __version__
from rls.api.admin.rows import Row, iso
from rls.api.readiness import Readiness
from rls.engine.rulebook import Rulebook
from rls.observe.top import TopTalkers
from rls.printable import printable
from rls.sources.overrides import OverrideSource


class Status:
    """How this server is.

    Args:
        readiness: Of the server.
        rulebook: Has the rules in force.
        top: Has the sketches.
        backend: Its URL, without secrets.
        nodes: Returns the nodes of Redis by address, and whether each is available.
        began: When the server started, in Unix seconds.
        overrides: Has the overrides.

    Attributes:
        pod: Name of the host.
        instance: A name that no other process has.
    """

    def __init__(
        self,
        readiness: Readiness,
        rulebook: Rulebook,
        top: TopTalkers,
        backend: str,
        nodes: Callable[[], Mapping[str, bool]],
        began: float,
        overrides: OverrideSource | None = None,
    ) -> None:
        self.pod = socket.gethostname()
        self.instance = uuid4().hex[:12]
        self._readiness = readiness
        self._rulebook = rulebook
        self._top = top
        self._backend = backend
        self._nodes = nodes
        self._began = began
        self._overrides = overrides

    def row(self, now: float) -> Row:
        """All of it, at the Unix second *now*."""
        readiness, rulebook, top = self._readiness, self._rulebook, self._top
        enforcement = readiness.enforcement
        return {
            "version": __version__,
            "pod": self.pod,
            "instance": self.instance,
            "time": iso(now),
            "started": iso(self._began),
            "ready": readiness.ready,
            "draining": readiness.draining,
            "state": enforcement.state,
            "since": iso(enforcement.since),
            "reasons": [
                {
                    "reason": found.reason,
                    "state": found.state,
                    "since": iso(found.since),
                    "text": printable(found.text),
                }
                for found in enforcement.weaknesses
            ],
            "revision": rulebook.revision or None,
            "loaded": iso(rulebook.loaded_at),
            "domains": len(rulebook.rules.domains),
            "rules": rulebook.rules.size(),
            "errors": len(rulebook.diagnostics),
            "backend": printable(self._backend),
            "nodes": [{"address": printable(address), "up": up} for address, up in self._nodes().items()],
            "overrides": self._overrides_row(),
            "sketches": {"rules": len(top.sketches), "bytes": top.size, "dropped": top.dropped},
        }

    def _overrides_row(self) -> Row:
        found = self._overrides
        if found is None:
            return {"in_force": 0, "read": None, "error": None}
        return {"in_force": len(found.in_force), "read": iso(found.read_at), "error": printable(found.error) or None}
