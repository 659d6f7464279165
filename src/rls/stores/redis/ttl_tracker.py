"""How long counters live, which of a node's counters are known to have their TTL, and which do not get it."""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Mapping
from itertools import islice

from rls.core.update import CounterUpdate
from rls.stores.expiring_map import Windows
from rls.stores.redis.batch import Batch
from rls.stores.redis.endpoint import NodeOptions
from rls.stores.redis.error_reply import ErrorReply

_PAID_AT_ONCE = 64


class TtlTracker:
    """A bounded memory of what this process gave a TTL, and of what it owes one.

    Args:
        options: See there.
        address: Of the node, for messages.
    """

    def __init__(self, options: NodeOptions, address: str) -> None:
        self._options = options
        self._address = address
        self._with_ttl = Windows(options.known_counters)
        self._owed: dict[bytes, CounterUpdate] = {}
        self._refused: dict[str, str] = {}
        self._reported = ""
        self._tried_at = 0

    def __len__(self) -> int:
        return len(self._with_ttl)

    @property
    def with_ttl(self) -> Mapping[int, Container[bytes]]:
        """The counters that are known to have their TTL, by the second in which their window ends."""
        return self._with_ttl.groups

    @property
    def owed(self) -> list[CounterUpdate]:
        """Hits whose counters have no TTL, since Redis refused it."""
        return list(self._owed.values())

    def seconds_to_live(self, hit: CounterUpdate) -> int:
        """From now, a little longer than the window of *hit*."""
        longest = max(1, min(self._options.jitter_seconds, hit.window_seconds))
        jitter = random.randint(1, longest)  # noqa: S311 - only to spread
        return max(1, hit.expires_at - int(self._options.clock())) + jitter

    def learn(self, batch: Batch) -> None:
        """Take note of what became of the TTLs of a *batch* that is settled."""
        for hit in batch.fresh:
            self._with_ttl.put(hit.expires_at, hit.key, 1)
        if batch.ttl:
            self._learn_refusals(batch.ttl)

    def owe(self, hits: Iterable[CounterUpdate]) -> None:
        """The counters of *hits* have no TTL; they are to get it as soon as Redis allows that."""
        for hit in hits:
            if len(self._owed) < self._options.known_counters:
                self._owed[hit.key] = hit

    def to_give(self, batch: Batch) -> list[CounterUpdate]:
        """Hits whose counters are to get a TTL now: those that *batch* found without one, and some that are owed theirs.

        While Redis refuses it, one is tried each second.
        """
        some = 0 if batch.errors else _PAID_AT_ONCE
        if "EXPIRE" in self._refused:
            self.owe(batch.orphans)
            now = int(self._options.clock())
            some, self._tried_at = int(now != self._tried_at), now
            orphans = []
        else:
            orphans = batch.orphans
        if not self._owed:
            return orphans
        return orphans + [self._owed.pop(key) for key in list(islice(self._owed, some))]

    def sweep(self) -> None:
        """Forget windows that are over."""
        self._with_ttl.sweep(int(self._options.clock()))

    def forget(self) -> None:
        """Nothing is known any more: the counters may be gone, and with them their TTLs."""
        self._with_ttl = Windows(self._options.known_counters)

    def close(self) -> None:
        """The node is not asked any more: it refuses nothing."""
        self._refused.clear()
        self._report()

    def _learn_refusals(self, answers: Mapping[str, Exception | None]) -> None:
        for command, error in answers.items():
            if error is None:
                self._refused.pop(command, None)
            elif ErrorReply.of(error).is_for_good:
                self._refused[command] = str(error)
        if self._reported or "EXPIRE" in answers:  # one follows where a SET was refused: it completes the picture
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
