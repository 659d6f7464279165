"""Counters whose TTL Redis refuses to set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from rls.core.update import CounterUpdate
from rls.stores.redis.batch import Batch
from rls.stores.redis.endpoint import NodeOptions
from rls.stores.redis.error_reply import ErrorReply

_PAID_AT_ONCE = 64


class TtlDebt:
    """The counters of a node that wait for a TTL because Redis refused to set it; reports refusals that last.

    Args:
        options: See there; `known_counters` bounds how many counters wait.
        address: Of the node, for messages.
    """

    def __init__(self, options: NodeOptions, address: str) -> None:
        self._options = options
        self._address = address
        self._deferred: dict[bytes, CounterUpdate] = {}
        self._refused: dict[str, str] = {}
        self._reported = ""
        self._tried_at = 0

    @property
    def deferred(self) -> list[CounterUpdate]:
        """Updates of the counters that wait."""
        return list(self._deferred.values())

    def defer(self, updates: Iterable[CounterUpdate]) -> None:
        """Let the counters of *updates* wait until Redis sets TTLs."""
        for update in updates:
            if len(self._deferred) < self._options.known_counters:
                self._deferred[update.key] = update

    def learn(self, replies: Mapping[str, Exception | None]) -> None:
        """Take in the *replies* of a batch to commands that set TTLs; see `Batch.ttl`."""
        for command, error in replies.items():
            if error is None:
                self._refused.pop(command, None)
            elif ErrorReply.of(error).is_permanent:
                self._refused[command] = str(error)
        # An EXPIRE follows a SET that was refused: its reply completes the picture.
        if self._reported or "EXPIRE" in replies:
            self._report()

    def due(self, batch: Batch) -> list[CounterUpdate]:
        """Updates whose counters are to get a TTL now: those that *batch* found without one, and some that wait.

        While Redis refuses EXPIRE, it is tried once a second.
        """
        some = 0 if batch.errors else _PAID_AT_ONCE
        missing: list[CounterUpdate] = batch.missing_ttl
        if "EXPIRE" in self._refused:
            self.defer(missing)
            now = int(self._options.clock())
            some, self._tried_at = int(now != self._tried_at), now
            missing = []
        if not self._deferred:
            return missing
        return missing + [self._deferred.pop(key) for key in list(islice(self._deferred, some))]

    def close(self) -> None:
        """The node is not used any more: withdraw what was reported."""
        self._refused.clear()
        self._report()

    def _report(self) -> None:
        text = ""
        if self._refused:
            refused = " and ".join(f"{command} ({error})" for command, error in self._refused.items())
            effect = "live for ever" if "EXPIRE" in self._refused else "get no TTL if this process ends early"
            text = f"Redis at {self._address} refuses {refused}: counters may {effect}"
        if text != self._reported:
            self._reported = text
            self._options.on_ttl_refused(self._address, text)
