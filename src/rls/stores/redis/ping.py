"""Updates of our own, for no call: the write that shows whether a node counts, and a read."""

from __future__ import annotations

from rls.core.update import CounterUpdate

_NO_LIMIT = 2**62


def ping(key: bytes, now: float) -> CounterUpdate:
    """A hit on a counter of no rule that is new every second, so that its TTL is set as that of any counter.

    Args:
        key: The prefix of its key.
        now: Unix seconds.
    """
    second = int(now)
    return CounterUpdate(b"%b|1|%d" % (key, second), 1, _NO_LIMIT, second + 1, 1)


def read(key: bytes) -> CounterUpdate:
    """What only reads the counter *key*, of which no more is known."""
    return CounterUpdate(key, 0, _NO_LIMIT, 0, 1)
