"""Exemplars: for each bucket of a histogram the trace of one call that fell into it."""

from __future__ import annotations

import re

from prometheus_client.core import Exemplar

from rls.engine.events import RequestContext

RENEW_SECONDS = 1.0
"""How long a bucket keeps its exemplar before it looks for another."""
RETRY_SECONDS = 0.05
"""How long a bucket waits after a call that is not sampled: to read a call's trace context costs some microseconds."""
# W3C Trace Context, section 3.2: version, trace id, parent id, flags. Later versions may add fields.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:$|-)")


class Exemplars:
    """One exemplar for each bucket.

    Attributes:
        due: By bucket, the Unix second from which on the next call is to be looked at.
        found: By bucket, the exemplar; None while there is none.
    """

    __slots__ = ("due", "found")

    def __init__(self, buckets: int) -> None:
        self.due = [0.0] * buckets
        self.found: list[Exemplar | None] = [None] * buckets

    def look(self, bucket: int, request: RequestContext) -> None:
        """*request* fell into *bucket*, which is due: keep its trace if it is sampled."""
        trace = sampled_trace(request.traceparent)
        self.due[bucket] = request.began + (RENEW_SECONDS if trace else RETRY_SECONDS)
        if trace:
            seconds = request.seconds
            self.found[bucket] = Exemplar({"trace_id": trace}, seconds, request.began + seconds)


def sampled_trace(traceparent: str | None) -> str:
    """The trace id of *traceparent* if its caller samples the trace; "" if not, or if it is malformed."""
    found = _TRACEPARENT.match(traceparent) if traceparent else None
    return found[1] if found and int(found[2], 16) & 1 else ""
