"""Traces: each check as a span of the caller's trace, its steps below it, and the writes that carried its hits.

Only calls of sampled traces cost anything worth a measure: of the others nothing is decoded (see `may_be_sampled`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, Protocol

from rls.engine.events import Observer, RequestContext, RulesLoaded, StoreFailed
from rls.observe.decisions import MEMORY, REDIS
from rls.observe.otel import TraceVariables
from rls.observe.span_attributes import (
    batch_attributes,
    batch_name,
    call_attributes,
    decision_attributes,
    status_events,
)
from rls.observe.spans import CHECK, CLIENT, DECIDE, INTERNAL, PLAN, QUEUE, SERVER, WRITE, Attributes, Event, Link, Span
from rls.observe.trace_context import TraceContext, trace_context
from rls.stores.base import StoreBatch

_FORGOTTEN_SECONDS = 30.0
"""After this, a call whose task was cancelled is not waited for any more: nobody tells of its end."""
_MOST_LINKS = 128
_LEFT_OUT = 0
"""In place of a trace ID, which is never 0: there was no room for this call."""
_TRACE_BITS, _SPAN_BITS = 128, 64


class Sink(Protocol):
    """Takes spans, without waiting.

    Attributes:
        is_full: Whether it takes none now.
    """

    @property
    def is_full(self) -> bool: ...

    def add(self, spans: Sequence[Span]) -> None:
        """Take all of *spans*, or drop and count them where there is no room."""

    def drop(self) -> None:
        """Count the span of a call that was not even drawn, because it is full."""


class _Write(NamedTuple):
    """A write that carried hits of a call: when it was sent and replied, the call's own span of it, and the write's span."""

    began: float
    ended: float
    span_id: int
    batch: Link
    is_parent: bool
    error: str


class _Call:
    """A call that is recorded, until it is decided."""

    __slots__ = ("error", "parent", "span_id", "state", "trace_id", "writes")

    def __init__(self, parent: TraceContext | None, trace_id: int, span_id: int) -> None:
        self.parent = parent
        self.state = "" if parent is None else parent.state
        self.trace_id = trace_id
        self.span_id = span_id
        self.writes: list[_Write] = []
        self.error = ""


class Traces(Observer):
    """Draws the spans of calls whose trace is sampled.

    Args:
        sink: Gets the spans.
        variables: Which calls are recorded, and where their trace context is.
        store: Where counters are: MEMORY, REDIS, or the scheme of a store from elsewhere.
        clock: Unix seconds, as those of the events.
        timer: As that of `RequestContext.arrived`.
    """

    def __init__(
        self,
        sink: Sink,
        variables: TraceVariables,
        *,
        store: str = REDIS,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._sampler = variables.sampler
        self._formats = variables.formats
        self._store = store
        self._clock = clock
        self._timer = timer
        # Not the system's, which takes a microsecond for each ID: they are no secrets.
        self._bits = Random(os.urandom(32)).getrandbits  # noqa: S311
        self._revision = ""
        # By identity: those that a batch has carried, and that are not decided yet, the oldest first.
        self._carried: dict[RequestContext, _Call] = {}

    def rules_loaded(self, event: RulesLoaded) -> None:
        """See `Observer`."""
        self._revision = event.rules.revision

    def batch_done(self, batch: StoreBatch) -> None:
        """See `Observer`. Its calls are decided after this."""
        begins = self._sampler.begins
        calls = []
        for origin in batch.origins:
            if isinstance(origin, RequestContext) and (begins or origin.may_be_sampled):
                call = self._carried.get(origin) or self._begin(origin)
                if call is not None:
                    self._carried[origin] = call
                    calls.append(call)
        if calls:
            self._draw_batch(batch, calls)

    def store_failed(self, event: StoreFailed) -> None:
        """See `Observer`. Where no policy answers, there is no decision to come."""
        request = event.request
        call = self._find(request)
        if call is None:
            return
        call.error = event.reason
        if event.answered:
            self._carried[request] = call
        else:
            attributes: Attributes = {"rls.domain": event.plan.domain, "rls.descriptors": len(event.plan.checks)}
            self._draw(request, call, attributes, (), "UNAVAILABLE")

    def decided(self, request: RequestContext) -> None:
        """See `Observer`."""
        call = self._carried.pop(request, None) if self._carried else None
        if call is None:
            decision = request.decision
            if self._store == REDIS and decision.plan.counted and not request.at_once and not decision.policies:
                return  # a batch has carried it, so it is known already that it is not sampled
            call = self._find(request)
            if call is None:
                return
        decision = request.decision
        attributes = decision_attributes(request, self._store)
        self._draw(request, call, attributes, status_events(decision, request.began + request.seconds), "OK")

    def forget(self) -> None:
        """Forget calls that nobody will tell the end of. To be called now and then."""
        before = self._clock() - _FORGOTTEN_SECONDS
        while self._carried:
            request = next(iter(self._carried))
            if request.began > before:
                break
            del self._carried[request]

    def _find(self, request: RequestContext) -> _Call | None:
        call = self._carried.pop(request, None)
        if call is not None:
            return call
        return self._begin(request) if self._sampler.begins or request.may_be_sampled else None

    def _begin(self, request: RequestContext) -> _Call | None:
        """The span of *request*; None where its trace is not sampled, or there is no room. It says the same each time."""
        trace_id = getattr(request, "trace_id", None)
        if trace_id == _LEFT_OUT:
            return None
        parent = trace_context(request.metadata, self._formats)
        if trace_id is None:
            trace_id = request.trace_id = self._bits(_TRACE_BITS) if parent is None else parent.trace_id
        if not self._sampler.takes(parent, trace_id):
            return None
        if self._sink.is_full:
            self._sink.drop()
            request.trace_id = _LEFT_OUT
            return None
        return _Call(parent, trace_id, self._bits(_SPAN_BITS))

    def _draw_batch(self, batch: StoreBatch, calls: Sequence[_Call]) -> None:
        """The write as a span of the first call that it carried, linked to the others.

        It has no link to the first, which is its parent: Jaeger would show it beside, not below.
        """
        ended = batch.began + batch.seconds
        first = calls[0]
        link = (first.trace_id, self._bits(_SPAN_BITS))
        links = []
        for call in calls:
            is_parent = call is first
            write = _Write(batch.began, ended, self._bits(_SPAN_BITS), link, is_parent, batch.error)
            call.writes.append(write)
            if not is_parent:
                links.append((call.trace_id, write.span_id))
        parent = first.writes[-1].span_id
        attributes = batch_attributes(batch, self._store if self._store != MEMORY else REDIS)
        error = batch.error or None
        name = batch_name(batch)
        kept = links[:_MOST_LINKS]
        span = (name, CLIENT, *link, parent, first.state, batch.began, ended, attributes, (), kept, error)
        self._sink.add([span])

    def _draw(
        self, request: RequestContext, call: _Call, attributes: Attributes, events: Sequence[Event], code: str
    ) -> None:
        """The span of a call, and those of its steps."""
        began = request.began
        ended = began + request.seconds
        arrived = request.arrived
        came = began if arrived is None else min(began, self._clock() - (self._timer() - arrived))
        if code == "OK" and request.expired:
            code = "DEADLINE_EXCEEDED"
        failed = None if code == "OK" else call.error or "the deadline has passed"
        attributes |= call_attributes(request, code, self._revision)
        parent_id = 0 if call.parent is None else call.parent.span_id
        trace_id, span_id, state = call.trace_id, call.span_id, call.state
        spans: list[Span] = [
            (CHECK, SERVER, trace_id, span_id, parent_id, state, came, ended, attributes, (), (), failed)
        ]

        def step(
            name: str, begin: float, end: float, *, error: str = "", links: Sequence[Link] = (), own: int = 0
        ) -> None:
            own = own or self._bits(_SPAN_BITS)
            happened = events if name == DECIDE else ()
            times = begin, max(begin, end)
            span: Span = (name, INTERNAL, trace_id, own, span_id, state, *times, {}, happened, links, error or None)
            spans.append(span)

        if came < began:
            step(PLAN, came, began)
        counted = began
        if call.writes:
            step(QUEUE, began, min(write.began for write in call.writes))
            for write in call.writes:
                links = () if write.is_parent else (write.batch,)
                step(WRITE, write.began, write.ended, error=write.error, links=links, own=write.span_id)
                counted = max(counted, write.ended)
        if code != "UNAVAILABLE":
            step(DECIDE, min(counted, ended), ended)
        self._sink.add(spans)
