"""`/events` as a stream of server-sent events (HTML, 9.2): refusals, loads, changes of state and of overrides as they happen.

A stream looks four times a second at what is kept anyway, so what happens costs nothing more where nobody listens. A reader that
is slow is not waited for with more in memory: what it misses is counted. A stream ends after 25 s, before the listener takes its
client for a slow reader; browsers connect again, and say by `Last-Event-ID` what they have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.responses import StreamingResponse

from rls.api.admin import rows
from rls.api.admin.answer import answer_error
from rls.api.admin.rows import Row
from rls.observe.history import Event, History
from rls.observe.refusals import KEPT, Refusal, Refusals
from rls.printable import json_line
from rls.slices import Slices
from rls.transport.http1.bounds import App, Receive, Scope, Send

T = TypeVar("T")

STREAMS = 8
"""At one time."""
SECONDS = 25.0
MOST_REFUSALS = 100
"""In one look."""
EVENT_STREAM = "text/event-stream"
_LOOK_SECONDS = 0.25
_STATUS_SECONDS = 5.0
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Streams:
    """*app*, but for requests to *path* that accept a stream.

    Args:
        app: Answers all others.
        path: Of the events.
        history: Has loads and changes.
        refusals: Has the refusals.
        status: Returns what `/status` says.
        clock: Unix seconds.
    """

    def __init__(
        self,
        app: App,
        path: str,
        history: History,
        refusals: Refusals,
        status: Callable[[], Row],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.open = 0
        self._app = app
        self._path = path
        self._history = history
        self._refusals = refusals
        self._status = status
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if scope["path"] != self._path or scope["method"] != "GET" or EVENT_STREAM not in headers.get("accept", ""):
            await self._app(scope, receive, send)
            return
        if self.open >= STREAMS:
            text = f"{STREAMS} streams are open, and no more may be"
            await answer_error(503, text, "the same request later", {"Retry-After": "5"})(scope, receive, send)
            return
        self.open += 1
        try:
            pieces = self._pieces(_time(headers.get("last-event-id", "")))
            await StreamingResponse(pieces, media_type=EVENT_STREAM, headers=_HEADERS)(scope, receive, send)
        finally:
            self.open -= 1

    async def _pieces(self, since: float | None) -> AsyncIterator[bytes]:
        """The events after the Unix second *since*; from now on where it is None."""
        yield b"retry: 1000\n\n"
        began = time.monotonic()
        next_status = 0.0
        seen_event, seen_refusal = self._latest(since)
        while (now := time.monotonic()) < began + SECONDS:
            looked_at = self._clock()
            events = _newer(self._history.events, seen_event)
            if events:
                seen_event = events[0]
            refusals = _newer(self._refusals.latest(), seen_refusal)
            if refusals:
                seen_refusal = refusals[0]
            slices = Slices()
            if len(refusals) > MOST_REFUSALS:
                left_out = sum(one.stands_for for one in refusals[MOST_REFUSALS:])
                yield _encoded("refusals_left_out", {"at_least": left_out}, refusals[MOST_REFUSALS].at)
            # In the order of time: a reader that goes on after the id of one has all that came before it.
            happened: list[Event | Refusal] = [*events, *refusals[:MOST_REFUSALS]]
            for one in sorted(happened, key=lambda one: one.at):
                if isinstance(one, Event):
                    yield _encoded(one.kind, rows.event(one), one.at)
                else:
                    yield _encoded("refusal", rows.refusal(one), one.at)
                await slices.next()
            if now >= next_status:
                next_status = now + _STATUS_SECONDS
                yield _encoded("status", self._status(), looked_at)
            await asyncio.sleep(_LOOK_SECONDS)

    def _latest(self, since: float | None) -> tuple[Event | None, Refusal | None]:
        """The last event and refusal that the reader has."""
        at = float("inf") if since is None else since
        event = next((one for one in self._history.events if one.at <= at), None)
        return event, next((one for one in self._refusals.latest() if one.at <= at), None)


def _newer(latest: Iterable[T], seen: T | None) -> list[T]:
    """Those of *latest* before *seen*: the newest first."""
    found = []
    for one in islice(latest, KEPT):
        if one is seen:
            break
        found.append(one)
    return found


def _encoded(kind: str, row: Row, at: float) -> bytes:
    # All digits: a reader must not get again what it has, nor lose what came within the same microsecond.
    return f"event: {kind}\nid: {at!r}\ndata: {json_line(row)}\n\n".encode()


def _time(text: str) -> float | None:
    """The Unix seconds that an id is; None where it is something else."""
    try:
        return float(text)
    except ValueError:
        return None
