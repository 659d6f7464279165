"""The write that tells whether counting works."""

from __future__ import annotations

from rls.core.update import CounterUpdate

_NEVER_OVER = 2**62


def ping(key: bytes, now: float) -> CounterUpdate:
    """A hit on a counter that is nobody's, and new every second: so a TTL is given each time, as to any counter.

    Args:
        key: What its name begins with.
        now: Unix seconds.
    """
    second = int(now)
    return CounterUpdate(b"%b|1|%d" % (key, second), 1, _NEVER_OVER, second + 1, 1)
