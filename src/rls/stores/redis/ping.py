"""The write that shows whether a node counts."""

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
