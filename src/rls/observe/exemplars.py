"""Exemplars: for each bucket of a histogram the trace of one call that fell into it."""

from __future__ import annotations

from prometheus_client.core import Exemplar

from rls.engine.events import RequestContext
from rls.observe.trace_context import trace_context, trace_id_text

RENEW_SECONDS = 1.0
"""How long a bucket keeps its exemplar before it looks for another."""
RETRY_SECONDS = 0.05
"""How long a bucket waits after a call that is not sampled: to read a call's trace context costs some microseconds."""


class Exemplars:
    """One exemplar for each bucket.

    Attributes:
        due: By bucket, the Unix second from which on the next call is to be looked at.
        found: By bucket, the exemplar; None before the first.
    """

    __slots__ = ("due", "found")

    def __init__(self, buckets: int) -> None:
        self.due = [0.0] * buckets
        self.found: list[Exemplar | None] = [None] * buckets

    def look(self, bucket: int, request: RequestContext) -> None:
        """*request* fell into *bucket*, which is due: keep its trace if it is sampled."""
        caller = trace_context(request.metadata) if request.may_be_sampled else None
        is_sampled = caller is not None and caller.sampled
        self.due[bucket] = request.began + (RENEW_SECONDS if is_sampled else RETRY_SECONDS)
        if is_sampled:
            seconds = request.seconds
            self.found[bucket] = Exemplar({"trace_id": trace_id_text(caller)}, seconds, request.began + seconds)
